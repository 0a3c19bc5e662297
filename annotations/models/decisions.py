"""What the project holds true of a pair's label: decisions, those made many at once, and the
policies that make them."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models.datasets import Dataset
from annotations.models.pairs import PreferencePair
from annotations.models.words import UnicodeJSONEncoder, Verdict
from curator.lib.append_only import AppendOnly
from curator.lib.work import Work
from curator.models import User


class Policy(AppendOnly):
    """A rule set that turns what is known of pairs into decisions; changed, it is a new row."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="policies")
    name = models.CharField(max_length=120)
    rules = models.JSONField(encoder=UnicodeJSONEncoder, help_text="the policy language")
    digest = models.CharField(max_length=64, help_text="of the rules")
    note = models.TextField(blank=True)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.digest[:12]})"


class DecisionBatch(Work):
    """Decisions made many at once, in one transaction, and taken back as one: on all pairs of a
    filter, by a policy, to restore a snapshot, or to undo such a batch."""

    class Kind(models.TextChoices):
        BULK = "bulk", "decided in bulk"
        POLICY = "policy", "policy applied"
        RESTORE = "restore", "snapshot restored"
        UNDO = "undo", "batch undone"
        PSEUDO = "pseudo", "pseudo-labels"

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="batches")
    kind = models.CharField(max_length=7, choices=Kind)
    filter = models.JSONField(
        encoder=UnicodeJSONEncoder, default=list, blank=True, help_text="conditions on the pairs"
    )
    verdict = models.CharField(max_length=6, choices=Verdict, blank=True, help_text="in bulk")
    label_probability = models.FloatField(null=True, blank=True, help_text="when softened in bulk")
    overrules_people = models.BooleanField(
        default=False, help_text="in bulk: also pairs that a person has decided"
    )
    policy = models.ForeignKey(
        Policy, null=True, blank=True, on_delete=models.PROTECT, related_name="batches"
    )
    snapshot = models.ForeignKey(
        "annotations.Snapshot", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    undoes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by"
    )
    expected = models.JSONField(
        default=dict, blank=True, help_text="what the preview showed; empty: do not compare"
    )
    total = models.PositiveIntegerField(default=0, help_text="pairs to go through")
    done = models.PositiveIntegerField(default=0, help_text="pairs gone through, while it runs")
    counts = models.JSONField(
        default=dict, blank=True, help_text="decisions made, by verdict, and pairs put forward"
    )
    passed_over = models.JSONField(
        default=dict, blank=True, help_text="pairs left as they were, by reason"
    )
    reason = models.TextField(blank=True)
    actor = models.CharField(max_length=150, help_text="the person's name at the time")
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"batch {self.pk}: {self.kind}"

    @property
    def goes_by_scores(self) -> bool:
        """Whether scores say what it does; else what was decided before does."""
        return self.kind in (self.Kind.BULK, self.Kind.POLICY)

    @property
    def decided(self) -> int:
        """How many decisions it made."""
        return sum(count for verdict, count in self.counts.items() if verdict != "queue")

    @property
    def share_done(self) -> float:
        return min(self.done / self.total, 1.0) if self.total else 0.0


class PutForward(AppendOnly):
    """A policy's application wants people to look at the pair. It stays when the batch is undone,
    so that the undo can be undone."""

    batch = models.ForeignKey(
        DecisionBatch, on_delete=models.PROTECT, related_name="put_forward", db_index=False
    )
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["batch", "pair"], name="put_forward_once_per_batch")
        ]

    def __str__(self) -> str:
        return f"pair {self.pair_id} by batch {self.batch_id}"


class Decision(AppendOnly):
    """What the project holds true of a pair's label, by whom and on what evidence.

    An undo is a decision too: it names the one it takes back (`undoes`) and restores the verdict
    before it. `restores` is the decision that holds again by an undo or by a restored snapshot;
    none, where the pair is undecided again.
    """

    class Kind(models.TextChoices):
        PERSON = "person", "person"
        POLICY = "policy", "policy"

    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="decisions")
    verdict = models.CharField(max_length=6, choices=Verdict, blank=True)
    label_probability = models.FloatField(
        null=True, blank=True, help_text="of the source label, when softened"
    )
    kind = models.CharField(
        max_length=6,
        choices=Kind,
        default=Kind.PERSON,
        db_default="person",
        help_text="who holds the verdict, whoever took another back",
    )
    # the longer indexes below serve alone: a planner that must guess would take the shorter
    decided_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    actor = models.CharField(max_length=150, help_text="the person's or policy's name at the time")
    batch = models.ForeignKey(
        DecisionBatch,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="decisions",
        db_index=False,
    )
    reason = models.TextField(blank=True)
    evidence = models.JSONField(
        encoder=UnicodeJSONEncoder, default=dict, help_text="the figures it rests on"
    )
    supersedes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="successor"
    )
    undoes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by"
    )
    restores = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair"],
                condition=Q(supersedes__isnull=True),
                name="one_first_decision_per_pair",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=Verdict.values), name="verdict_is_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    verdict=Verdict.SOFTEN, label_probability__gte=0, label_probability__lte=1
                )
                | (~Q(verdict=Verdict.SOFTEN) & Q(label_probability__isnull=True)),
                name="only_softening_has_a_probability",
            ),
            models.CheckConstraint(
                condition=~Q(verdict=Verdict.UNDECIDED)
                | Q(undoes__isnull=False)
                | Q(batch__isnull=False),
                name="only_an_undo_or_a_batch_is_undecided",
            ),
        ]
        indexes = [
            models.Index(fields=["decided_by", "id"], name="decisions_by_person"),
            models.Index(fields=["batch", "pair"], name="decisions_by_batch"),
            models.Index(
                fields=["created_at"], condition=Q(batch__isnull=True), name="decisions_one_by_one"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} pair {self.pair_id}"

    @property
    def takes_back(self) -> bool:
        """Whether it restores what held before rather than saying something new."""
        return self.undoes_id is not None or self.restores_id is not None or not self.verdict

    @property
    def holding(self) -> "Decision | None":
        """The decision that holds by this one: itself, or what it restores."""
        return self.restores if self.takes_back else self
