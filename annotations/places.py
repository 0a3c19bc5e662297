"""What follows a row in an order, asked so that an index finds the first of it at once.

Rows are ordered by a column, then by pair. What is missing comes last. A list or a queue goes on
from the place of the row before, so that each row comes once whatever changes meanwhile.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import F, FloatField, Func, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThan, LessThan


@dataclass(frozen=True)
class Place:
    """Where a row stands: what it is ordered by, None where that is missing, and its pair's id,
    which tells rows of equal values apart."""

    value: Any
    pair_id: int


def ordering(column: str, *, descending: bool) -> tuple[str, ...]:
    """What to order by, so that an index of the column is followed."""
    sign = "-" if descending else ""
    return tuple(f"{sign}{name}" for name in dict.fromkeys((column, "pair")))


def ordering_of_few(column: str, *, descending: bool) -> tuple[Any, ...]:
    """What to order by where few rows among many pass: expressions, of which the planner knows no
    index that it could follow in vain."""
    names = dict.fromkeys((column, "pair"))
    found = [Coalesce(name, name) for name in names]
    return tuple(
        by.desc(nulls_last=True) if descending else by.asc(nulls_last=True) for by in found
    )


def follows(row: tuple[Any, int], after: Place, *, descending: bool) -> bool:
    """Whether a row, what it is ordered by and its pair's id, comes after the place."""
    value, pair_id = row
    if value is None or after.value is None or value == after.value:
        if (value is None) is not (after.value is None):
            return value is None
        return pair_id < after.pair_id if descending else pair_id > after.pair_id
    return bool(value < after.value if descending else value > after.value)


def ahead(
    rows: "QuerySet[Any]", column: str, after: Place | None, *, descending: bool, nullable: bool
) -> "tuple[QuerySet[Any], QuerySet[Any]]":
    """The rows that follow the place, all of them without one: those that have what they are
    ordered by, and after them those that have not."""
    if not nullable:
        known = rows if after is None else rows.filter(beyond(column, after, descending=descending))
        return known, rows.none()
    known = rows.filter(**{f"{column}__isnull": False})
    missing = rows.filter(**{f"{column}__isnull": True})
    if after is None:
        return known, missing
    if after.value is None:
        return rows.none(), missing.filter(_past(after, descending=descending))
    return known.filter(beyond(column, after, descending=descending)), missing


def beyond(column: str, after: Place, *, descending: bool) -> Q:
    """What follows a place with a value, compared as a whole: an index finds the first of them at
    once, also among a great many of equal value."""
    if column == "pair":
        return _past(after, descending=descending)
    compare = LessThan if descending else GreaterThan
    return Q(compare(_row(F(column), F("pair")), _row(Value(after.value), Value(after.pair_id))))


def _past(after: Place, *, descending: bool) -> Q:
    return Q(**{f"pair__{'lt' if descending else 'gt'}": after.pair_id})


def _row(*columns: Any) -> Func:
    return Func(*columns, template="(%(expressions)s)", output_field=FloatField())
