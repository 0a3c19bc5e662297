"""What curators have done pair by pair: how many today, the last ones, which they can take back,
and how often they changed a label that a flag had named. What was decided in bulk is no review."""

from dataclasses import dataclass

from django.db.models import Count, Q
from django.utils import timezone

from annotations.models import Dataset, Decision, PairStanding, Verdict
from curator.lib.intervals import Estimate, wilson
from curator.models import User

SHOWN = 10
MOST_REVIEWED = 2000  # the latest decisions, of which the share that changed a label is counted
MOST_TODAY = 10_000
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
    """How many decisions the user has made since midnight, UTC, those taken back left out."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    made = Decision.objects.filter(created_at__gte=midnight, decided_by=user)
    made = made.filter(batch=None, undoes=None, undone_by=None, pair__dataset=dataset)
    return made.order_by()[:MOST_TODAY].count()


def last_decisions(dataset: Dataset, user: User) -> list[Decision]:
    """The user's last decisions that hold still, the latest first, with their pairs."""
    made = Decision.objects.filter(batch=None, decided_by=user, pair__dataset=dataset)
    holding = made.filter(undoes=None, successor=None).select_related("pair")
    return list(holding.order_by("-created_at", "-pk")[:SHOWN])


def changed_of(dataset: Dataset, flag: str) -> Changed:
    """Of the pairs with the flag that people decided one by one, how many labels they changed; by
    the latest of such decisions where there are very many."""
    one_by_one = Decision.objects.filter(batch=None, pair__dataset=dataset)
    latest = one_by_one.order_by("-created_at").values("pk")[:MOST_REVIEWED]
    reviewed = dataset.standings.filter(
        flag=flag, decided_by=PairStanding.DecidedBy.PERSON, decision__in=latest
    )
    counts = reviewed.aggregate(
        reviewed=Count("pk"), changed=Count("pk", filter=Q(verdict__in=CHANGING))
    )
    return Changed(counts["reviewed"], counts["changed"])
