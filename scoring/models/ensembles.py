"""Reward models: registered checkpoints, trained members, and the ensembles they form."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models import Dataset
from curator.lib.work import Work
from curator.models import User
from scoring.core.recipes import FULL, LORA
from scoring.models.words import VALID_NAME, Precision, ScoreAt


class Checkpoint(Work):
    """A reward model, registered to become a member of ensembles: others have trained it, or it was
    fine-tuned here on a dataset, whose curators alone know of it. The work is to load it and to
    test it, once."""

    name = models.CharField(max_length=60, unique=True, validators=[VALID_NAME])
    reference = models.CharField(max_length=300, help_text="a folder, or an id on the model hub")
    revision = models.CharField(max_length=80, blank=True, help_text="on the hub")
    dtype = models.CharField(max_length=16, choices=Precision)
    max_length = models.PositiveIntegerField(
        default=0, help_text="tokens it reads; 0 is what it allows"
    )
    score_at = models.CharField(max_length=16, choices=ScoreAt, blank=True)
    digest = models.CharField(
        max_length=64, blank=True, help_text="of everything that shapes a score"
    )
    identity = models.JSONField(
        default=dict, blank=True, help_text="digests, architecture and limits, as they were found"
    )
    self_test = models.JSONField(
        default=dict, blank=True, help_text="how far scores differ between ways of batching"
    )
    environment = models.JSONField(
        default=dict, blank=True, help_text="of the worker that tested it"
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    dataset = models.ForeignKey(
        Dataset,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="checkpoints",
        help_text="that it was fine-tuned on here; none where others have trained it",
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="checkpoint_has_a_name"),
            models.CheckConstraint(
                condition=Q(dtype__in=Precision.values), name="checkpoint_dtype_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_usable(self) -> bool:
        """Whether it was loaded and gave the same scores however its texts were batched."""
        return self.status == Work.Status.DONE

    @property
    def shown_reference(self) -> str:
        """Where it is, for those who ask; empty where that is a folder of this machine's own."""
        return "" if self.dataset_id is not None else self.reference

    @property
    def bytes(self) -> int:
        """What its weights take in memory."""
        width = 2 if self.dtype == Precision.BFLOAT16 else 4
        return int(self.identity.get("parameters", 0)) * width


class Ensemble(models.Model):
    """Reward models that score pairs together: heads on one frozen backbone, each trained on its
    own bag, registered checkpoints, or both."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="ensembles")
    name = models.CharField(
        max_length=60,
        validators=[VALID_NAME],
    )
    backbone = models.CharField(
        max_length=300,
        blank=True,
        help_text="of the heads: `minilm`, a folder, or an id on the model hub",
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

    @property
    def is_assembled(self) -> bool:
        """Whether it was put together from models that exist, rather than trained as one."""
        return "assembled_from" in self.recipe

    @property
    def is_fine_tuned(self) -> bool:
        """Whether its members are whole models, or adapters on one, that were trained here."""
        kind = self.recipe.get("training", {}).get("model", {}).get("kind")
        return kind in (LORA, FULL)


class RewardModel(models.Model):
    """One member: a head stored as safetensors, with its bag and a card that says how it came
    about, or a registered checkpoint, which has no bag: it saw none of the pairs."""

    ensemble = models.ForeignKey(Ensemble, on_delete=models.PROTECT, related_name="members")
    position = models.PositiveSmallIntegerField(help_text="its place in the margins of every score")
    name = models.CharField(max_length=80)
    seed = models.PositiveBigIntegerField(default=0)
    bag = models.JSONField(
        default=dict,
        help_text="which half of the pairs it was trained on: unit, split and half; or none",
    )
    digest = models.CharField(max_length=64, help_text="of the file, or of the checkpoint")
    file = models.FileField(max_length=300, blank=True)
    checkpoint = models.ForeignKey(
        Checkpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="members"
    )
    card = models.JSONField(default=dict)
    out_of_bag_accuracy = models.FloatField(null=True)
    seconds = models.FloatField(default=0.0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["ensemble", "position"]
        constraints = [
            models.UniqueConstraint(
                fields=["ensemble", "position"], name="one_member_per_position"
            ),
            models.CheckConstraint(
                condition=(~Q(file="") & Q(checkpoint__isnull=True))
                | (Q(file="") & Q(checkpoint__isnull=False)),
                name="member_is_a_head_or_a_checkpoint",
            ),
        ]

    def __str__(self) -> str:
        return self.name
