"""Where a dataset stood at one moment, for good, and the files written from it."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models.datasets import Dataset
from annotations.models.decisions import Decision
from annotations.models.pairs import PreferencePair
from annotations.models.words import Preference, Verdict
from curator.lib.append_only import AppendOnly
from curator.lib.work import Work
from curator.models import User


class Snapshot(AppendOnly):
    """A dataset's decisions at one moment, frozen with a digest."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="snapshots")
    number = models.PositiveIntegerField(help_text="1, 2, 3 … within the dataset")
    digest = models.CharField(
        max_length=64, help_text="of the content: the same content has the same digest"
    )
    pairs_count = models.PositiveIntegerField()
    counts = models.JSONField(default=dict, help_text="pairs by verdict and by preference")
    scored_by = models.CharField(
        max_length=200, blank=True, help_text="which scoring run the margins come from"
    )
    margin_scale = models.FloatField(
        null=True, blank=True, help_text="median absolute strength of the snapshot"
    )
    last_label = models.PositiveBigIntegerField(
        default=0, help_text="labels after this one are not part of it"
    )
    last_decision = models.PositiveBigIntegerField(
        default=0, help_text="decisions after this one are not part of it"
    )
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="one_snapshot_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id} #{self.number}"

    @property
    def short_digest(self) -> str:
        return self.digest[:12]

    @property
    def decided_count(self) -> int:
        return self.pairs_count - int(self.counts["verdicts"].get("", 0))


class SnapshotPair(AppendOnly):
    """Where one pair stood in a snapshot; `preference` is the label that holds, empty when there
    is none."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="rows")
    position = models.PositiveIntegerField(help_text="1, 2, 3 … in the order of pairs' digests")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="+")
    decision = models.ForeignKey(Decision, null=True, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=6, choices=Verdict, blank=True)
    preference = models.CharField(max_length=3, choices=Preference, blank=True)
    strength = models.FloatField(
        null=True, help_text="towards A: positive when the ensemble prefers A"
    )
    spread = models.FloatField(null=True)
    votes = models.FloatField(null=True)
    flag = models.CharField(max_length=9, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["snapshot", "pair"], name="one_row_per_snapshot_and_pair"
            ),
            models.UniqueConstraint(
                fields=["snapshot", "position"], name="one_row_per_snapshot_and_position"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pair_id} in {self.snapshot_id}"


class SnapshotTag(models.Model):
    """A name for a snapshot, such as `v1`; taken away, it stays in the activity."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="tags")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="snapshot_tags")
    name = models.CharField(max_length=60)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "name"],
                condition=Q(retired_at__isnull=True),
                name="one_snapshot_per_tag",
            )
        ]

    def __str__(self) -> str:
        return self.name


class SnapshotCard(AppendOnly):
    """The dataset card of a snapshot, in Markdown, as it was written when the snapshot was
    frozen."""

    snapshot = models.OneToOneField(Snapshot, on_delete=models.PROTECT, related_name="card")
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"card of snapshot {self.snapshot_id}"


class SnapshotRequest(Work):
    """A snapshot of a large dataset that is frozen in the background."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="snapshot_requests")
    note = models.CharField(max_length=300, blank=True)
    snapshot = models.ForeignKey(
        Snapshot,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="what it led to: an older one, where nothing had changed since",
    )
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"request {self.pk} of {self.dataset_id}"


class Export(Work):
    """A file written from a snapshot for one kind of trainer."""

    class Format(models.TextChoices):
        TRL_REWARD = "trl-reward", "TRL RewardTrainer"
        TRL_DPO = "trl-dpo", "TRL DPOTrainer"
        JSONL = "jsonl", "JSONL with everything"

    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="exports")
    format = models.CharField(max_length=20, choices=Format)
    file = models.FileField(max_length=300, blank=True)
    rows = models.PositiveIntegerField(default=0)
    left_out = models.JSONField(
        default=dict, help_text="how many pairs the format cannot hold, by reason"
    )
    sha256 = models.CharField(max_length=64, blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["snapshot", "format"], name="one_export_per_snapshot_and_format"
            )
        ]

    def __str__(self) -> str:
        return f"{self.format} of snapshot {self.snapshot_id}"

    @property
    def share_done(self) -> float:
        seen = self.rows + sum(self.left_out.values())
        return min(seen / self.snapshot.pairs_count, 1.0) if self.snapshot.pairs_count else 1.0
