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
    waiting = dataset.pairs.with_text().queued_for_review()
    if after is not None and after.review_priority is not None:
        priority = after.review_priority
        waiting = waiting.filter(
            Q(review_priority__lt=priority) | Q(review_priority=priority, id__lt=after.pk)
        )
        waiting = waiting.filter(review_priority__lte=priority)
    return waiting.first()


def state(dataset: Dataset) -> QueueState:
    waiting = dataset.pairs.queued_for_review().order_by().count()
    return QueueState(waiting=waiting, decided=dataset.pairs.decided().count())


def set_priorities(dataset: Dataset, priority: Combinable) -> Iterator[int]:
    """Give every pair of the dataset the priority that the expression says, null to leave it out
    of the queue. Step by step, so that nobody waits long for the database; yields how many pairs
    each step has reached."""
    # all read before the first is written: SQLite lets no reader of an older state write
    pair_ids = list(dataset.pairs.order_by("pk").values_list("pk", flat=True))
    for batch in batches(pair_ids, BATCH):
        yield dataset.pairs.filter(pk__gte=batch[0], pk__lte=batch[-1]).update(
            review_priority=priority
        )
