"""Experiments: the same training on different labels or by different recipes, judged on pairs that
none of them learnt from."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models import Dataset, Snapshot
from curator.lib.work import Work
from curator.models import User
from scoring.models.recipes import ResponseSet


class Experiment(Work):
    """Arms, each trained once a seed, and what is found of them. The work is to bring the trials
    together once they have ended."""

    class Trusted(models.TextChoices):
        """Whose word is taken for true where a trained model is judged."""

        PEOPLE = "people", "verdicts, gold labels and consensus of people"
        FILE = "file", "a file that says which labels are flipped"

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="experiments")
    name = models.CharField(max_length=120)
    backbone = models.CharField(max_length=300)
    precision = models.CharField(max_length=16, blank=True)
    backbone_digest = models.CharField(max_length=64, blank=True)
    members_count = models.PositiveSmallIntegerField()
    seeds = models.JSONField(help_text="one trial an arm and seed")
    folds = models.PositiveSmallIntegerField(
        help_text="prompt groups are dealt to so many; seed number i is judged on fold i mod folds"
    )
    trusted = models.CharField(max_length=6, choices=Trusted, default=Trusted.PEOPLE)
    evaluated_on = models.ForeignKey(
        Dataset,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="another dataset to judge on; none: the held-out folds of this one",
    )
    responses = models.ForeignKey(
        ResponseSet,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="scored responses to choose the best of n from",
    )
    truths = models.JSONField(
        default=dict, blank=True, help_text="pair: 1 where A is truly better, -1 B, 0 neither"
    )
    last_decision = models.PositiveBigIntegerField(
        default=0, help_text="decisions after this one are not part of it"
    )
    last_pair = models.PositiveBigIntegerField(
        default=0, help_text="pairs that were imported after this one are not part of it"
    )
    warnings = models.JSONField(
        default=list, blank=True, help_text="sentences about whose word counts"
    )
    planned_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(
        default=dict, blank=True, help_text="figures of all arms and their differences"
    )
    environment = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="one_experiment_per_name"),
            models.CheckConstraint(condition=Q(folds__gte=2), name="experiment_holds_out_a_fold"),
        ]

    def __str__(self) -> str:
        return self.name


class Arm(models.Model):
    """One way to train: which labels, by which recipe. The first is what others are compared
    with."""

    class Labels(models.TextChoices):
        """Where an arm's labels come from."""

        SOURCE = "source", "as imported"
        NOW = "now", "as decided when the experiment began"
        SNAPSHOT = "snapshot", "a snapshot"

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="arms")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=120)
    labels = models.CharField(max_length=8, choices=Labels)
    snapshot = models.ForeignKey(
        Snapshot, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    recipe = models.JSONField(help_text="scoring.core.recipes, with its name")
    recipe_version = models.PositiveIntegerField(
        null=True, blank=True, help_text="none: as it comes with Curator"
    )

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["experiment", "position"], name="one_arm_per_position"),
            models.UniqueConstraint(fields=["experiment", "name"], name="one_arm_per_name"),
            models.CheckConstraint(
                condition=Q(labels="snapshot", snapshot__isnull=False)
                | (~Q(labels="snapshot") & Q(snapshot__isnull=True)),
                name="arm_names_its_snapshot",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Trial(Work):
    """An arm trained with one seed and asked about the pairs that were held out."""

    arm = models.ForeignKey(Arm, on_delete=models.CASCADE, related_name="trials")
    seed = models.PositiveIntegerField()
    fold = models.PositiveSmallIntegerField()
    steps_done = models.PositiveIntegerField(default=0)
    steps_total = models.PositiveIntegerField(default=0)
    pair_ids = models.BinaryField(null=True, help_text="int64 (n,): the pairs it was judged on")
    margins = models.BinaryField(null=True, help_text="float32 (n,): towards A, of all members")
    figures = models.JSONField(
        default=dict, blank=True, help_text="pairs learnt from, treated, seconds, best of n …"
    )
    curve = models.JSONField(default=list, blank=True, help_text="scoring.core.curves.Point")

    class Meta:
        ordering = ["arm", "seed"]
        constraints = [
            models.UniqueConstraint(fields=["arm", "seed"], name="one_trial_per_arm_and_seed")
        ]

    def __str__(self) -> str:
        return f"arm {self.arm_id}, seed {self.seed}"
