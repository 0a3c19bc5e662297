"""Which pair a curator reviews next: the undecided ones that scoring gave a priority, the most
urgent first."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q
from django.db.models.expressions import Combinable

from annotations.models import Dataset, PreferencePair
from curator.lib.batches import batches

BATCH = 500  # pairs at once, for which whoever labels one of them may have to wait


@dataclass(frozen=True)
class QueueState:
    """How far the review of a dataset has come."""

    waiting: int
    decided: int

    @property
    def total(self) -> int:
        return self.waiting + self.decided


def next_pair(dataset: Dataset, *, after: PreferencePair | None = None) -> PreferencePair | None:
    """The most urgent undecided pair, or the one that follows `after` in the order of the queue."""
    waiting = dataset.standings.queued_for_review()
    priority = after.standing.review_priority if after is not None else None
    if after is not None and priority is not None:
        waiting = waiting.filter(
            Q(review_priority__lt=priority) | Q(review_priority=priority, pair__lt=after.pk)
        )
        waiting = waiting.filter(review_priority__lte=priority)
    found = waiting.values_list("pair", flat=True).first()
    return None if found is None else dataset.pairs.with_standing().get(pk=found)


def state(dataset: Dataset) -> QueueState:
    waiting = dataset.standings.queued_for_review().order_by().count()
    return QueueState(waiting=waiting, decided=dataset.standings.decided().count())


def set_scores(dataset: Dataset, **scores: Combinable | None) -> Iterator[int]:
    """Let every pair's standing say what the expressions do: the figures of the current run, and
    `review_priority`, null to leave a pair out of the queue. Step by step, so that nobody waits
    long for the database; yields how many pairs each step has reached."""
    # all read before the first is written: SQLite lets no reader of an older state write
    pair_ids = list(dataset.standings.order_by("pair").values_list("pair", flat=True))
    for batch in batches(pair_ids, BATCH):
        some = dataset.standings.filter(pair__gte=batch[0], pair__lte=batch[-1])
        yield some.update(**scores)
