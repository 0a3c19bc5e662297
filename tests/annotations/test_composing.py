"""A policy in the rows of a form says the same as in JSON, whichever way it went."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import composing, offering, policies
from annotations.composing import Alternative, Draft, DraftRule
from annotations.conditions import AnyOf
from annotations.fields import Kind
from annotations.policies import PRESETS, Action, BadPolicy, Does, Policy, Rule
from tests.annotations import asked

ACTIONS = (
    *(Action(does) for does in Does if does is not Does.SOFTEN),
    Action(Does.SOFTEN, "calibrated"),
    Action(Does.SOFTEN, 0.9),
    Action(Does.SOFTEN, 1 / 3),
)


@st.composite
def sound_policies(draw: st.DrawFn) -> Policy:
    """Policies that the language takes, without groups of one, which are no groups."""
    rules = []
    for _ in range(draw(st.integers(1, 3))):
        clauses = [
            each.conditions[0] if isinstance(each, AnyOf) and len(each.conditions) == 1 else each
            for each in draw(asked.clauses(most=3))
        ]
        rules.append(
            Rule(
                tuple(clauses),
                draw(st.sampled_from(ACTIONS)),
                draw(st.text("ab ", max_size=3)).strip(),
            )
        )
    found = Policy("made up", tuple(rules))
    try:
        return policies.parse(policies.as_json(found))
    except BadPolicy:
        return PRESETS["conservative"]


def as_posted(draft: Draft) -> dict[str, list[str]]:
    """What a browser sends of the form that shows the draft."""
    posted = {"name": [draft.name], "note": [draft.note]}
    for rule in offering.rules_of(draft, composing.read(draft), {}):
        posted |= {
            f"{rule.place}-action": [rule.typed.action],
            f"{rule.place}-because": [rule.typed.because],
            f"{rule.place}-how": [rule.typed.how],
            f"{rule.place}-amount": [rule.typed.amount],
        }
        for clause in rule.clauses:
            for condition in clause.conditions:
                posted |= _of_condition(condition)
    return posted


def _of_condition(condition: offering.ShownCondition) -> Mapping[str, list[str]]:
    place = condition.place
    if condition.has_boxes:
        values = [choice.value for choice in condition.choices if choice.is_chosen]
    elif condition.is_between:
        values = list(condition.ends)
    else:
        values = [condition.text]
    return {
        f"{place}-field": [condition.asked.name],
        f"{place}-was": [condition.asked.name],
        f"{place}-operator": [choice.value for choice in condition.operators if choice.is_chosen],
        f"{place}-value": values,
        f"{place}-order": list(condition.typed.values) if condition.has_boxes else [],
    }


@settings(max_examples=150, deadline=None)
@given(sound_policies())
def test_a_policy_comes_back_from_the_form_as_it_went_in(policy: Policy) -> None:
    draft = composing.from_post(as_posted(composing.of_policy(policy)))
    found = composing.read(draft)
    assert found.problems == ()
    assert found.policy is not None
    assert policies.digest(found.policy) == policies.digest(policy)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_edited(name: str) -> None:
    form = composing.submission(composing.of_policy(PRESETS[name]))
    assert form.reading.policy == PRESETS[name]
    assert json.loads(form.text) == policies.as_json(PRESETS[name])


def posted_with(draft: Draft, **changes: Any) -> composing.Submission:
    shown = composing.submission(draft)
    posted = as_posted(draft) | {"json": [shown.text], "json-was": [shown.shown]}
    return composing.submitted(posted | {name: [value] for name, value in changes.items()})


DRAFT = composing.of_policy(PRESETS["conservative"])


def test_json_that_was_changed_counts_instead_of_the_rows() -> None:
    written = composing.as_text(PRESETS["remove-suspects"])
    form = posted_with(DRAFT, json=written)
    assert form.reading.policy == PRESETS["remove-suspects"]
    assert form.draft == composing.of_policy(PRESETS["remove-suspects"])
    assert not form.is_text


def test_rows_that_were_changed_count_where_json_was_not() -> None:
    form = posted_with(DRAFT, name="bold")
    assert form.reading.policy is not None
    assert form.reading.policy.name == "bold"
    assert json.loads(form.text)["name"] == "bold"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON, line 1"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "A policy is written"),
        ('{"name": "x", "rules": []}', "no rules"),
    ],
)
def test_json_that_cannot_be_read_stays_and_says_why(text: str, said: str) -> None:
    form = posted_with(DRAFT, json=text)
    assert form.text == text
    assert form.is_text
    assert form.draft == DRAFT
    assert any(said in each for each in form.reading.of_no_rule)
    assert posted_with(DRAFT, json=text, do="discard").reading.policy == PRESETS["conservative"]


def test_what_is_wrong_stands_at_its_rule() -> None:
    rules = (DraftRule(), DraftRule(clauses=((Alternative("strength", "below", ("low",)),),)))
    found = composing.read(Draft("x", rules=rules))
    assert found.of_rule(1) == []
    assert found.of_rule(2) == ["Condition 1: “strength” is compared with a number, not “low”."]
    assert found.of_no_rule == []


def test_a_field_that_was_just_chosen_begins_in_its_own_way() -> None:
    posted = as_posted(Draft("x")) | {"r0-c0-o0-field": ["people_against"]}
    (rule,) = composing.from_post(posted).rules
    assert rule.clauses == ((Alternative("people_against", "at_least", ("1",)),),)


def test_numbers_may_be_typed_as_people_type_them() -> None:
    rules = (DraftRule(clauses=((Alternative("strength", "below", ("\u22120.5",)),),)),)
    found = composing.read(Draft("x", rules=rules)).policy
    assert found is not None
    assert policies.as_json(found)["rules"][0]["when"] == [{"field": "strength", "below": -0.5}]


def test_rows_whose_numbers_leave_gaps_keep_their_order() -> None:
    posted = {
        "name": ["x"],
        "r7-action": ["drop"],
        "r2-action": ["queue"],
        "r2-c4-o1-field": ["flag"],
        "r2-c4-o1-was": ["flag"],
        "r2-c4-o1-operator": ["is"],
        "r2-c4-o1-value": ["flipped", "ambiguous"],
    }
    draft = composing.from_post(posted)
    assert [rule.action for rule in draft.rules] == ["queue", "drop"]
    assert draft.rules[0].clauses == ((Alternative("flag", "is", ("flipped", "ambiguous")),),)


ONE, TWO = DraftRule(action="drop"), DraftRule(action="tie")
TWO_RULES = Draft("x", rules=(ONE, TWO))


@pytest.mark.parametrize(
    ("button", "rules", "focus"),
    [
        ("up-r1", (TWO, ONE), "r0-down"),
        ("down-r0", (TWO, ONE), "r1-up"),
        ("up-r0", (ONE, TWO), "r0-up"),
        ("remove-r0", (TWO,), "add-rule"),
        ("add", (ONE, TWO, DraftRule()), "r2-action"),
        ("up-r9", (ONE, TWO), ""),
        ("nonsense", (ONE, TWO), ""),
    ],
)
def test_buttons_change_the_order_of_rules(
    button: str, rules: tuple[DraftRule, ...], focus: str
) -> None:
    draft, goes_to = composing.pressed(TWO_RULES, button)
    assert (draft.rules, goes_to) == (rules, focus)


def test_buttons_add_and_remove_conditions_and_alternatives() -> None:
    draft, focus = composing.pressed(TWO_RULES, "and-r1")
    assert (len(draft.rules[1].clauses), focus) == (2, "r1-c1-o0-field")
    draft, focus = composing.pressed(draft, "or-r1-c1")
    assert (len(draft.rules[1].clauses[1]), focus) == (2, "r1-c1-o1-field")
    draft, _ = composing.pressed(draft, "remove-r1-c1-o0")
    assert len(draft.rules[1].clauses[1]) == 1
    draft, _ = composing.pressed(draft, "remove-r1-c1-o0")
    assert draft == TWO_RULES


def test_a_policy_grows_no_further_than_the_language_lets_it() -> None:
    full = Draft("x", rules=(DraftRule(),) * policies.MOST_RULES)
    assert composing.pressed(full, "add")[0] == full


def test_a_choice_that_is_not_on_offer_stays_ticked() -> None:
    rules = (DraftRule(clauses=((Alternative("origin", "is", ("mars",)),),)),)
    draft = Draft("x", rules=rules)
    (rule,) = offering.rules_of(draft, composing.read(draft), {"origin": {"bing": "bing"}})
    (condition,) = rule.clauses[0].conditions
    assert condition.asked.kind is Kind.CHOICE
    assert [(each.value, each.is_chosen) for each in condition.choices] == [
        ("bing", False),
        ("mars", True),
    ]
