"""Filters ask SQL for what conditions mean, and stand in addresses and JSON without loss."""

from typing import Any

import numpy as np
import pytest
from django.http import QueryDict
from hypothesis import example, given, settings
from hypothesis import strategies as st

from annotations import conditions, filters
from annotations.conditions import AnyOf, Condition, Operator, holds
from annotations.fields import Use, fields_for
from annotations.filters import ORDERS, Filter, from_json, from_query, where
from annotations.models import Dataset
from tests import factories
from tests.annotations import asked, standings

FIELDS = tuple(fields_for(Use.EXPLORE).values())


@pytest.fixture
def mixed(db: None) -> Dataset:
    found = factories.dataset("mixed")
    standings.scattered(found)
    return found


def test_sql_answers_as_the_reference_does(mixed: Dataset) -> None:
    rows = list(mixed.standings.select_related("imported_in").order_by("pk"))
    columns = standings.columns(rows)
    ids = np.array([row.pk for row in rows])

    @settings(max_examples=400, deadline=None)
    @given(asked.clauses(FIELDS, most=3))
    @example([Condition("turns", Operator.ABOVE, (-1.5,))])
    @example([Condition("turns", Operator.IS, (1.5, 2))])
    @example([Condition("characters", Operator.AT_MOST, (2.0**70,))])
    @example([Condition("longer", Operator.AT_LEAST, (-1.5,))])
    @example([Condition("people_for", Operator.BELOW, (0.5,))])
    @example([Condition("similar_to", Operator.IS, (int(ids[0]),))])
    @example([Condition("similar_to", Operator.IS_NOT, ("none",))])
    @example([Condition("import", Operator.IS, (int(rows[0].imported_in_id),))])
    @example([Condition("annotator", Operator.IS_NOT, ("reddit",))])
    def check(clauses: list[conditions.Clause]) -> None:
        found = mixed.standings.filter(where(clauses)).order_by("pk").values_list("pk", flat=True)
        assert list(found) == ids[holds(clauses, columns)].tolist()

    check()


@given(asked.clauses(FIELDS), st.sampled_from(sorted(ORDERS)))
def test_an_address_means_what_was_asked(clauses: list[Any], order: str) -> None:
    found = Filter(tuple(clauses), order)
    again = from_query(QueryDict(found.as_query()))
    assert again.problems == ()
    assert again.order == order
    as_ranges = [each for clause in clauses for each in _as_ranges(clause)]
    assert sorted(map(str, again.clauses)) == sorted(map(str, as_ranges))


@given(asked.clauses(FIELDS))
def test_json_gives_the_filter_back(clauses: list[Any]) -> None:
    assert from_json(Filter(tuple(clauses)).as_json()) == Filter(tuple(clauses))


def _as_ranges(clause: conditions.Clause) -> list[conditions.Clause]:
    """A range stands in the address by its two ends."""
    if isinstance(clause, AnyOf) or clause.operator is not Operator.BETWEEN:
        return [clause]
    low, high = clause.values
    return [
        Condition(clause.field, Operator.AT_LEAST, (low,)),
        Condition(clause.field, Operator.AT_MOST, (high,)),
    ]


def test_addresses_of_old_are_read() -> None:
    found = from_query(
        QueryDict("flag=flipped&status=undecided&text=tea&strength_from=-2&strength_to=0.5")
    )
    assert found.problems == ()
    assert found.in_words() == (
        "flag likely flipped and strength at least −2 and strength at most 0.5 and "
        "undecided and text contains “tea”"
    )


def test_several_values_of_one_name_are_alternatives() -> None:
    found = from_query(QueryDict("origin=reddit&origin=bing&check=identical&check_not=cycle"))
    assert found.as_json() == [
        {"field": "checks", "has": ["identical"]},
        {"field": "checks", "has_not": ["cycle"]},
        {"field": "origin", "is": ["reddit", "bing"]},
    ]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("flag=fliped", "“flag” is never “fliped”; did you mean “flipped”?"),
        ("strength_from=much", "“strength” is compared with a number, not “much”."),
        ("strength_to=nan", "“strength” is compared with a finite number, not nan."),
        ("decided_from=soon", "“decided” is compared with a day or time such as"),
        ("topic=tea", "“topic” is compared with a number, not “tea”."),
        ("order=weakest", "There is no order “weakest”"),
        ("where={", "The conditions under “where” are not JSON: “{”."),
        ('where=[{"field":"strenth","below":0}]', "Condition 1: there is no field “strenth”"),
    ],
)
def test_what_cannot_be_read_is_said_and_left_out(address: str, sentence: str) -> None:
    found = from_query(QueryDict(f"status=undecided&{address}"))
    assert len(found.problems) == 1
    assert found.problems[0].startswith(sentence)
    assert [clause.field for clause in conditions.flat(found.clauses)] == ["status"]


def test_blank_and_foreign_parameters_ask_nothing() -> None:
    assert from_query(QueryDict("flag=&text=+&strength_from=&after=1_2&view=3")).is_empty


def test_an_impossible_filter_is_named() -> None:
    found = from_query(QueryDict("strength_from=1&strength_to=0"))
    assert found.contradiction == "strength at least 1 and strength at most 0"


def test_a_chip_takes_its_clause_away() -> None:
    found = from_query(QueryDict("flag=flipped&strength_to=0&order=-strength"))
    chips = {chip.words: chip.without for chip in found.chips()}
    assert chips == {
        "flag likely flipped": "strength_to=0&order=-strength",
        "strength at most 0": "flag=flipped&order=-strength",
    }


def test_no_two_fields_share_a_parameter() -> None:
    names = [
        filters.PARAMETERS.get(field.name, field.name) + ending
        for field in FIELDS
        for ending in {
            filters.ENDINGS[each]
            for each in conditions.OPERATORS[field.kind]
            if each in filters.ENDINGS
        }
    ]
    assert len(names) == len(set(names))
