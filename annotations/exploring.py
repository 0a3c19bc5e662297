"""Pages, counts and facets of the pairs that pass a filter, read from their standings.

A page begins after the last row of the one before it. Its rows come from the index of the order,
where the filter lets many pairs pass; where a stretch of the index holds too few, all standings are
looked through at once, which is quicker than to follow the index to its end.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from django.db.models import Case, CharField, Count, F, FloatField, Func, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThan, LessThan

from annotations import checks
from annotations.asking import OPINION
from annotations.conditions import Condition, Operator
from annotations.fields import FIELDS, NONE, Kind
from annotations.filters import ORDERS, Filter, Order, where
from annotations.models import Dataset, PairStanding

PAGE_SIZE = 50
MOST_COUNTED = 1000
STRETCH = 5000  # standings of an index that are followed before all are looked through
LARGEST_ID = 2**63 - 1
CHUNK = 10_000
SHOWN_VALUES = 12  # of a facet whose values are many

Standings = QuerySet[PairStanding]


class BadCursor(ValueError):
    """The cursor in the address was not one of ours."""


@dataclass(frozen=True)
class Page:
    """Some rows of the list, each with its pair, and where the next ones begin; empty at the
    end."""

    rows: list[PairStanding]
    next_cursor: str


@dataclass(frozen=True)
class Place:
    """The last row that was seen: what it is ordered by, None where that is missing."""

    value: Any
    pair_id: int


@dataclass(frozen=True)
class Facet:
    """How many pairs have each of a field's values; pairs may have several."""

    field: str
    counts: Mapping[str | int, int]
    others: int = 0  # values that are not shown


@dataclass(frozen=True)
class Facets:
    """What the pairs of a filter are like."""

    pairs: int
    by_field: Mapping[str, Facet] = field(default_factory=dict)


# Pages


def page(dataset: Dataset, wanted: Filter, cursor: str = "") -> Page:
    """A page of the pairs, in the filter's order; those without what it orders by come last, in the
    order of import. Raises BadCursor."""
    order = ORDERS[wanted.order]
    after = _parsed(cursor, order) if cursor else None
    ids: list[tuple[Any, int]] = []
    if after is None or after.value is not None or not order.nullable:
        ids = _known(dataset, wanted, order, after)
        after = None
    if order.nullable and len(ids) <= PAGE_SIZE:
        ids += _missing(dataset, wanted, order, after, PAGE_SIZE + 1 - len(ids))
    shown = ids[:PAGE_SIZE]
    next_cursor = _cursor(*shown[-1]) if len(ids) > PAGE_SIZE else ""
    return Page(_rows([pair_id for _, pair_id in shown]), next_cursor)


def _known(
    dataset: Dataset, wanted: Filter, order: Order, after: Place | None
) -> list[tuple[Any, int]]:
    """What the rows that have it are ordered by, and their ids."""
    found = dataset.standings.all()
    if order.nullable:
        found = found.filter(**{f"{order.column}__isnull": False})
    if after is not None:
        found = found.filter(_beyond(order, after))
    met = where(wanted.clauses)
    if not met or _is_served(wanted, order):
        return _first(found.filter(met), order)
    stretch = found.order_by(*_ordering(order)).values("pk")[:STRETCH]
    near = _first(dataset.standings.filter(met, pk__in=stretch), order, by_index=False)
    if len(near) > PAGE_SIZE:
        return near
    return _first(found.filter(met), order, by_index=False)


def _is_served(wanted: Filter, order: Order) -> bool:
    """Whether an index holds just the wanted pairs in their order."""
    flags = wanted.values_of("flag")
    return len(wanted.clauses) == len(flags) == 1 and order.column == "strength"


def _first(found: Standings, order: Order, *, by_index: bool = True) -> list[tuple[Any, int]]:
    """The first rows, one more than a page has. Not by the index of the order, where most of its
    rows would be followed in vain: of an expression the planner knows no index."""
    column = order.column
    if not by_index:
        column = "ordered_by"
        found = found.alias(ordered_by=Coalesce(order.column, order.column))
    sign = "-" if order.descending else ""
    rows = found.order_by(f"{sign}{column}", f"{sign}pair")
    return list(rows.values_list(order.column, "pk")[: PAGE_SIZE + 1])


def _missing(
    dataset: Dataset, wanted: Filter, order: Order, after: Place | None, most: int
) -> list[tuple[Any, int]]:
    """The rows without what the list is ordered by."""
    found = dataset.standings.filter(where(wanted.clauses), **{f"{order.column}__isnull": True})
    if after is not None:
        found = found.filter(pair__gt=after.pair_id)
    return [(None, pk) for pk in found.order_by("pair").values_list("pk", flat=True)[:most]]


def _rows(pair_ids: list[int]) -> list[PairStanding]:
    found = PairStanding.objects.select_related("pair").defer("pair__meta").in_bulk(pair_ids)
    return [found[pair_id] for pair_id in pair_ids if pair_id in found]


def _ordering(order: Order) -> tuple[str, str]:
    sign = "-" if order.descending else ""
    return f"{sign}{order.column}", f"{sign}pair"


def _beyond(order: Order, after: Place) -> Q:
    """The rows that follow, compared as a whole: an index finds the first of them at once, also
    among a great many that are ordered by the same."""
    if order.column == "pair":
        return Q(**{f"pair__{'lt' if order.descending else 'gt'}": after.pair_id})
    compare = LessThan if order.descending else GreaterThan
    return Q(
        compare(_row(F(order.column), F("pair")), _row(Value(after.value), Value(after.pair_id)))
    )


def _row(*columns: Any) -> Func:
    return Func(*columns, template="(%(expressions)s)", output_field=FloatField())


def _cursor(value: Any, pair_id: int) -> str:
    written = (
        value.isoformat() if isinstance(value, datetime) else "" if value is None else repr(value)
    )
    return f"{written}_{pair_id}"


def _parsed(cursor: str, order: Order) -> Place:
    written, _, pair_id = cursor.rpartition("_")
    try:
        place = Place(_value(written, order), int(pair_id))
    except ValueError as error:
        raise BadCursor(cursor) from error
    if not 0 <= place.pair_id <= LARGEST_ID:
        raise BadCursor(cursor)
    return place


def _value(written: str, order: Order) -> Any:
    if not written:
        if not order.nullable:
            raise ValueError(written)
        return None
    if order.column == "decided_at":
        moment = datetime.fromisoformat(written)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not order.nullable:
        return int(written)
    number = float(written)
    if not isfinite(number):
        raise ValueError(written)
    return number


# Counts


def count(dataset: Dataset, wanted: Filter, *, most: int | None = MOST_COUNTED) -> int:
    """How many pairs pass the filter; one more than `most` stands for any number above it. None
    counts them all."""
    found = dataset.standings.filter(where(wanted.clauses)).order_by()
    return found.count() if most is None else found.values("pk")[: most + 1].count()


def pair_ids(dataset: Dataset, wanted: Filter) -> Iterator[int]:
    """The ids of all pairs that pass the filter, in the order of import."""
    found = dataset.standings.filter(where(wanted.clauses)).order_by("pair")
    return found.values_list("pk", flat=True).iterator(chunk_size=CHUNK)


def named_ids(dataset: Dataset, wanted: Filter) -> Iterator[tuple[int, str, str]]:
    """The id, the source's id and the digest of all pairs that pass the filter, in the order of
    import."""
    met = dataset.standings.filter(where(wanted.clauses)).order_by("pair")
    rows: Any = met.values_list("pk", "pair__source_id", "pair__digest")
    return iter(rows.iterator(chunk_size=CHUNK))


# Facets

FACETS = (
    "flag",
    "status",
    "people",
    "checks",
    "source_preference",
    "origin",
    "topic",
    "turns",
)
TOGETHER = ("is_scored", "flag", "verdict", "opinion", "source_preference", "checks")
ALONE = ("origin", "topic", "turns")
# most pairs nobody has judged: those are quickly told
SHOWN_OPINION = Case(
    When(people_a=0, people_b=0, people_tie=0, people_both_bad=0, then=Value(NONE)),
    default=OPINION,
    output_field=CharField(),
)


def facets(dataset: Dataset, wanted: Filter) -> Facets:
    """How many of the filter's pairs have each value of what most is asked for."""
    found = dataset.standings.filter(where(wanted.clauses)).order_by()
    counts: dict[str, Counter[str | int]] = {name: Counter() for name in FACETS}
    alike = found.annotate(is_scored=Q(run_id__isnull=False), opinion=SHOWN_OPINION)
    rows: Any = alike.values_list(*TOGETHER).annotate(count=Count("pk"))
    for *values, number in rows:
        for name, value in _named(*values):
            counts[name][value] += number
    for name in ALONE:
        grouped: Any = found.values_list(name).annotate(count=Count("pk"))
        for value, number in grouped:
            counts[name][NONE if value in ("", None) else value] += number
    pairs = sum(counts["status"].values())
    return Facets(pairs, {name: _facet(name, counts[name]) for name in FACETS})


def narrowed(wanted: Filter, name: str, value: str | int) -> Filter:
    """The filter that also asks for a facet's value."""
    operator = Operator.HAS if FIELDS[name].kind is Kind.FLAGS else Operator.IS
    return wanted.and_also(Condition(name, operator, (value,)))


def _named(
    is_scored: bool, flag: str, verdict: str, opinion: str, source: str, found: int
) -> Iterator[tuple[str, str]]:
    """The values that filters ask for, of one combination of what is stored."""
    yield "flag", (flag or NONE) if is_scored else "unscored"
    yield "status", verdict or "undecided"
    yield "people", opinion
    yield "source_preference", source or NONE
    for name in checks.names_of(found):
        yield "checks", name


def _facet(name: str, counts: Counter[str | int]) -> Facet:
    """The values in the order of the field's choices; of those without, the most frequent."""
    known = FIELDS[name].choices
    if known:
        return Facet(name, {value: counts[value] for value in known if counts[value]})
    frequent = sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))
    shown = dict(frequent[:SHOWN_VALUES])
    if name == "turns":
        shown = dict(sorted(shown.items()))
    return Facet(name, shown, others=len(counts) - len(shown))
