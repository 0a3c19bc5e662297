"""What curators have done pair by pair: how many today, the last ones, which they can take back,
and how often a label that a flag had named was wrong. What was decided in bulk is no review."""

from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from annotations.models import Dataset, Decision, PairStanding
from annotations.models.words import UNCLEAR, WRONG
from curator.lib.bulk import among
from curator.lib.intervals import Estimate, wilson
from curator.models import User

SHOWN = 10
MOST_REVIEWED = 1000  # the latest decisions, of which the share that found a wrong label is counted
MOST_TODAY = 10_000
MOST_HELD = 100  # the latest decisions of a person, among which the last ten that hold still are
MOST_LOOKED_AT = 20_000  # decisions of all datasets, among which those of one are sought


@dataclass(frozen=True)
class FlagPrecision:
    """Of the labels with a flag that people decided one by one, how many are wrong: the other side
    is right. A tie or a pair of no use is unclear and counts as not wrong."""

    reviewed: int
    wrong: int
    unclear: int

    @property
    def share(self) -> Estimate | None:
        return wilson(self.wrong, self.reviewed)


def count_today(dataset: Dataset, user: User) -> int:
    """On how many pairs the user has decided since midnight, UTC, what was taken back left out."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    made = _one_by_one().filter(created_at__gte=midnight, decided_by=user)
    pairs = made.filter(undoes=None, undone_by=None).values("pair")[:MOST_TODAY]
    return dataset.standings.filter(pair__in=pairs).count()


def last_decisions(dataset: Dataset, user: User) -> list[Decision]:
    """The user's last decisions that hold still, the latest first, with their pairs."""
    made = _one_by_one().filter(decided_by=user, undoes=None)
    known = Decision.objects.filter(pk__in=among(_latest_of(dataset, made, most=MOST_HELD)))
    holding = known.filter(successor=None).select_related("pair")
    return list(holding.order_by("-created_at", "-pk")[:SHOWN])


def precision_of(dataset: Dataset, flag: str) -> FlagPrecision:
    """How often the flag was right so far; by the latest decisions made one by one where there are
    very many."""
    latest = _latest_of(dataset, _one_by_one(), most=MOST_REVIEWED)
    reviewed = dataset.standings.filter(
        flag=flag, decided_by=PairStanding.DecidedBy.PERSON, decision__in=among(latest)
    )
    return FlagPrecision(
        **reviewed.aggregate(
            reviewed=Count("pk"),
            wrong=Count("pk", filter=Q(verdict__in=WRONG)),
            unclear=Count("pk", filter=Q(verdict__in=UNCLEAR)),
        )
    )


def _latest_of(dataset: Dataset, made: "QuerySet[Decision]", *, most: int) -> list[int]:
    """The ids of the latest of these decisions on pairs of the dataset, sought step by step among
    those of every dataset: which one a decision is of stands in its pair, and a database that is
    asked for both at once reads all pairs."""
    found: list[int] = []
    start, step = 0, most
    while start < MOST_LOOKED_AT and len(found) < most:
        rows = list(made.values_list("pk", "pair__dataset")[start : start + step])
        found += [pk for pk, dataset_id in rows if dataset_id == dataset.pk]
        if len(rows) < step:
            break
        start, step = start + step, 2 * step
    return found[:most]


def _one_by_one() -> "QuerySet[Decision]":
    """Decisions made one by one, of every dataset, the latest first."""
    return Decision.objects.filter(batch=None).order_by("-created_at", "-pk")
