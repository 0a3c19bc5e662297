"""SQL proposes what the reference proposes; previews count what would be done."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from annotations import policies, proposals
from annotations.fields import said_of
from annotations.models import Dataset, PairStanding, PreferencePair, Verdict
from annotations.policies import PRESETS
from annotations.proposals import CannotPropose, Effect
from curator.models import User
from tests import factories
from tests.annotations.test_batches import CLEAN, FLIPPED, bulk, decide, state

COUNT = st.integers(0, 3)
SHARE = st.one_of(st.none(), st.integers(0, 8).map(lambda n: n / 8))
STANDINGS = st.fixed_dictionaries(
    {
        "source_preference": st.sampled_from(["a", "b", "tie", ""]),
        "flag": st.sampled_from(["flipped", "ambiguous", "clear", "strong", ""]),
        "strength": st.one_of(st.none(), st.integers(-8, 8).map(lambda n: n / 4)),
        "label_probability": SHARE,
        "percentile": SHARE,
        "checks": st.integers(0, 511),
        **dict.fromkeys(("people_a", "people_b", "people_tie", "people_both_bad"), COUNT),
        **dict.fromkeys(("ai_a", "ai_b"), COUNT),
        "decided_by": st.sampled_from(["", "person", "policy"]),
    }
)
CONDITIONS = st.one_of(
    st.sampled_from(
        [
            FLIPPED,
            {"field": "flag", "is_not": ["strong", "none"]},
            {"field": "checks", "has": ["identical", "cycle"]},
            {"field": "people", "is": ["against", "divided"]},
            {"field": "ai_against", "at_least": 1},
            {"any": [FLIPPED, {"field": "people_for", "below": 2}]},
        ]
    ),
    st.integers(-8, 8).map(lambda n: {"field": "strength", "below": n / 4}),
    st.integers(0, 8).map(lambda n: {"field": "percentile", "at_most": n / 8}),
)
ACTIONS = st.one_of(
    st.sampled_from(["keep", "flip", "tie", "drop", "queue", "leave"]).map(
        lambda name: {"action": name}
    ),
    st.sampled_from([0.25, 0.9, "calibrated"]).map(
        lambda chance: {"action": "soften", "probability": chance}
    ),
)
RULES = st.lists(
    st.fixed_dictionaries({"when": st.lists(CONDITIONS, max_size=2), "then": ACTIONS}),
    min_size=1,
    max_size=4,
)


def columns_of(rows: list[PairStanding]) -> dict[str, Any]:
    """The standings as the reference reads them."""
    preferences = [row.source_preference for row in rows]
    counts = [
        [getattr(row, f"people_{name}") for row in rows] for name in ("a", "b", "tie", "both_bad")
    ]
    nobody = [0] * len(rows)
    people = said_of(preferences, *counts)
    judges = said_of(
        preferences, [row.ai_a for row in rows], [row.ai_b for row in rows], nobody, nobody
    )
    flags = [row.flag or ("none" if row.run_id else "unscored") for row in rows]
    return {
        **{name: [getattr(row, name) for row in rows] for name in ("checks", "source_preference")},
        **{
            name: np.array([getattr(row, name) for row in rows], dtype=np.float64)
            for name in ("strength", "label_probability", "percentile")
        },
        "flag": flags,
        "people": people.opinions,
        "people_for": people.agreeing,
        "ai_against": judges.against,
    }


class TestReference(HypothesisTestCase):
    """SQL against `policies.propose`."""

    dataset: Dataset

    @classmethod
    def setUpTestData(cls) -> None:
        cls.dataset = factories.dataset("random")
        factories.pairs(cls.dataset, 12)

    @settings(max_examples=60)
    @given(st.lists(STANDINGS, min_size=12, max_size=12), RULES)
    def test_the_database_proposes_what_the_reference_does(
        self, standings: list[dict[str, Any]], rules: list[dict[str, Any]]
    ) -> None:
        try:
            policy = policies.parse({"name": "any", "rules": rules})
        except policies.BadPolicy:
            return
        rows = list(self.dataset.standings.order_by("pk"))
        for row, values in zip(rows, standings, strict=True):
            verdict = "tie" if values["decided_by"] else ""
            PairStanding.objects.filter(pk=row.pk).update(run_id=1, verdict=verdict, **values)
        rows = list(self.dataset.standings.order_by("pk"))
        expected = policies.propose(policy, columns_of(rows))
        found = proposals.of_policy(self.dataset, policy).order_by("pk")
        columns = ("rule", "proposed", "probability")
        for place, (number, act, probability) in enumerate(found.values_list(*columns)):
            assert number == expected.rules[place]
            assert (act if act in proposals.ACTS else "") == expected.verdicts[place]
            assert (act == proposals.SENSELESS) == expected.senseless[place]
            if act == Verdict.SOFTEN:
                assert probability == expected.probabilities[place]
        fates = Counter(found.values_list("fate", flat=True))
        effect = proposals.effect_of_policy(self.dataset, policy)
        assert effect.left == fates.pop(proposals.LEFT, 0)
        assert Counter(effect.counts) + Counter(effect.passed_over) == fates


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    """Six pairs: four that the ensemble contradicts, two that it does not."""
    found = factories.pairs(dataset, 6)
    for number, pair in enumerate(found):
        flag, strength = ("flipped", -1.0) if number < 4 else ("strong", 2.0)
        PairStanding.objects.filter(pk=pair.pk).update(
            flag=flag, strength=strength, run_id=1, label_probability=0.25
        )
    return found


def test_a_preview_says_what_a_file_for_training_would_hold(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    found = proposals.preview(dataset, PRESETS["remove-suspects"])
    assert dict(found.effect.counts) == {"drop": 4}
    assert (found.effect.pairs, found.effect.left) == (6, 2)
    assert (found.before.pairs, found.after.pairs, found.size_change) == (6, 2, -4)
    assert (found.before.strength, found.after.strength) == (0.0, 2.0)


def test_a_flip_turns_the_strength_towards_the_label_that_holds_then(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    found = proposals.preview_bulk(dataset, bulk("flip", FLIPPED))
    assert (found.before.strength, found.after.strength) == (-1.0, 1.0)
    assert dict(found.effect.changes) == {("", "flip"): 4}
    assert found.size_change == 0


def test_a_preview_passes_over_people_and_says_how_many(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    decide(pairs[0], Verdict.KEEP, casey)
    found = proposals.preview(dataset, PRESETS["remove-suspects"])
    assert dict(found.effect.counts) == {"drop": 3}
    assert dict(found.effect.passed_over) == {"people": 1}
    assert dict(found.rules[1].passed_over) == {"people": 1}


def test_a_policy_that_matches_nothing_says_so(dataset: Dataset) -> None:
    factories.pairs(dataset, 2)
    found = proposals.preview(dataset, CLEAN)
    assert found.effect.is_nothing
    assert "It would change nothing now." in found.warnings


def test_a_preview_changes_nothing_and_takes_two_questions(
    dataset: Dataset, pairs: list[PreferencePair], django_assert_num_queries: Any
) -> None:
    before = state(dataset)
    with django_assert_num_queries(2):
        proposals.preview(dataset, CLEAN)
    assert state(dataset) == before


def test_examples_are_of_each_action_and_another_seed_draws_others(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    found = proposals.examples(dataset, CLEAN)
    suspects = {pair.pk for pair in pairs[:4]}
    assert {example.pair_id for example in found["soften"]} == suspects
    assert {example.probability for example in found["soften"]} == {0.25}
    assert {example.rule for example in found["keep"]} == {3}
    drawn = {
        proposals.examples(dataset, CLEAN, per_action=1, seed=seed)["soften"][0].pair_id
        for seed in range(40)
    }
    assert drawn == suspects


def test_a_sample_of_a_bulk_decision_is_of_the_pairs_that_would_change(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    decide(pairs[0], Verdict.KEEP, casey)
    found = proposals.sample_bulk(dataset, bulk("flip", FLIPPED), count=2)
    assert len(found) == 2
    assert {example.pair_id for example in found} <= {pair.pk for pair in pairs[1:4]}


@pytest.mark.parametrize(
    ("verdict", "probability", "reason"),
    [
        ("", None, "is no verdict"),
        ("queue", None, "is no verdict"),
        ("soften", None, "needs the probability"),
        ("flip", 0.5, "needs the probability"),
        ("soften", 1.5, "from 0 to 1"),
        ("soften", float("nan"), "from 0 to 1"),
    ],
)
def test_what_is_no_verdict_in_bulk_is_refused(
    dataset: Dataset, verdict: str, probability: float | None, reason: str
) -> None:
    with pytest.raises(CannotPropose, match=reason):
        proposals.preview_bulk(dataset, bulk(verdict, probability=probability))


@pytest.mark.parametrize("given", [{"counts": 3}, {"people": {"flip": -1}}, {"last_decision": "x"}])
def test_an_expectation_that_no_preview_gave_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(CannotPropose, match="cannot be read"):
        proposals.check_expected(given)


def test_an_expectation_comes_back_as_it_was(dataset: Dataset, pairs: list[PreferencePair]) -> None:
    found = proposals.preview(dataset, CLEAN)
    shown = Effect.from_expected(proposals.check_expected(found.expected))
    assert found.effect.is_but_for_people(shown)
