"""Conditions, and pairs of whatever is known, for hypothesis to try."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from annotations.conditions import ENDS, OPERATORS, AnyOf, Clause, Condition, Operator
from annotations.fields import FIELDS, NONE, Field, Kind, Use, fields_for

Columns = dict[str, Any]

# few and small, so that conditions and pairs meet
WORDS = ("reddit", "bing", NONE)
WHOLE = (0, 1, 2, 3)
SHARES = (0, 0.1, 0.25, 0.5, 0.9, 1)
STRENGTHS = (-1.5, -1, -0.25, 0, 0.25, 1, 1.5)
START = datetime(2026, 11, 21, tzinfo=UTC)
MOMENTS = tuple(START + timedelta(hours=12 * each) for each in range(6))
# fields of which random conditions often meet in one policy
POLICY_FIELDS = tuple(fields_for(Use.POLICY).values())
FEW_FIELDS = tuple(
    FIELDS[name] for name in ("flag", "strength", "votes", "people_against", "checks", "origin")
)


def numbers_of(field: Field) -> Sequence[Any]:
    """Numbers or times in their order."""
    if field.kind is Kind.TIME:
        return MOMENTS
    if field.whole:
        return WHOLE
    return SHARES if field.most == 1 else STRENGTHS


def names_of(field: Field) -> Sequence[Any]:
    """What a list of the field's values can hold."""
    if field.kind in (Kind.NUMBER, Kind.TIME):
        return (*numbers_of(field), NONE)
    return tuple(field.choices) or ((*WHOLE, NONE) if field.whole else WORDS)


@st.composite
def conditions(draw: st.DrawFn, fields: Sequence[Field] = POLICY_FIELDS) -> Condition:
    field = draw(st.sampled_from(fields))
    operator = draw(st.sampled_from(OPERATORS[field.kind]))
    if operator is Operator.CONTAINS:
        return Condition(field.name, operator, (draw(st.sampled_from(WORDS)),))
    if operator in ENDS:
        return Condition(field.name, operator, (draw(st.sampled_from(numbers_of(field))),))
    if operator is Operator.BETWEEN:
        ends = draw(st.tuples(*[st.sampled_from(numbers_of(field))] * 2))
        return Condition(field.name, operator, tuple(sorted(ends)))
    listed = draw(st.lists(st.sampled_from(names_of(field)), min_size=1, max_size=3, unique=True))
    return Condition(field.name, operator, tuple(listed))


def clauses(
    fields: Sequence[Field] = POLICY_FIELDS, *, most: int = 4
) -> st.SearchStrategy[list[Clause]]:
    groups = st.lists(conditions(fields), min_size=1, max_size=3).map(
        lambda each: AnyOf(tuple(each))
    )
    either: st.SearchStrategy[Clause] = st.one_of(conditions(fields), conditions(fields), groups)
    return st.lists(either, max_size=most)


def pairs(size: int, seed: int) -> Columns:
    """Columns of made-up pairs, in which every value occurs and anything may be missing."""
    generator = np.random.default_rng(seed)
    return {name: _column(field, size, generator) for name, field in FIELDS.items()}


def _column(field: Field, size: int, generator: np.random.Generator) -> Any:
    if field.kind is Kind.FLAGS:
        return generator.integers(-1, 1 << len(field.bits), size)
    if field.kind is Kind.TEXT:
        return [f"Asked on {WORDS[each]}." for each in generator.integers(0, 3, size)]
    if field.several:
        known = [name for name in names_of(field) if name != NONE]
        return [known[: generator.integers(0, 3)] for _ in range(size)]
    if field.kind is Kind.CHOICE:
        known = [name for name in names_of(field) if name not in field.groups]
        return [[*known, None][each] for each in generator.integers(0, len(known) + 1, size)]
    values = list(numbers_of(field))
    if field.kind is Kind.TIME:
        moments = [each.replace(tzinfo=None) for each in (*values, *values)]
        times = np.array(moments, dtype="datetime64[us]")
        times[0] = np.datetime64("NaT")
        return times[generator.integers(0, len(times), size)]
    between = [(low + high) / 2 for low, high in pairwise(values)]
    known = [
        each
        for each in (values if field.whole else [*values, *between])
        if field.least <= each <= field.most
    ]
    return np.array([*known, np.nan])[generator.integers(0, len(known) + 1, size)]
