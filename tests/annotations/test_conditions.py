"""Conditions: read and written, what they mean of pairs, and what follows from them without
looking at a pair."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.conditions import (
    AnyOf,
    BadCondition,
    Clause,
    Condition,
    as_json,
    holds,
    implies,
    in_words,
    is_empty,
    parse,
    parse_clauses,
    why_empty,
)
from annotations.fields import FIELDS, Use
from tests.annotations.asked import FEW_FIELDS, clauses, conditions, pairs

PAIRS = pairs(3000, seed=5)
ALL_FIELDS = tuple(FIELDS.values())


def asked(*given: dict[str, Any]) -> list[Clause]:
    found, problems = parse_clauses(list(given), use=Use.EXPLORE)
    assert problems == []
    return found


def refusal(given: object, **more: Any) -> str:
    with pytest.raises(BadCondition) as refused:
        parse(given, **more)
    return str(refused.value)


def met(given: dict[str, Any], column: Any) -> list[bool]:
    return list(holds(asked(given), {given["field"]: column}))


# Reading and writing


@given(clauses(ALL_FIELDS))
def test_a_condition_that_is_written_is_read_again_as_it_was(given: list[Clause]) -> None:
    written = json.loads(json.dumps([as_json(each) for each in given]))
    assert parse_clauses(written, use=Use.EXPLORE) == (given, [])


def test_a_misspelt_field_is_named_with_its_place_and_what_may_have_been_meant() -> None:
    sentence = refusal({"field": "strenght", "below": 0}, place="rule 2, condition 1")
    assert sentence == (
        "rule 2, condition 1: there is no field “strenght”; did you mean “strength”?"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("strength < 0", 'a condition is written {"field": "strength", "below": 0}'),
        ({"below": 0}, 'does not say which "field"'),
        ({"field": ["strength"], "below": 0}, 'does not say which "field"'),
        ({"field": "zzz", "below": 0}, "there is no field “zzz”."),
        ({"field": "strength"}, "says nothing of “strength”: give below, at_most"),
        ({"field": "strength", "under": 0}, "cannot be compared by “under”"),
        ({"field": "strength", "below": 0, "above": -1}, "a condition for each"),
        ({"field": "flag", "below": 1}, "“flag” cannot be compared by “below”: give is or is_not"),
        ({"field": "strength", "below": "0"}, "compared with a number, not “0”"),
        ({"field": "strength", "below": True}, "compared with a number"),
        ({"field": "strength", "below": float("nan")}, "finite number"),
        ({"field": "strength", "below": float("inf")}, "finite number"),
        ({"field": "strength", "below": 10**400}, "too large"),
        ({"field": "strength", "between": [0, -1]}, "smaller value of “strength” first"),
        ({"field": "strength", "between": [0]}, "takes two values"),
        ({"field": "strength", "between": 0}, "takes two values"),
        ({"field": "flag", "is": []}, "list of values of “flag” is empty"),
        ({"field": "flag", "is": ["fliped"]}, "never “fliped”; did you mean “flipped”?"),
        ({"field": "flag", "is": ["zzz"]}, "it is flipped, ambiguous"),
        ({"field": "flag", "is": [{}]}, "not “dict”"),
        ({"field": "checks", "has": ["identicle"]}, "did you mean “identical”?"),
        ({"field": "checks", "is": ["identical"]}, "give has or has_not"),
        ({"field": "topic", "is": [1.5]}, "whole number"),
        ({"field": "topic", "is": ["code"]}, "compared with a number"),
        ({"field": "origin", "is": ["  "]}, "compared with a text"),
        ({"field": "origin", "is": ["a\x00b"]}, "cannot be stored"),
        ({"field": "origin", "is": ["a\ud800b"]}, "cannot be stored"),
        ({"field": "origin", "is": ["x" * 501]}, "longer than 500 characters"),
        ({"field": "origin", "is": [str(each) for each in range(201)]}, "more than 200 values"),
        ({"field": "imported", "below": "yesterday"}, "such as 2026-11-21"),
        ({"field": "imported", "below": "2026-13-01"}, "such as 2026-11-21"),
        ({"field": "imported", "below": "0001-01-01T00:00+23:00"}, "such as 2026-11-21"),
        ({"field": "imported", "below": 20261121}, "such as 2026-11-21"),
        ({"field": "imported", "between": ["2026-11-22", "2026-11-21"]}, "smaller value"),
        ({"field": "text", "contains": ["code"]}, "policies cannot ask for “text”"),
        ({"field": "status", "is": ["drop"]}, "policies cannot ask for “status”"),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused_in_a_sentence(
    given: object, words: str
) -> None:
    sentence = refusal(given)
    assert words in sentence
    assert "\x00" not in sentence
    assert "\ud800" not in sentence


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["field", "is", "below", "between", "any", "has", "flag"]), inner
            )
        ),
    )
)
def test_whatever_json_is_given_it_is_read_or_refused(given: object) -> None:
    found, problems = parse_clauses(given)
    assert problems or isinstance(given, list)
    assert problems or len(found) == len(given)  # type: ignore[arg-type]
    assert all(problem.endswith((".", "?")) for problem in problems)


def test_all_problems_of_a_list_are_told_each_with_its_place() -> None:
    found, problems = parse_clauses(
        [
            {"field": "strength", "below": 0},
            {"field": "vote", "below": 1},
            {"any": [{"field": "flag", "is": "flipped"}, {"field": "strength", "over": 0}]},
        ],
        place="rule 3",
    )
    assert len(found) == 1
    assert problems[0].startswith("rule 3, condition 2: there is no field “vote”")
    assert problems[1].startswith("rule 3, condition 3, any 2: “strength” cannot be compared")


@pytest.mark.parametrize(
    "group",
    [
        {"any": []},
        {"any": {"field": "flag", "is": ["flipped"]}},
        {"any": [{"field": "flag", "is": ["flipped"]}], "field": "flag"},
        {"any": [{"any": [{"field": "flag", "is": ["flipped"]}]}]},
    ],
)
def test_a_group_that_is_empty_nested_or_something_else_too_is_refused(group: Any) -> None:
    found, problems = parse_clauses([group])
    assert found == []
    assert len(problems) == 1
    assert "group" in problems[0]


def test_too_many_conditions_are_refused_also_when_they_stand_in_groups() -> None:
    one = {"field": "strength", "below": 0}
    assert parse_clauses([one] * 101)[1] == ["there are more than 100 conditions."]
    assert parse_clauses([{"any": [one] * 100}])[1] == ["there are more than 100 conditions."]


def test_one_value_needs_no_list_and_a_value_given_twice_counts_once() -> None:
    assert asked({"field": "flag", "is": "flipped"}) == asked(
        {"field": "flag", "is": ["flipped", "flipped"]}
    )


def test_a_day_is_taken_whole_whichever_end_of_a_range_it_is() -> None:
    noon = np.array(["2026-11-20T12", "2026-11-21T12", "2026-11-22T12"], dtype="datetime64[us]")
    assert met({"field": "imported", "below": "2026-11-21"}, noon) == [True, False, False]
    assert met({"field": "imported", "at_most": "2026-11-21"}, noon) == [True, True, False]
    assert met({"field": "imported", "above": "2026-11-21"}, noon) == [False, False, True]
    assert met({"field": "imported", "at_least": "2026-11-21"}, noon) == [False, True, True]
    day = {"field": "imported", "between": ["2026-11-21", "2026-11-21"]}
    assert met(day, noon) == [False, True, False]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "every pair"),
        (
            [{"field": "strength", "below": 0}, {"field": "flag", "is": ["flipped"]}],
            "strength below 0 and flag likely flipped",
        ),
        ([{"field": "strength", "between": [-1.5, 0]}], "strength from −1.5 to 0"),
        ([{"field": "flag", "is_not": ["clear", "strong"]}], "flag not clear or strong"),
        ([{"field": "flag", "is": ["none"]}], "no label to doubt"),
        ([{"field": "flag", "is_not": ["none"]}], "(a label to doubt or not scored)"),
        ([{"field": "flag", "is": ["unscored", "flipped"]}], "flag likely flipped or not scored"),
        ([{"field": "flag", "is_not": ["unscored", "clear"]}], "flag not clear and scored"),
        ([{"field": "source_preference", "is_not": ["none"]}], "a source label"),
        ([{"field": "people", "is": ["none"]}], "too few people to say"),
        ([{"field": "label_probability", "is": "none"}], "probability of the label unknown"),
        ([{"field": "imported", "at_most": "2026-11-21"}], "imported up to 2026-11-21"),
        (
            [{"field": "imported", "below": "2026-11-21T09:30Z"}],
            "imported before 2026-11-21 09:30 UTC",
        ),
        ([{"field": "text", "contains": "bomb"}], "text contains “bomb”"),
        (
            [
                {"field": "votes", "at_most": 0.5},
                {
                    "any": [
                        {"field": "people_against", "at_least": 2},
                        {"field": "ai_against", "above": 0},
                    ]
                },
            ],
            "votes at most 0.5 and (people against at least 2 or AI judges against above 0)",
        ),
    ],
)
def test_conditions_are_said_in_words(given: list[dict[str, Any]], words: str) -> None:
    assert in_words(asked(*given)) == words


@given(conditions(ALL_FIELDS))
def test_any_condition_can_be_said_and_names_its_field(given: Condition) -> None:
    assert in_words([given]).startswith(FIELDS[given.field].shown_name)


# Meaning


def test_both_ends_of_a_range_belong_to_it_but_not_to_below_and_above() -> None:
    column = [-1, 0, 1]
    assert met({"field": "strength", "between": [-1, 0]}, column) == [True, True, False]
    assert met({"field": "strength", "below": 0}, column) == [True, False, False]
    assert met({"field": "strength", "at_most": 0}, column) == [True, True, False]
    assert met({"field": "strength", "above": 0}, column) == [False, False, True]
    assert met({"field": "strength", "at_least": 0}, column) == [False, True, True]


@pytest.mark.parametrize(
    "given",
    [
        {"below": 9},
        {"above": -9},
        {"between": [-9, 9]},
        {"is": [0]},
        {"is_not": [0]},
        {"is_not": "none"},
    ],
)
def test_a_missing_number_meets_no_condition(given: dict[str, Any]) -> None:
    assert met({"field": "strength", **given}, [np.nan, None]) == [False, False]


def test_a_missing_number_is_none() -> None:
    assert met({"field": "strength", "is": "none"}, [np.nan, 0.0]) == [True, False]
    assert met({"field": "strength", "is": ["none", 0]}, [np.nan, 0.0, 1.0]) == [True, True, False]


def test_a_missing_choice_has_a_name() -> None:
    assert met({"field": "flag", "is": "unscored"}, [None, "", "clear"]) == [True, False, False]
    assert met({"field": "flag", "is": "none"}, [None, "", "clear"]) == [False, True, False]
    assert met({"field": "flag", "is_not": "clear"}, [None, "", "clear"]) == [True, True, False]
    assert met({"field": "origin", "is": "none"}, [None, "", "reddit"]) == [True, True, False]
    assert met({"field": "topic", "is": "none"}, [np.nan, 3]) == [True, False]


def test_decided_is_any_verdict() -> None:
    column = ["", None, "keep", "soften"]
    assert met({"field": "status", "is": "decided"}, column) == [False, False, True, True]
    assert met({"field": "status", "is_not": "decided"}, column) == [True, True, False, False]


def test_checks_have_one_of_the_names_or_none_of_them() -> None:
    identical, empty = (FIELDS["checks"].bits[name] for name in ("identical", "empty"))
    column = [0, identical, identical | empty, empty, -1]
    either = {"field": "checks", "has": ["identical", "empty"]}
    assert met(either, column) == [False, True, True, True, False]
    neither = {"field": "checks", "has_not": ["identical"]}
    assert met(neither, column) == [True, False, False, True, False]


def test_one_of_several_values_is_enough() -> None:
    column = [["Ada", "Bo"], ["Cy"], []]
    assert met({"field": "annotator", "is": "Ada"}, column) == [True, False, False]
    assert met({"field": "annotator", "is_not": "Ada"}, column) == [False, True, True]


def test_text_is_found_whatever_its_case() -> None:
    assert met({"field": "text", "contains": "STRASSE"}, ["Die Straße", "the road", None]) == [
        True,
        False,
        False,
    ]


def test_a_column_that_is_not_there_is_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match="no column of “votes”"):
        holds(asked({"field": "votes", "below": 1}), {"strength": [1.0]})


@given(conditions(ALL_FIELDS))
def test_for_a_choice_is_not_means_whatever_is_does_not(condition: Condition) -> None:
    written = as_json(condition)
    if "is" in written:
        denied = {"field": written["field"], "is_not": written["is"]}
        both = holds([condition], PAIRS) & holds(asked(denied), PAIRS)
        assert not both.any()
        if FIELDS[condition.field].choices:
            assert (holds([condition], PAIRS) | holds(asked(denied), PAIRS)).all()


@given(clauses(ALL_FIELDS))
def test_clauses_hold_together_where_each_holds_alone(given: list[Clause]) -> None:
    expected = np.ones(3000, dtype=bool)
    for clause in given:
        inner = clause.conditions if isinstance(clause, AnyOf) else (clause,)
        expected &= np.any([holds([each], PAIRS) for each in inner], axis=0)
    assert (holds(given, PAIRS) == expected).all()


# What follows


@settings(max_examples=600)
@given(clauses(FEW_FIELDS, most=6))
def test_what_is_called_empty_no_pair_meets(given: list[Clause]) -> None:
    if is_empty(given):
        assert not holds(given, PAIRS).any()


@settings(max_examples=300)
@given(clauses(ALL_FIELDS, most=6))
def test_what_is_called_empty_no_pair_meets_whatever_is_asked(given: list[Clause]) -> None:
    if is_empty(given):
        assert not holds(given, PAIRS).any()


@settings(max_examples=600)
@given(
    st.sampled_from(ALL_FIELDS).flatmap(
        lambda field: st.tuples(*[st.lists(conditions([field]), min_size=1, max_size=3)] * 2)
    )
)
def test_what_follows_from_conditions_on_a_field_holds_wherever_they_do(
    given: tuple[list[Clause], list[Clause]],
) -> None:
    first, second = given
    if implies(first, second):
        assert not (holds(first, PAIRS) & ~holds(second, PAIRS)).any()


@settings(max_examples=600)
@given(clauses(FEW_FIELDS), clauses(FEW_FIELDS, most=2))
def test_what_follows_from_groups_holds_wherever_they_do(
    first: list[Clause], second: list[Clause]
) -> None:
    if implies(first, second):
        assert not (holds(first, PAIRS) & ~holds(second, PAIRS)).any()


@given(clauses(ALL_FIELDS))
def test_conditions_follow_from_themselves_and_fewer_from_more(given: list[Clause]) -> None:
    assert implies(given, given)
    assert implies(given, given[:-1])


@pytest.mark.parametrize(
    "given",
    [
        [{"field": "strength", "below": 0}, {"field": "strength", "at_least": 0}],
        [{"field": "strength", "below": 0}, {"field": "strength", "is": ["none"]}],
        [{"field": "strength", "is": [1]}, {"field": "strength", "is_not": [1]}],
        [{"field": "votes", "above": 1}],
        [{"field": "label_probability", "between": [1.5, 2]}],
        [{"field": "people_against", "above": 1}, {"field": "people_against", "below": 2}],
        [{"field": "people_against", "is": [1.5]}],
        [{"field": "flag", "is": ["flipped"]}, {"field": "flag", "is": ["clear", "strong"]}],
        [{"field": "origin", "is": ["reddit"]}, {"field": "origin", "is_not": ["reddit"]}],
        [{"field": "status", "is": ["decided"]}, {"field": "status", "is": ["undecided"]}],
        [
            {"field": "checks", "has": ["empty"]},
            {"field": "checks", "has_not": ["empty", "prefix"]},
        ],
        [
            {"field": "imported", "below": "2026-11-21"},
            {"field": "imported", "above": "2026-11-21"},
        ],
        [
            {"field": "strength", "below": 0},
            {"any": [{"field": "strength", "above": 1}, {"field": "votes", "above": 2}]},
        ],
    ],
)
def test_contradictions_are_seen_and_said(given: list[dict[str, Any]]) -> None:
    assert is_empty(asked(*given))
    assert why_empty([*asked({"field": "turns", "above": 0}), *asked(*given)])


@pytest.mark.parametrize(
    "given",
    [
        [],
        [{"field": "strength", "at_most": 0}, {"field": "strength", "at_least": 0}],
        [{"field": "people_against", "above": 1}, {"field": "people_against", "below": 3}],
        [
            {"field": "checks", "has": ["empty", "prefix"]},
            {"field": "checks", "has_not": ["empty"]},
        ],
        [{"field": "annotator", "is": ["Ada"]}, {"field": "annotator", "is": ["Bo"]}],
        [{"field": "text", "contains": "a"}, {"field": "text", "contains": "b"}],
    ],
)
def test_what_some_pair_may_meet_is_not_called_empty(given: list[dict[str, Any]]) -> None:
    assert not is_empty(asked(*given))


NARROWER = [
    ([{"field": "strength", "below": -1}], [{"field": "strength", "at_most": -1}]),
    ([{"field": "strength", "between": [0, 1]}], [{"field": "strength", "is_not": ["none"]}]),
    ([{"field": "people_against", "below": 2}], [{"field": "people_against", "is": [0, 1, 2]}]),
    ([{"field": "flag", "is": ["flipped"]}], [{"field": "flag", "is_not": ["clear"]}]),
    ([{"field": "status", "is": ["keep", "drop"]}], [{"field": "status", "is": ["decided"]}]),
    ([{"field": "checks", "has": ["empty"]}], [{"field": "checks", "has": ["empty", "prefix"]}]),
    (
        [{"field": "strength", "below": 0}],
        [{"any": [{"field": "votes", "below": 0.5}, {"field": "strength", "below": 1}]}],
    ),
    ([{"field": "votes", "above": 1}], [{"field": "flag", "is": ["strong"]}]),  # no pair at all
]
SAME = [
    ([{"field": "people_against", "above": 1}], [{"field": "people_against", "at_least": 2}]),
    ([{"field": "votes", "is_not": ["none"]}], [{"field": "votes", "between": [0, 1]}]),
    (
        [{"any": [{"field": "flag", "is": ["flipped"]}]}],
        [{"field": "flag", "is": ["flipped"]}],
    ),
]


@pytest.mark.parametrize(("narrow", "wide"), NARROWER)
def test_narrower_conditions_imply_wider_ones_and_not_the_reverse(
    narrow: list[dict[str, Any]], wide: list[dict[str, Any]]
) -> None:
    assert implies(asked(*narrow), asked(*wide))
    assert not implies(asked(*wide), asked(*narrow))


@pytest.mark.parametrize(("first", "second"), SAME)
def test_what_is_said_differently_implies_each_other(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    assert implies(asked(*first), asked(*second))
    assert implies(asked(*second), asked(*first))


def test_a_group_implies_what_each_of_its_conditions_does() -> None:
    either = {"any": [{"field": "flag", "is": "flipped"}, {"field": "flag", "is": "ambiguous"}]}
    assert implies(asked(either), asked({"field": "flag", "is": ["flipped", "ambiguous"]}))
    assert not implies(asked(either), asked({"field": "flag", "is": "flipped"}))
    not_flipped = {"field": "flag", "is_not": "flipped"}
    assert implies(asked(either, not_flipped), asked({"field": "flag", "is": "ambiguous"}))
