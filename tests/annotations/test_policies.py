"""Policies: read and refused, what they propose, and what they warn of."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.conditions import holds, implies
from annotations.policies import (
    DEFAULT,
    NO_RULE,
    PRESETS,
    Action,
    BadPolicy,
    Does,
    Policy,
    Rule,
    as_json,
    digest,
    fields_asked,
    in_words,
    parse,
    propose,
    warnings,
)
from tests.annotations.asked import FEW_FIELDS, Columns, clauses, pairs

PAIRS = pairs(400, seed=7)
FLIPPED = {"field": "flag", "is": ["flipped"]}
TWO_AGAINST = {"field": "people_against", "at_least": 2}
ONE_AGAINST = {"field": "people_against", "at_least": 1}
AI_AGAINST = {"field": "ai_against", "at_least": 1}


def written(*rules: dict[str, Any], name: str = "mine") -> dict[str, Any]:
    return {"name": name, "rules": list(rules)}


def rule(*when: dict[str, Any], **then: Any) -> dict[str, Any]:
    return {"when": list(when), "then": {"action": "queue"} | then}


def policy(*rules: dict[str, Any]) -> Policy:
    return parse(written(*rules))


def problems(given: object) -> list[str]:
    with pytest.raises(BadPolicy) as refused:
        parse(given)
    return refused.value.problems


def labelled(size: int, **columns: Any) -> Columns:
    """Pairs whose source prefers A, with whatever else is known."""
    return {"source_preference": ["a"] * size, **columns}


actions = st.one_of(
    st.sampled_from([each for each in Does if each is not Does.SOFTEN]).map(Action),
    st.floats(0, 1).map(lambda each: Action(Does.SOFTEN, each)),
    st.just(Action(Does.SOFTEN, "calibrated")),
)
rules = st.builds(
    Rule, clauses(FEW_FIELDS, most=2).map(tuple), actions, st.text("because", max_size=9)
)
# as they may stand before it is looked at whether they make sense
any_policies = st.lists(rules, min_size=1, max_size=4).map(lambda each: Policy("mine", tuple(each)))


def sensible(rough: Policy) -> Policy:
    """The policy without the rules for which it would be refused."""
    left: list[Rule] = []
    for each in rough.rules:
        try:
            parse(as_json(Policy("mine", (*left, each))))
        except BadPolicy:
            continue
        left.append(each)
    return Policy("mine", tuple(left), "a note")


policies = any_policies.map(sensible).filter(lambda each: bool(each.rules))


def shuffled(value: Any, order: Any) -> Any:
    """The JSON value with the keys of every object in another order."""
    if isinstance(value, list):
        return [shuffled(each, order) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key], order) for key in order.draw(st.permutations(list(value)))}


# Reading and writing


@given(policies)
def test_a_policy_that_is_written_is_read_again_as_it_was(given: Policy) -> None:
    assert parse(json.loads(json.dumps(as_json(given)))) == given


@given(policies, st.data())
def test_the_digest_does_not_depend_on_the_order_of_keys(given: Policy, order: Any) -> None:
    assert digest(parse(shuffled(as_json(given), order))) == digest(given)


def test_the_digest_is_of_the_rules_however_they_are_called_and_spelt() -> None:
    alpha = written(rule(FLIPPED, action="soften", alpha=0.1))
    probability = written(
        rule({"field": "flag", "is": "flipped"}, action="soften", probability=0.9), name="yours"
    )
    assert digest(parse(alpha)) == digest(parse(probability))
    assert digest(parse(alpha)) != digest(policy(rule(FLIPPED, action="soften", alpha=0.2)))


def test_the_digest_depends_on_the_order_of_rules() -> None:
    first, second = rule(FLIPPED), rule(TWO_AGAINST, action="drop")
    assert digest(policy(first, second)) != digest(policy(second, first))


def test_all_that_is_wrong_is_told_at_once_each_with_its_place() -> None:
    found = problems(
        {
            "name": "",
            "rulez": [],
            "rules": [
                rule({"field": "strength", "below": 0}, action="filp"),
                rule({"field": "strenght", "below": 0}, {"field": "votes", "under": 1}),
                {"when": [FLIPPED], "then": {"action": "soften"}, "becuase": "?"},
            ],
        }
    )
    assert found == [
        "the policy: there is no key “rulez”; did you mean “rules”?",
        "the policy has no name.",
        "rule 1: there is no action “filp”; did you mean “flip”?",
        "rule 2, condition 1: there is no field “strenght”; did you mean “strength”?",
        "rule 2, condition 2: “votes” cannot be compared by “under”: give below, at_most, above, "
        "at_least, between, is or is_not.",
        "rule 3: there is no key “becuase”; did you mean “because”?",
        "rule 3: nothing says how far to soften: give alpha, or a probability, which may be "
        "“calibrated”.",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "A policy is written"),
        ("review-first", "A policy is written"),
        ({"name": "mine"}, "has no rules"),
        (written(), "has no rules"),
        ({"name": "mine", "rules": {}}, "has no rules"),
        ({"name": ["mine"], "rules": [rule()]}, "“name” is a text"),
        (written(rule(), name="   "), "has no name"),
        (written(rule(), name="x" * 101), "longer than 100 characters"),
        (written(rule(), name="a\x00"), "cannot be stored"),
        (written(*[rule(TWO_AGAINST)] * 51), "more than 50 rules"),
        (written(*[rule(*[FLIPPED] * 70)] * 3), "more than 200 conditions"),
        ({"name": "mine", "rules": ["drop all"]}, "rule 1: a rule is written"),
        ({"name": "mine", "rules": [{"then": {"action": "drop"}}]}, "rule 1: it has no “when”"),
        ({"name": "mine", "rules": [{"when": [], "then": "drop"}]}, "rule 1: it needs a “then”"),
        ({"name": "mine", "rules": [{"when": FLIPPED, "then": {"action": "drop"}}]}, "be a list"),
        (written(rule(FLIPPED, action=["drop"])), "there is no action “list”"),
        (written(rule(FLIPPED, action="drop", alpha=0.1)), "“alpha” is only for soften"),
        (written(rule(FLIPPED, action="soften", alpha=0.5)), "alpha lies from 0 to below 0.5"),
        (written(rule(FLIPPED, action="soften", alpha=-0.1)), "alpha lies from 0 to below 0.5"),
        (written(rule(FLIPPED, action="soften", alpha=True)), "alpha lies from 0 to below 0.5"),
        (written(rule(FLIPPED, action="soften", alpha="calibrated")), "alpha lies from 0"),
        (written(rule(FLIPPED, action="soften", alpha=float("nan"))), "alpha lies from 0"),
        (written(rule(FLIPPED, action="soften", probability=1.1)), "lies from 0 to 1"),
        (written(rule(FLIPPED, action="soften", probability="high")), "lies from 0 to 1"),
        (written(rule(FLIPPED, action="soften", probability=None)), "lies from 0 to 1"),
        (written(rule(FLIPPED, action="soften", alpha=0.1, probability=0.9)), "both alpha and"),
        (
            written(rule({"field": "strength", "below": 0}, {"field": "strength", "above": 1})),
            "rule 1: no pair can meet it: strength below 0 and strength above 1.",
        ),
        (written(rule({"field": "votes", "above": 1})), "no pair can meet it: votes above 1."),
        (
            written(rule(FLIPPED), rule(FLIPPED, TWO_AGAINST, action="flip")),
            "rule 2: it never applies, since rule 1 takes every pair that meets it.",
        ),
        (written(rule(), rule(FLIPPED)), "rule 2: it never applies, since rule 1"),
        (written(rule({"field": "status", "is": "undecided"})), "policies cannot ask for “status”"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_in_a_sentence(given: object, words: str) -> None:
    found = problems(given)
    assert len(found) == 1
    assert words in found[0]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "rules", "when", "then", "action", "alpha"]), inner
            )
        ),
    )
)
def test_whatever_json_is_given_it_is_read_or_refused(given: object) -> None:
    assert all(each.endswith((".", "?")) for each in problems(given))


@settings(max_examples=300)
@given(any_policies)
def test_a_rule_called_pointless_decides_no_pair(rough: Policy) -> None:
    try:
        parse(as_json(rough))
    except BadPolicy as refused:
        told = {int(each.split(":")[0].removeprefix("rule ")) - 1 for each in refused.problems}
        assert not set(propose(rough, PAIRS).rules.tolist()) & told


def test_a_policy_is_said_in_sentences() -> None:
    said = in_words(
        policy(
            rule(FLIPPED, TWO_AGAINST, action="flip"),
            rule(FLIPPED, action="soften", probability="calibrated"),
            rule({"field": "strength", "below": 0}, action="soften", alpha=0.1),
        )
    )
    assert said == [
        "Flip the label: flag likely flipped and people against at least 2.",
        "Soften the label to its calibrated probability: flag likely flipped.",
        "Soften the label to a probability of 0.9: strength below 0.",
        "All other pairs are left as they are.",
    ]
    assert in_words(policy(rule())) == ["Put forward for review: every pair."]


# Meaning


@given(policies)
def test_the_first_rule_that_a_pair_meets_decides_it(given: Policy) -> None:
    found = propose(given, PAIRS)
    met = [holds(each.when, PAIRS) for each in given.rules]
    for pair in range(400):
        first = next((number for number, each in enumerate(met) if each[pair]), NO_RULE)
        assert found.rules[pair] == first
        does = given.rules[first].then.does if first != NO_RULE else Does.LEAVE
        is_left = does is Does.LEAVE or found.senseless[pair]
        assert found.verdicts[pair] == ("" if is_left else str(does))
        assert np.isfinite(found.probabilities[pair]) == (found.verdicts[pair] == "soften")


@given(policies, st.permutations(range(400)))
def test_what_is_proposed_for_a_pair_depends_on_no_other_pair(
    given: Policy, order: list[int]
) -> None:
    asked = {name: PAIRS[name] for name in fields_asked(given)}
    there = {name: [column[pair] for pair in order] for name, column in asked.items()}
    assert (propose(given, there).verdicts == propose(given, asked).verdicts[order]).all()


def test_a_flip_and_a_softening_take_a_label_that_prefers_a_response() -> None:
    columns = {"source_preference": ["a", "b", "tie", "", None]}
    for does in ({"action": "flip"}, {"action": "soften", "alpha": 0.1}):
        found = propose(policy(rule(**does)), columns)
        assert found.senseless.tolist() == [False, False, True, True, True]
        assert found.verdicts.tolist() == [does["action"]] * 2 + [""] * 3
        assert found.rules.tolist() == [0] * 5


def test_a_tie_can_be_kept_but_not_a_label_that_is_not_there() -> None:
    found = propose(policy(rule(action="keep")), {"source_preference": ["a", "tie", "", None]})
    assert found.verdicts.tolist() == ["keep", "keep", "", ""]


@pytest.mark.parametrize("action", ["tie", "drop", "queue"])
def test_any_pair_can_be_called_a_tie_dropped_or_put_forward(action: str) -> None:
    found = propose(policy(rule(action=action)), {"source_preference": ["a", "b", "tie", ""]})
    assert found.verdicts.tolist() == [action] * 4
    assert not found.senseless.any()


def test_a_calibrated_softening_takes_each_pairs_own_probability() -> None:
    softening = policy(rule(FLIPPED, action="soften", probability="calibrated"))
    columns = labelled(
        3, flag=["flipped", "flipped", "clear"], label_probability=[0.2, np.nan, 0.9]
    )
    found = propose(softening, columns)
    assert found.verdicts.tolist() == ["soften", "", ""]
    assert found.probabilities[0] == 0.2
    assert found.senseless.tolist() == [False, True, False]


def test_left_pairs_are_kept_from_later_rules() -> None:
    spared = {"field": "origin", "is": ["experts"]}
    columns = labelled(2, origin=["experts", "crowd"], flag=["flipped", "flipped"])
    found = propose(policy(rule(spared, action="leave"), rule(FLIPPED, action="drop")), columns)
    assert found.verdicts.tolist() == ["", "drop"]
    assert not found.senseless.any()


# Warnings


@pytest.mark.parametrize(
    ("when", "judge"),
    [
        ([FLIPPED], "(the ensemble)"),
        ([{"field": "strength", "below": -1}], "(the ensemble)"),
        ([{"field": "votes", "at_most": 0.2}, {"field": "spread", "below": 1}], "(the ensemble)"),
        ([ONE_AGAINST], "(a person)"),
        ([AI_AGAINST], "(an AI judge)"),
        ([{"any": [ONE_AGAINST, AI_AGAINST]}], "(a person or an AI judge)"),
        ([{"any": [FLIPPED, TWO_AGAINST]}, {"field": "strength", "below": 0}], "(the ensemble)"),
        ([{"field": "flag", "is": ["flipped", "clear"]}], "no judge need contradict"),
        ([{"field": "origin", "is": ["reddit"]}], "no judge need contradict"),
    ],
)
def test_a_flip_on_the_word_of_one_judge_is_warned_of(
    when: list[dict[str, Any]], judge: str
) -> None:
    said = warnings(policy(rule(*when, action="flip")))
    assert len(said) == 1
    assert said[0].startswith("rule 1 flips")
    assert judge in said[0]


@pytest.mark.parametrize(
    "when",
    [
        [FLIPPED, ONE_AGAINST],
        [FLIPPED, AI_AGAINST],
        [FLIPPED, {"any": [ONE_AGAINST, AI_AGAINST]}],
        [FLIPPED, {"field": "people", "is": ["against"]}],
        [ONE_AGAINST, AI_AGAINST],
        [TWO_AGAINST],
    ],
)
def test_a_flip_on_the_word_of_two_judges_is_not(when: list[dict[str, Any]]) -> None:
    assert warnings(policy(rule(*when, action="flip"))) == []


def test_softening_until_the_other_response_is_likelier_is_a_flip_too() -> None:
    assert warnings(policy(rule(FLIPPED, action="soften", probability=0.4))) == [
        "rule 1 softens beyond one half on the word of one judge (the ensemble)."
    ]
    assert warnings(policy(rule(FLIPPED, action="soften", alpha=0.4))) == []


def test_deciding_every_pair_is_warned_of_but_not_putting_it_forward() -> None:
    assert "rule 2 has no condition" in warnings(policy(rule(FLIPPED), rule(action="drop")))[0]
    assert warnings(policy(rule())) == []


# Presets


def test_the_presets_are_these_and_the_default_is_the_first() -> None:
    assert list(PRESETS) == [
        "review-first",
        "conservative",
        "paper-flip-bottom-10",
        "paper-soft-labels",
        "remove-suspects",
    ]
    assert DEFAULT == "review-first"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_be_read_again_and_says_what_it_is_for(name: str) -> None:
    preset = PRESETS[name]
    assert parse(as_json(preset)) == preset
    assert preset.name == name
    assert preset.note
    assert all(each.because for each in preset.rules)


@pytest.mark.parametrize("name", PRESETS)
def test_only_the_papers_flip_is_warned_of(name: str) -> None:
    one_judge = ["rule 1 flips on the word of one judge (the ensemble)."]
    assert warnings(PRESETS[name]) == (one_judge if name == "paper-flip-bottom-10" else [])


def test_review_first_decides_nothing() -> None:
    assert {rule.then.does for rule in PRESETS["review-first"].rules} == {Does.QUEUE}


def test_review_first_puts_forward_what_is_doubted_or_contradicted() -> None:
    columns = labelled(
        5,
        flag=["flipped", "ambiguous", "clear", "strong", "clear"],
        checks=[0, 0, 128, 256, 1],
    )
    found = propose(PRESETS["review-first"], columns)
    assert found.verdicts.tolist() == ["queue", "queue", "queue", "queue", ""]


def test_conservative_flips_only_where_judges_agree_and_nobody_is_for_the_label() -> None:
    judged = {
        "flag": ["flipped"] * 7 + ["clear"],
        "people_against": [2, 2, 1, 1, 0, 0, 0, 5],
        "people_for": [0, 1, 0, 0, 0, 0, 2, 0],
        "ai_against": [0, 0, 1, 0, 3, 0, 0, 5],
        "ai_for": [0, 0, 0, 0, 0, 0, 0, 0],
        "people": ["against", "against", "none", "none", "none", "none", "for", "against"],
        "label_probability": [0.1, 0.2, 0.3, 0.15, 0.25, 0.05, 0.1, 0.9],
    }
    found = propose(PRESETS["conservative"], labelled(8, checks=[0] * 7 + [0], **judged))
    assert found.verdicts.tolist() == ["flip", "soften", "flip", *["soften"] * 3, "", ""]
    assert found.probabilities[[1, 3, 4, 5]].tolist() == [0.2, 0.15, 0.25, 0.05]


@pytest.mark.parametrize("name", ["conservative", "remove-suspects"])
def test_broken_pairs_are_dropped_before_anything_else(name: str) -> None:
    columns = {field: PAIRS[field] for field in fields_asked(PRESETS[name])}
    broken = holds(PRESETS[name].rules[0].when, columns)
    assert broken.any()
    assert set(propose(PRESETS[name], columns).verdicts[broken].tolist()) == {"drop"}


def test_the_papers_flip_takes_the_lowest_tenth() -> None:
    columns = labelled(100, percentile=np.arange(100) / 100)
    assert (propose(PRESETS["paper-flip-bottom-10"], columns).verdicts == "flip").sum() == 10


def test_the_papers_soft_labels_go_to_contradicted_labels() -> None:
    found = propose(PRESETS["paper-soft-labels"], labelled(3, strength=[-0.1, 0.0, 2.0]))
    assert found.verdicts.tolist() == ["soften", "", ""]
    assert found.probabilities[0] == pytest.approx(0.9)


def test_no_rule_of_a_preset_takes_all_of_a_later_ones_pairs() -> None:
    for preset in PRESETS.values():
        for number, later in enumerate(preset.rules):
            assert not any(implies(later.when, each.when) for each in preset.rules[:number])
