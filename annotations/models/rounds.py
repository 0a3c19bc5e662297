"""What annotators are asked, and what they have in hand."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotations.models.datasets import Dataset
from annotations.models.labels import Label
from annotations.models.pairs import Annotator, PreferencePair
from annotations.models.words import Occasion, UnicodeJSONEncoder
from curator.lib.work import Work
from curator.models import User


class Round(Work):
    """A slice of a dataset that is put to annotators, so many labels a pair."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="rounds")
    name = models.CharField(max_length=120)
    filter = models.JSONField(default=dict, help_text="which pairs, as the explore page says it")
    pair = models.ForeignKey(
        PreferencePair,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="the one pair of a second opinion",
    )
    labels_per_pair = models.PositiveSmallIntegerField(default=1)
    random_share = models.FloatField(
        default=0.1, help_text="of the pairs come at random places, whatever their priority"
    )
    annotators = models.ManyToManyField(
        User, related_name="rounds", blank=True, help_text="whom it is for; nobody named: everybody"
    )
    pairs_count = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(labels_per_pair__gte=1, labels_per_pair__lte=100),
                name="round_wants_labels",
            ),
            models.CheckConstraint(
                condition=Q(random_share__gte=0, random_share__lte=1),
                name="random_share_is_a_share",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.dataset_id}"


class RoundPair(models.Model):
    """A pair that a round wants labelled, and how many labels it still lacks.

    `open` is what nobody has given or holds a lease for; it is counted down and up by conditional
    updates in the transaction of the lease, so that no more labels come than were asked for.
    """

    class Arm(models.TextChoices):
        PRIORITY = "priority", "by priority"
        RANDOM = "random", "at random"

    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="rows")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveIntegerField(help_text="smaller is labelled earlier")
    arm = models.CharField(max_length=8, choices=Arm, default=Arm.PRIORITY)
    wanted = models.PositiveSmallIntegerField()
    open = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["round", "pair"], name="once_per_round_and_pair"),
            models.CheckConstraint(
                condition=Q(open__gte=0, open__lte=models.F("wanted")),
                name="open_is_part_of_wanted",
            ),
        ]
        indexes = [
            models.Index(
                fields=["round", "position"], condition=Q(open__gt=0), name="round_pairs_open"
            )
        ]

    def __str__(self) -> str:
        return f"pair {self.pair_id} in round {self.round_id}"


class Lease(models.Model):
    """A pair in an annotator's hands: held until it is answered, given back, or its time is over.

    It is not a fact: it says who is asked what now, and keeps the answer's draft.
    """

    class State(models.TextChoices):
        OPEN = "open", "open"
        ANSWERED = "answered", "answered"
        RELEASED = "released", "released"

    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="leases")
    pair = models.ForeignKey(PreferencePair, on_delete=models.PROTECT, related_name="leases")
    round_pair = models.ForeignKey(
        RoundPair,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="leases",
        help_text="the place that it takes; none for gold, repeated and practice pairs",
    )
    occasion = models.CharField(max_length=8, choices=Occasion, blank=True, default=Occasion.WORK)
    is_gold = models.BooleanField(default=False)
    shown_first = models.CharField(max_length=1, choices=[("a", "A"), ("b", "B")])
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    opened_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True, blank=True)
    label = models.OneToOneField(
        Label,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="lease",
        help_text="the last label given under it",
    )
    draft = models.JSONField(encoder=UnicodeJSONEncoder, default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["annotator", "pair", "occasion"], name="one_lease_per_occasion"
            ),
            models.UniqueConstraint(
                fields=["annotator"],
                condition=Q(state="open"),
                name="one_open_lease_per_annotator",
            ),
            models.CheckConstraint(
                condition=~Q(state="answered") | Q(label__isnull=False, answered_at__isnull=False),
                name="an_answered_lease_has_its_label",
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="open"), name="leases_by_expiry"),
            models.Index(fields=["annotator", "answered_at"], name="leases_by_answer"),
        ]

    def __str__(self) -> str:
        return f"{self.annotator_id} on {self.pair_id}: {self.state}"
