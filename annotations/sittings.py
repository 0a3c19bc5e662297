"""What curators have done pair by pair: how many today, the last ones, which they can take back,
and how often they changed a label that a flag had named. What was decided in bulk is no review."""

from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from annotations.models import Dataset, Decision, PairStanding, Verdict
from curator.lib.intervals import Estimate, wilson
from curator.models import User

SHOWN = 10
MOST_REVIEWED = 1000  # the latest decisions, of which the share that changed a label is counted
MOST_TODAY = 10_000
MOST_LOOKED_AT = 100  # for the last ten that hold still
CHANGING = (Verdict.FLIP, Verdict.TIE, Verdict.DROP)


@dataclass(frozen=True)
class Changed:
    """Of the labels that people looked at one by one, how many they changed."""

    reviewed: int
    changed: int

    @property
    def share(self) -> Estimate | None:
        return wilson(self.changed, self.reviewed)


def count_today(dataset: Dataset, user: User) -> int:
    """On how many pairs the user has decided since midnight, UTC, what was taken back left out."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    made = _one_by_one().filter(created_at__gte=midnight, decided_by=user)
    pairs = made.filter(undoes=None, undone_by=None).values("pair")[:MOST_TODAY]
    return dataset.standings.filter(pair__in=pairs).count()


def last_decisions(dataset: Dataset, user: User) -> list[Decision]:
    """The user's last decisions that hold still, the latest first, with their pairs."""
    made = _one_by_one().filter(decided_by=user, undoes=None).values_list("pk", flat=True)
    known = Decision.objects.filter(pk__in=list(made[:MOST_LOOKED_AT]), pair__dataset=dataset)
    holding = known.filter(successor=None).select_related("pair")
    return list(holding.order_by("-created_at", "-pk")[:SHOWN])


def changed_of(dataset: Dataset, flag: str) -> Changed:
    """Of the pairs with the flag that people decided one by one, how many labels they changed; by
    the latest of such decisions where there are very many."""
    latest = list(_one_by_one().values_list("pk", flat=True)[:MOST_REVIEWED])
    reviewed = dataset.standings.filter(
        flag=flag, decided_by=PairStanding.DecidedBy.PERSON, decision__in=latest
    )
    counts = reviewed.aggregate(
        reviewed=Count("pk"), changed=Count("pk", filter=Q(verdict__in=CHANGING))
    )
    return Changed(counts["reviewed"], counts["changed"])


def _one_by_one() -> "QuerySet[Decision]":
    """Decisions made one by one, the latest first. Of every dataset: which a decision is of stands
    in its pair, and where that is asked for before the latest are taken, all pairs are read."""
    return Decision.objects.filter(batch=None).order_by("-created_at")
