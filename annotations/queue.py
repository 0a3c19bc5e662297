"""Which pair a curator reviews next: queues of pairs, each in an order that an index serves.

A queue goes on from a place, which is what its pairs are ordered by and the pair's id, so that each
waiting pair comes once however many are decided, skipped or added meanwhile.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import Combinable

from annotations import filters, holds, places, whose_scores
from annotations.filters import Filter
from annotations.models import Dataset, PairStanding, PreferencePair, SavedView
from annotations.places import Place
from curator.lib.batches import batches
from curator.lib.bulk import among
from curator.models import User

BATCH = 500  # pairs at once, for which whoever labels one of them may have to wait
MOST_COUNTED = 1000
STRETCH = 1000  # of an index that is followed before all pairs that wait are looked through
MOST_TRIES = 20  # to take a pair, where others take pairs at the same moment
LIST = "list"
VIEW = "view-"  # and the view's id
BY_HAND = ("", PairStanding.DecidedBy.POLICY)  # who may have decided what still waits for a person


@dataclass(frozen=True)
class Queue:
    """Pairs in an order.

    `rows` are all that may ever stand in it, standings or others that name a `pair`, and `waits`
    says which of them wait. They are ordered by the column `by`, then by pair; what is missing
    comes last, where the queue takes it at all.
    """

    dataset: Dataset
    name: str
    shown_name: str
    explanation: str
    rows: "QuerySet[Any]"
    waits: Q
    by: str = "pair"
    descending: bool = False
    takes_missing: bool = False
    is_served: bool = True  # an index holds just what waits, in order
    address: str = ""  # what a list's address says of its filter
    flag: str = ""  # that all of its pairs carry

    @property
    def query(self) -> str:
        """What the address of each of its pages says, without a question mark."""
        return f"queue={self.name}" + (f"&{self.address}" if self.address else "")

    @property
    def waiting(self) -> "QuerySet[Any]":
        found = self.rows.filter(self.waits).order_by()
        return found if self.takes_missing else found.filter(**{f"{self.by}__isnull": False})


# Queues


def all_of(dataset: Dataset) -> Queue:
    return Queue(
        dataset,
        "all",
        "Everything scored",
        "All undecided labels, the weakest first.",
        dataset.standings.all(),
        Q(verdict=""),
        by="review_priority",
        descending=True,
    )


def flipped(dataset: Dataset) -> Queue:
    return _flagged(
        dataset,
        "flipped",
        "Likely flipped",
        "Labels that the models contradict, the weakest first.",
    )


def ambiguous(dataset: Dataset) -> Queue:
    return _flagged(
        dataset,
        "ambiguous",
        "Ambiguous",
        "Labels that the models can hardly tell, the weakest first.",
    )


def disputed(dataset: Dataset) -> Queue:
    return Queue(
        dataset,
        "disputed",
        "Disputed by people",
        "Pairs of which one person prefers A and another B, in the order of import.",
        dataset.standings.all(),
        Q(verdict="", people_a__gt=0, people_b__gt=0),
    )


def put_forward(dataset: Dataset) -> Queue:
    return Queue(
        dataset,
        "put-forward",
        "Put forward by policies",
        "Pairs that a policy wants a person to look at, in the order of import.",
        dataset.standings.all(),
        Q(put_forward_by__isnull=False, decided_by__in=BY_HAND),
    )


def listed(dataset: Dataset, wanted: Filter) -> Queue:
    """The pairs of a list, as its address has it."""
    return _filtered(dataset, wanted, LIST, "The list", wanted.as_query())


def viewed(view: SavedView, wanted: Filter) -> Queue:
    """The pairs of a saved view."""
    return _filtered(view.dataset, wanted, f"{VIEW}{view.pk}", view.name, "")


def _flagged(dataset: Dataset, flag: str, shown_name: str, explanation: str) -> Queue:
    waits = Q(verdict="", flag=flag)
    rows = dataset.standings.all()
    return Queue(dataset, flag, shown_name, explanation, rows, waits, by="strength", flag=flag)


def _filtered(dataset: Dataset, wanted: Filter, name: str, shown_name: str, address: str) -> Queue:
    """Where the filter asks nothing of decisions, only what is undecided waits."""
    order = filters.ORDERS[wanted.order]
    asks_decisions = wanted.asks("status", "decided_by", "decided")
    undecided = "" if asks_decisions else ", undecided"
    return Queue(
        dataset,
        name,
        shown_name,
        f"{wanted.in_words()}{undecided}; {order.shown_name}.",
        dataset.standings.all(),
        filters.where(wanted.clauses) & (Q() if asks_decisions else Q(verdict="")),
        by=order.column,
        descending=order.descending,
        takes_missing=order.nullable,
        is_served=False,
        address=address,
    )


# Going through them


def place_of(queue: Queue, pair: PreferencePair) -> Place | None:
    """Where the pair stands, waiting or not; None where it cannot stand in the queue at all."""
    values = queue.rows.filter(pair=pair).order_by().values_list(queue.by, flat=True)[:1]
    return next((Place(value, pair.pk) for value in values), None)


def next_id(
    queue: Queue, *, after: Place | None = None, leaving_out: Collection[int] = ()
) -> int | None:
    """The id of the first pair that waits, or of the first that follows the place."""
    known, missing = _ahead(queue, after)
    for rows, column in ((known, queue.by), (missing, "pair")):
        found = _first(queue, rows, column, leaving_out)
        if found is not None:
            return found
    return None


def hand_out(queue: Queue, *, to: User, after: Place | None = None) -> PreferencePair | None:
    """The next pair that nobody else looks at, held for the user for a while. None where none is
    left for them."""
    taken = set(holds.by_others(queue.dataset, to))
    for _ in range(MOST_TRIES):
        pair_id = next_id(queue, after=after, leaving_out=taken)
        if pair_id is None:
            return None
        pair = queue.dataset.pairs.select_related("standing__decision").get(pk=pair_id)
        if holds.take(pair, to):
            return pair
        taken.add(pair_id)
    return None


def count_waiting(queue: Queue) -> int:
    """How many pairs wait; one more than MOST_COUNTED stands for any number above."""
    return queue.waiting.values("pair")[: MOST_COUNTED + 1].count()


def _ahead(queue: Queue, after: Place | None) -> "tuple[QuerySet[Any], QuerySet[Any]]":
    """What follows the place, waiting or not: the rows of which the value is known, then the others
    where the queue takes them."""
    rows, down = queue.rows.order_by(), queue.descending
    known, missing = places.ahead(rows, queue.by, after, descending=down, nullable=True)
    return known, missing if queue.takes_missing else rows.none()


def _first(
    queue: Queue, rows: "QuerySet[Any]", column: str, leaving_out: Collection[int]
) -> int | None:
    """The first that waits: along an index of the column, and where none does in a stretch of it,
    among all of them at once, which is quicker than to follow the index to its end."""
    ordering = places.ordering(column, descending=queue.descending)
    waiting = rows.filter(queue.waits)
    if leaving_out:
        waiting = waiting.exclude(pair__in=leaving_out)
    if queue.is_served:
        return _first_id(waiting.order_by(*ordering))
    near = list(rows.order_by(*ordering).values_list("pk", flat=True)[:STRETCH])
    # as numbers, so that no planner takes them for fewer than they are
    of_few = places.ordering_of_few(column, descending=queue.descending)
    found = _first_id(waiting.filter(pk__in=among(near)).order_by(*of_few))
    if found is not None or len(near) < STRETCH:
        return found
    return _first_id(waiting.order_by(*of_few))


def _first_id(ordered: "QuerySet[Any]") -> int | None:
    found: int | None = ordered.values_list("pair", flat=True).first()
    return found


def set_scores(dataset: Dataset, *, by: str = "", **scores: Combinable | None) -> Iterator[int]:
    """Let every pair's standing say what the expressions do: the figures of the current run, and
    `review_priority`, null to leave a pair out of the queue. Step by step, so that nobody waits
    long for the database; yields how many pairs each step has reached. Raises Displaced as soon as
    the dataset's mark is not `by`. A step locks the dataset, then standings in their order, as all
    do who lock both."""
    # all read before the first is written: SQLite lets no reader of an older state write
    pair_ids = list(dataset.standings.order_by("pair").values_list("pair", flat=True))
    for batch in batches(pair_ids, BATCH):
        some = dataset.standings.filter(pair__gte=batch[0], pair__lte=batch[-1])
        with transaction.atomic():
            whose_scores.check(dataset, by)
            list(some.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
            reached = some.update(**scores)
        yield reached
