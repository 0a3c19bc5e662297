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

from django.core.exceptions import EmptyResultSet
from django.db import connections, router
from django.db.models import Count, Q, QuerySet

from annotations import checks, places
from annotations.asking import OPINION
from annotations.conditions import Condition, Operator
from annotations.fields import FIELDS, NONE, Kind
from annotations.filters import ORDERS, Filter, Order, where
from annotations.models import Dataset, PairStanding
from annotations.places import Place
from curator.lib.bulk import among

PAGE_SIZE = 50
MOST_COUNTED = 1000
MOST_READ = 10_000  # of the pairs that pass, to find those that follow a place among them
STRETCH = 5000  # standings of an index that are followed before all are looked through
LARGEST_ID = 2**63 - 1
CHUNK = 10_000
SHOWN_VALUES = 12  # of a facet whose values are many

Standings = QuerySet[PairStanding]
Row = tuple[Any, int]


class BadCursor(ValueError):
    """The cursor in the address was not one of ours."""


@dataclass(frozen=True)
class Page:
    """Some rows of the list, each with its pair, and where the next ones begin; empty at the
    end. `count` is how many pairs pass the filter, as `count` says it, where it came to be known on
    the way."""

    rows: list[PairStanding]
    next_cursor: str
    count: int | None = None


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
    """A page of the pairs, in the filter's order; those without what it orders by come last. Raises
    BadCursor."""
    order = ORDERS[wanted.order]
    after = _parsed(cursor, order) if cursor else None
    found, count = _ids(dataset, wanted, order, after)
    shown = found[:PAGE_SIZE]
    is_last = len(found) <= PAGE_SIZE
    return Page(
        _rows([pair_id for _, pair_id in shown]),
        "" if is_last else _cursor(*shown[-1]),
        len(found) if is_last and after is None else count,
    )


def _ids(
    dataset: Dataset, wanted: Filter, order: Order, after: Place | None
) -> tuple[list[Row], int | None]:
    """What the page's rows are ordered by, and their ids, one more than a page has if there are;
    and how many pairs pass in all, where all standings are looked through."""
    met = where(wanted.clauses)
    known, missing = _ahead(dataset, order, after)
    if not met or _is_served(wanted, order):
        rows = _first(known.filter(met), order)
        return (rows if len(rows) > PAGE_SIZE else _then(rows, missing.filter(met), order)), None
    is_past = after is not None and after.value is None and order.nullable
    stretch, column = (missing, "pair") if is_past else (known, order.column)
    near = stretch.order_by(*_ordering(order, column)).values_list("pk", flat=True)[:STRETCH]
    # as numbers, so that no planner takes them for fewer than they are
    some = dataset.standings.filter(met, pk__in=among(list(near)))
    rows = _first_of_few(some, order)
    if len(rows) > PAGE_SIZE:
        return rows, None
    most = MOST_COUNTED if after is None else MOST_READ
    passing = _first_of_few(dataset.standings.filter(met), order, most=most)
    is_all, least = len(passing) <= most, min(len(passing), MOST_COUNTED + 1)
    count = least if is_all or least > MOST_COUNTED else None
    if after is not None:
        passing = [
            row for row in passing if places.follows(row, after, descending=order.descending)
        ]
    if is_all or len(passing) > PAGE_SIZE:
        return passing[: PAGE_SIZE + 1], count
    return _first_of_few((known | missing).filter(met), order), count


def _then(rows: list[Row], missing: Standings, order: Order) -> list[Row]:
    """The rows and those that follow them."""
    rest = missing.order_by(*_ordering(order, "pair")).values_list(order.column, "pk")
    return (rows + list(rest[: PAGE_SIZE + 1]))[: PAGE_SIZE + 1]


def _ahead(dataset: Dataset, order: Order, after: Place | None) -> tuple[Standings, Standings]:
    return places.ahead(
        dataset.standings.all(),
        order.column,
        after,
        descending=order.descending,
        nullable=order.nullable,
    )


def _is_served(wanted: Filter, order: Order) -> bool:
    """Whether an index holds just the wanted pairs in their order."""
    flags = wanted.values_of("flag")
    return len(wanted.clauses) == len(flags) == 1 and order.column == "strength"


def _first(found: Standings, order: Order) -> list[Row]:
    """The first rows, along an index of what they are ordered by."""
    rows = found.order_by(*_ordering(order, order.column))
    return list(rows.values_list(order.column, "pk")[: PAGE_SIZE + 1])


def _first_of_few(found: Standings, order: Order, *, most: int = PAGE_SIZE) -> list[Row]:
    """The first of rows that are few among many, one more than `most`: by an expression, of which
    the planner knows no index that it could follow in vain."""
    rows = found.order_by(*places.ordering_of_few(order.column, descending=order.descending))
    return list(rows.values_list(order.column, "pk")[: most + 1])


def _rows(pair_ids: list[int]) -> list[PairStanding]:
    found = PairStanding.objects.select_related("pair").defer("pair__meta").in_bulk(pair_ids)
    return [found[pair_id] for pair_id in pair_ids if pair_id in found]


def _ordering(order: Order, column: str) -> tuple[str, ...]:
    return places.ordering(column, descending=order.descending)


def _cursor(value: Any, pair_id: int) -> str:
    written = (
        value.isoformat() if isinstance(value, datetime) else "" if value is None else repr(value)
    )
    return f"{written}_{pair_id}"


def _parsed(cursor: str, order: Order) -> Place:
    written, _, pair_id = cursor.rpartition("_")
    try:
        place = Place(_value(written, order), int(pair_id))
    except (ValueError, OverflowError) as error:
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
        # far from UTC, the first and the last day have no moment that a database could name
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not order.nullable:
        whole = int(written)
        if not 0 <= whole <= LARGEST_ID:
            raise ValueError(written)
        return whole
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
# columns counted together: so few combinations that a database keeps their counts in memory
TOGETHER = (
    ("is_scored", "flag", "verdict", "source_preference", "checks"),
    ("topic", "turns"),
    ("origin",),
    ("opinion",),
)


def facets(dataset: Dataset, wanted: Filter) -> Facets:
    """How many of the filter's pairs have each value of what most is asked for."""
    found = dataset.standings.filter(where(wanted.clauses)).order_by()
    found = found.annotate(is_scored=Q(run_id__isnull=False), opinion=OPINION)
    counts: dict[str, Counter[str | int]] = {name: Counter() for name in FACETS}
    for stored, number in _combinations(found):
        for name, value in _named(stored):
            counts[name][value] += number
    pairs = sum(counts["status"].values())
    return Facets(pairs, {name: _facet(name, counts[name]) for name in FACETS})


def _combinations(found: Standings) -> Iterator[tuple[Mapping[str, Any], int]]:
    """The combinations of values in each group of columns, and how many pairs have them. PostgreSQL
    asks once which pairs these are and counts all groups in one pass; SQLite asks for each."""
    columns = [name for group in TOGETHER for name in group]
    connection = connections[router.db_for_read(PairStanding)]
    if connection.vendor != "postgresql":
        for group in TOGETHER:
            rows: Any = found.values_list(*group).annotate(count=Count("*"))
            for *values, number in rows:
                yield dict(zip(group, values, strict=True)), number
        return
    try:
        select, parameters = (
            found.values_list(*columns).query.get_compiler(connection=connection).as_sql()
        )
    except EmptyResultSet:
        return
    names, firsts = ", ".join(columns), [group[0] for group in TOGETHER]
    sets = ", ".join(f"({', '.join(group)})" for group in TOGETHER)
    absent = ", ".join(f"GROUPING({name})" for name in firsts)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {absent}, {names}, COUNT(*) FROM ({select}) AS found ({names})"  # noqa: S608 - names of ours
            f" GROUP BY GROUPING SETS ({sets})",
            parameters,
        )
        for row in cursor:
            group = TOGETHER[row[: len(TOGETHER)].index(0)]
            values = dict(zip(columns, row[len(TOGETHER) : -1], strict=True))
            yield {name: values[name] for name in group}, row[-1]


def narrowed(wanted: Filter, name: str, value: str | int) -> Filter:
    """The filter that also asks for a facet's value."""
    operator = Operator.HAS if FIELDS[name].kind is Kind.FLAGS else Operator.IS
    return wanted.and_also(Condition(name, operator, (value,)))


def _named(stored: Mapping[str, Any]) -> Iterator[tuple[str, str | int]]:
    """The values that filters ask for, of one combination of what is stored."""
    for name in ("source_preference", "origin", "topic", "turns"):
        if name in stored:
            yield name, NONE if stored[name] in ("", None) else stored[name]
    if "opinion" in stored:
        yield "people", stored["opinion"]
    if "verdict" in stored:
        yield "flag", (stored["flag"] or NONE) if stored["is_scored"] else "unscored"
        yield "status", stored["verdict"] or "undecided"
        for name in checks.names_of(stored["checks"]):
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
