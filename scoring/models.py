"""The reward-model ensemble: its members, the runs that train and apply it, and the scores they
leave."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models import Dataset, PreferencePair
from curator.lib.work import Work
from curator.models import User
from scoring.core.flags import FlagRule, PercentileRule
from scoring.querysets import PairScoreQuerySet, ScoringRunQuerySet

ENSEMBLE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"


class Mode(models.TextChoices):
    """Whether the members that score a pair were trained on it. Figures of the two are never
    mixed."""

    OUT_OF_BAG = "out-of-bag", "out-of-bag"
    IN_SAMPLE = "in-sample", "in-sample"


class Flag(models.TextChoices):
    FLIPPED = "flipped", "likely flipped"
    AMBIGUOUS = "ambiguous", "ambiguous"
    CLEAR = "clear", "clear"
    STRONG = "strong", "strong"


class Ensemble(models.Model):
    """Reward models that score pairs together: heads on one frozen backbone, each trained on its
    own bag."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="ensembles")
    name = models.CharField(
        max_length=60,
        validators=[
            RegexValidator(rf"^{ENSEMBLE_NAME}\Z", "Use letters, digits, dots, hyphens and _.")
        ],
    )
    backbone = models.CharField(
        max_length=300, help_text="`minilm`, a folder, or an id on the model hub"
    )
    precision = models.CharField(
        max_length=16, blank=True, help_text="in which the first worker to embed runs the backbone"
    )
    backbone_digest = models.CharField(
        max_length=64, blank=True, help_text="known once it was loaded"
    )
    members_count = models.PositiveSmallIntegerField()
    recipe = models.JSONField(
        default=dict, help_text="seed, bag unit, and the training options that were set"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "name"], name="one_ensemble_per_name")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_trained(self) -> bool:
        return self.members.count() == self.members_count


class RewardModel(models.Model):
    """One member: a head stored as safetensors, with its bag and a card that says how it came
    about."""

    ensemble = models.ForeignKey(Ensemble, on_delete=models.PROTECT, related_name="members")
    position = models.PositiveSmallIntegerField(help_text="its place in the margins of every score")
    name = models.CharField(max_length=80)
    seed = models.PositiveBigIntegerField()
    bag = models.JSONField(
        help_text="which half of the pairs it was trained on: unit, split and half"
    )
    digest = models.CharField(max_length=64, help_text="of the file")
    file = models.FileField(max_length=300)
    card = models.JSONField(default=dict)
    out_of_bag_accuracy = models.FloatField(null=True)
    seconds = models.FloatField(default=0.0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["ensemble", "position"]
        constraints = [
            models.UniqueConstraint(fields=["ensemble", "position"], name="one_member_per_position")
        ]

    def __str__(self) -> str:
        return self.name


class Run(Work):
    """Work that is cut into shards: planned, worked on shard by shard, then brought together."""

    pairs_total = models.PositiveIntegerField(default=0)
    planned_at = models.DateTimeField(null=True, blank=True)
    environment = models.JSONField(
        default=dict, help_text="versions, device and threads of the worker that ended it"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    if TYPE_CHECKING:
        shards: Any  # the manager of whichever kind of shard points here

    class Meta:
        abstract = True

    @property
    def pairs_done(self) -> int:
        if self.status == Work.Status.DONE:
            return self.pairs_total
        return int(self.shards.aggregate(done=models.Sum("pairs_done"))["done"] or 0)

    @property
    def last_sign_of_life(self) -> datetime | None:
        """Of whoever works on the run or on one of its shards."""
        latest = self.shards.aggregate(latest=models.Max("heartbeat_at"))["latest"]
        return max(filter(None, (self.heartbeat_at, latest)), default=None)

    @property
    def share_done(self) -> float:
        return self.pairs_done / self.pairs_total if self.pairs_total else 0.0

    @property
    def pairs_per_second(self) -> float | None:
        seconds, done = self.seconds, self.pairs_done
        return done / seconds if seconds and done else None

    @property
    def remaining(self) -> timedelta | None:
        """How long the rest takes at the rate so far."""
        rate = self.pairs_per_second
        if not rate or self.is_over:
            return None
        return timedelta(seconds=max(self.pairs_total - self.pairs_done, 0) / rate)


class Shard(Work):
    """The slice of a run that one task handles."""

    position = models.PositiveIntegerField()
    pair_ids = models.JSONField(
        help_text="in the order of their prompt groups, so that prompts are shared within"
    )
    pairs_count = models.PositiveIntegerField()
    pairs_done = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class TrainingRun(Run):
    """Trains the members of an ensemble: embeds the texts shard by shard, then fits the heads."""

    ensemble = models.OneToOneField(Ensemble, on_delete=models.PROTECT, related_name="training")
    steps_done = models.PositiveIntegerField(default=0)
    steps_total = models.PositiveIntegerField(default=0)
    summary = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"training of {self.ensemble_id}"


class TrainingShard(Shard):
    """Pairs whose texts one task embeds."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="shards")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "position"], name="one_training_shard_per_position"
            )
        ]

    def __str__(self) -> str:
        return f"shard {self.position} of training {self.run_id}"


class ScoringRun(Run):
    """An ensemble applied to a dataset: margins by every member, and what follows from them."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="scoring_runs")
    ensemble = models.ForeignKey(Ensemble, on_delete=models.PROTECT, related_name="scoring_runs")
    mode = models.CharField(max_length=10, choices=Mode, default=Mode.OUT_OF_BAG)
    rule = models.JSONField(default=dict, help_text="the thresholds of the flags")
    member_scales = models.JSONField(
        default=list, help_text="root mean square margin of each member"
    )
    summary = models.JSONField(
        default=dict, help_text="figures of the run as a whole, computed once at its end"
    )

    objects = ScoringRunQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="mode_is_known")
        ]

    def __str__(self) -> str:
        return f"run {self.pk}"


def rule_of(run: ScoringRun) -> FlagRule | PercentileRule:
    """The rule that the run's flags follow: by calibration out-of-bag, by rank in-sample."""
    kind = FlagRule if run.mode == Mode.OUT_OF_BAG else PercentileRule
    return kind.from_dict(run.rule)


class ScoringShard(Shard):
    """Pairs that one task scores with every member."""

    run = models.ForeignKey(ScoringRun, on_delete=models.CASCADE, related_name="shards")
    truncated = models.PositiveIntegerField(
        default=0, help_text="pairs of which a text is longer than the backbone reads"
    )

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "position"], name="one_scoring_shard_per_position"
            )
        ]

    def __str__(self) -> str:
        return f"shard {self.position} of run {self.run_id}"


class PairScore(models.Model):
    """What a run found for one pair. The margins come with the shard; all else when the run is
    brought together.

    Margins are rewards of the labelled response minus the other, so that negative contradicts the
    label; towards A where the source prefers neither. `margins` has one entry a member, null where
    the member was not asked.
    """

    run = models.ForeignKey(ScoringRun, on_delete=models.CASCADE, related_name="scores")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="scores")
    margins = models.JSONField()
    strength = models.FloatField(null=True)
    spread = models.FloatField(null=True)
    votes = models.FloatField(null=True)
    label_probability = models.FloatField(null=True)
    percentile = models.FloatField(
        null=True, help_text="share of the run's labelled pairs with a lower strength"
    )
    flag = models.CharField(max_length=9, choices=Flag, blank=True, default="")

    objects = PairScoreQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "pair"], name="one_score_per_run_and_pair"),
            models.CheckConstraint(condition=Q(flag__in=["", *Flag.values]), name="flag_is_known"),
            models.CheckConstraint(
                condition=Q(votes__isnull=True) | Q(votes__gte=0, votes__lte=1),
                name="votes_are_a_share",
            ),
            models.CheckConstraint(
                condition=Q(label_probability__isnull=True)
                | Q(label_probability__gte=0, label_probability__lte=1),
                name="probability_is_a_share",
            ),
        ]
        indexes = [
            models.Index(fields=["run", "strength", "pair"], name="scores_by_strength"),
            models.Index(fields=["run", "flag", "strength", "pair"], name="scores_by_flag"),
            models.Index(fields=["run", "spread", "pair"], name="scores_by_spread"),
        ]

    def __str__(self) -> str:
        return f"pair {self.pair_id} in run {self.run_id}"


class Audit(Work):
    """How well an ensemble of this kind finds wrong labels: known flips are planted in a copy of
    the labels."""

    run = models.ForeignKey(ScoringRun, on_delete=models.PROTECT, related_name="audits")
    share = models.FloatField(help_text="of the labels that are flipped")
    seed = models.PositiveIntegerField(default=0)
    result = models.JSONField(default=dict)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(share__gt=0, share__lt=0.5), name="planted_share_is_below_half"
            )
        ]

    def __str__(self) -> str:
        return f"audit of run {self.run_id}"
