"""A page of a dataset's pairs under a filter, by keyset: the next page begins after the last row
of this one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from annotations import searching
from annotations.models import Dataset, PreferencePair, Verdict
from scoring.models import PairScore, ScoringRun

PAGE_SIZE = 50
UNDECIDED = "undecided"
UNFLAGGED = "none"
UNSCORED = "unscored"
LARGEST_ID = 2**63 - 1
MOST_COUNTED = 1000
CHUNK = 10_000


@dataclass(frozen=True)
class Filters:
    """What the user asked for; empty or None means anything."""

    flag: str = ""
    status: str = ""
    text: str = ""
    strength_from: float | None = None
    strength_to: float | None = None
    order: str = "strength"


@dataclass(frozen=True)
class ListedPair:
    """One row of the list."""

    pair: PreferencePair
    score: PairScore | None


@dataclass(frozen=True)
class Page:
    rows: list[ListedPair]
    next_cursor: str


@dataclass(frozen=True)
class Order:
    """A sort order: a column of the scores, its direction, and what it is called."""

    name: str
    shown_name: str
    column: str
    descending: bool


ORDERS = {
    order.name: order
    for order in (
        Order("strength", "weakest first", "strength", False),
        Order("-strength", "strongest first", "strength", True),
        Order("-spread", "most divided models first", "spread", True),
    )
}


class BadCursor(ValueError):
    """The cursor in the address was not one of ours."""


def page(dataset: Dataset, run: ScoringRun | None, filters: Filters, cursor: str = "") -> Page:
    """A page of pairs. Those that no run scored come in the order of import. Raises BadCursor."""
    if run is None or filters.flag == UNSCORED:
        return _unscored_page(_unscored(dataset, run, filters), cursor)
    order = ORDERS[filters.order]
    scores = _after(_scores(run, filters), order, cursor)
    direction = "-" if order.descending else ""
    ordered = scores.select_related("pair__standing")
    rows = list(
        ordered.order_by(f"{direction}{order.column}", f"{direction}pair_id")[: PAGE_SIZE + 1]
    )
    listed = [ListedPair(score.pair, score) for score in rows[:PAGE_SIZE]]
    last = rows[PAGE_SIZE - 1] if len(rows) > PAGE_SIZE else None
    return Page(listed, f"{getattr(last, order.column)!r}_{last.pair_id}" if last else "")


def count(dataset: Dataset, run: ScoringRun | None, filters: Filters) -> int:
    """How many pairs pass the filter; where a text is looked for, at most MOST_COUNTED."""
    found: QuerySet[Any]
    if run is None or filters.flag == UNSCORED:
        found = _unscored(dataset, run, filters)
    else:
        found = _scores(run, filters)
    return (found[:MOST_COUNTED] if filters.text else found).count()


def pair_ids(dataset: Dataset, run: ScoringRun | None, filters: Filters) -> Iterator[int]:
    """The ids of all pairs that pass the filter. Where it asks neither for a flag nor for a
    strength, that includes those without a label and those that the run has not scored."""
    found: QuerySet[Any]
    strengths = (filters.strength_from, filters.strength_to)
    if not filters.flag and strengths == (None, None):
        found = dataset.pairs.filter(_conditions(filters, prefix="")).values_list("pk", flat=True)
    elif run is None or filters.flag == UNSCORED:
        found = _unscored(dataset, run, filters).values_list("pk", flat=True)
    else:
        found = _scores(run, filters).values_list("pair_id", flat=True)
    return found.order_by().iterator(chunk_size=CHUNK)


def _scores(run: ScoringRun, filters: Filters) -> "QuerySet[PairScore]":
    scores = PairScore.objects.of(run)
    if filters.flag:
        scores = scores.filter(flag="" if filters.flag == UNFLAGGED else filters.flag)
    else:
        scores = scores.exclude(flag="")  # without a preference a strength says another thing
    if filters.strength_from is not None:
        scores = scores.filter(strength__gte=filters.strength_from)
    if filters.strength_to is not None:
        scores = scores.filter(strength__lte=filters.strength_to)
    return scores.filter(_conditions(filters, prefix="pair__"))


def _unscored(
    dataset: Dataset, run: ScoringRun | None, filters: Filters
) -> "QuerySet[PreferencePair]":
    """The pairs that came after the run; all pairs where there is none."""
    pairs = dataset.pairs.filter(_conditions(filters, prefix=""))
    if run is None:
        return pairs
    return pairs.filter(~Exists(PairScore.objects.of(run).filter(pair=OuterRef("pk"))))


def _conditions(filters: Filters, *, prefix: str) -> Q:
    """The conditions on the pair itself."""
    condition = Q()
    if filters.status:
        verdict = Verdict.UNDECIDED if filters.status == UNDECIDED else filters.status
        condition &= Q(**{f"{prefix}standing__verdict": verdict})
    if filters.text:
        condition &= Q(**{f"{prefix}pk__in": searching.matching(filters.text)})
    return condition


def _after(scores: "QuerySet[PairScore]", order: Order, cursor: str) -> "QuerySet[PairScore]":
    """The rows that follow the cursor, as a bound on the column that an index serves."""
    if not cursor:
        return scores
    value, pair_id = _parsed(cursor, float)
    beyond, until = ("lt", "lte") if order.descending else ("gt", "gte")
    tie = Q(**{order.column: value, f"pair_id__{beyond}": pair_id})
    return scores.filter(
        Q(**{f"{order.column}__{until}": value}), Q(**{f"{order.column}__{beyond}": value}) | tie
    )


def _unscored_page(found: "QuerySet[PreferencePair]", cursor: str) -> Page:
    pairs = found.select_related("standing").order_by("pk")
    if cursor:
        pairs = pairs.filter(pk__gt=_parsed(cursor, str)[1])
    rows = list(pairs[: PAGE_SIZE + 1])
    listed = [ListedPair(pair, None) for pair in rows[:PAGE_SIZE]]
    return Page(listed, f"_{rows[PAGE_SIZE - 1].pk}" if len(rows) > PAGE_SIZE else "")


def _parsed(cursor: str, read: Callable[[str], Any]) -> tuple[Any, int]:
    value, _, pair_id = cursor.rpartition("_")
    try:
        found = read(value), int(pair_id)
    except ValueError as error:
        raise BadCursor(cursor) from error
    if not 0 <= found[1] <= LARGEST_ID:
        raise BadCursor(cursor)
    return found
