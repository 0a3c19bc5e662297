"""Fields: what can be asked of a pair, by whom; and what people said of a label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import checks
from annotations.fields import FIELDS, OPINIONS, Kind, Said, Use, fields_for, said_of

counts = st.integers(0, 4)
judged_pairs = st.lists(
    st.tuples(st.sampled_from(["a", "b", "tie", ""]), counts, counts, counts, counts), min_size=1
)


def said(source: str, a: int = 0, b: int = 0, tie: int = 0, both_bad: int = 0) -> Said:
    return said_of([source], [a], [b], [tie], [both_bad])


def test_every_field_is_found_by_its_name_and_explains_itself() -> None:
    for name, field in FIELDS.items():
        assert field.name == name
        assert field.explanation.endswith(".")
        assert field.for_policies or field.for_explore


def test_policies_cannot_ask_for_what_policies_decide() -> None:
    asked = fields_for(Use.POLICY)
    assert not {"status", "decided_by", "decided"} & asked.keys()
    assert {"flag", "strength", "votes", "people_against", "checks"} <= asked.keys()
    assert not {"text", "annotator", "similar_to", "import"} & asked.keys()


def test_explore_can_ask_for_everything() -> None:
    assert fields_for(Use.EXPLORE) == FIELDS


def test_checks_can_be_asked_for_by_the_names_and_bits_under_which_they_are_stored() -> None:
    bits = FIELDS["checks"].bits
    assert bits == {shown.name: int(check) for check, shown in checks.SHOWN.items()}
    assert bits.keys() == FIELDS["checks"].choices.keys()


def test_what_stands_for_nothing_is_one_of_the_choices() -> None:
    for field in FIELDS.values():
        if field.kind is Kind.CHOICE and not field.is_open:
            assert {field.blank, field.missing} <= field.choices.keys()


def test_decided_means_any_verdict() -> None:
    status = FIELDS["status"]
    assert status.names_within(frozenset({"decided"})) == {
        "keep", "flip", "soften", "tie", "drop", "a", "b"
    }  # fmt: skip
    assert status.names_within(frozenset({"undecided", "drop"})) == {"undecided", "drop"}


@pytest.mark.parametrize(
    ("counts", "opinion"),
    [
        ({"a": 1}, "none"),
        ({"a": 2}, "for"),
        ({"b": 2}, "against"),
        ({"a": 2, "b": 1}, "for"),
        ({"a": 1, "b": 1}, "divided"),
        ({"a": 1, "tie": 1}, "divided"),
        ({"tie": 2, "a": 1}, "tie"),
        ({"both_bad": 2}, "both_bad"),
        ({"a": 2, "b": 1, "tie": 1}, "divided"),
    ],
)
def test_an_opinion_takes_two_people_and_more_than_half(
    counts: dict[str, int], opinion: str
) -> None:
    assert said("a", **counts).opinions.tolist() == [opinion]


def test_people_who_prefer_a_response_contradict_a_label_that_says_tie() -> None:
    found = said("tie", a=1, b=2, tie=1)
    assert (found.agreeing[0], found.against[0]) == (1, 3)
    assert found.opinions[0] == "against"
    assert said("tie", tie=2).opinions[0] == "for"


def test_without_a_label_there_is_nothing_to_agree_with() -> None:
    found = said("", a=3)
    assert np.isnan(found.agreeing[0])
    assert np.isnan(found.against[0])
    assert found.opinions[0] == "none"
    assert found.total[0] == 3


@given(judged_pairs)
def test_exchanging_the_responses_changes_nothing_that_was_said(
    given: list[tuple[str, int, int, int, int]],
) -> None:
    source, a, b, tie, both_bad = zip(*given, strict=True)
    exchanged = [{"a": "b", "b": "a"}.get(each, each) for each in source]
    found, other = said_of(source, a, b, tie, both_bad), said_of(exchanged, b, a, tie, both_bad)
    assert (found.opinions == other.opinions).all()
    assert np.array_equal(found.against, other.against, equal_nan=True)
    assert set(found.opinions.tolist()) <= OPINIONS.keys()


@given(judged_pairs)
def test_an_opinion_of_a_label_is_shared_by_at_least_two(
    given: list[tuple[str, int, int, int, int]],
) -> None:
    found = said_of(*zip(*given, strict=True))
    assert (found.agreeing[found.opinions == "for"] >= 2).all()
    assert (found.against[found.opinions == "against"] >= 2).all()
