"""Flags: the cut is cleanlab's, every pair gets one, and no contradicted label is called clear."""

from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
from cleanlab.filter import find_label_issues
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curator.lib.intervals import Estimate
from scoring.core import calibration, flags
from scoring.core.flags import (
    AMBIGUOUS,
    CLEAR,
    FLIPPED,
    STRONG,
    Flagging,
    FlagRule,
    PercentileRule,
)

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

NAMES = {FLIPPED, AMBIGUOUS, CLEAR, STRONG}
KNOWN, UNKNOWN = Estimate(0.1, 0.08, 0.12), Estimate(0.1, 0.0, 0.3)
GOOD, POOR = 0.85, 0.60

strengths_of_any_kind = st.floats(-4.0, 2.0).flatmap(
    lambda least: arrays(
        np.float64,
        st.integers(10, 40),
        elements=st.floats(least, 4.0).map(lambda x: round(x, 2)),
        fill=st.nothing(),
    )
)


def some_strengths(seed: int, *, count: int = 500, noise: float = 0.15) -> Floats:
    generator = np.random.default_rng(seed)
    agrees = generator.random(count) > noise
    return np.where(agrees, 1.0, -1.0) * np.abs(generator.normal(size=count)) + 0.1


def flagged(
    strengths: Floats,
    *,
    votes: Floats | None = None,
    accuracy: float = GOOD,
    noise: Estimate = KNOWN,
    rule: FlagRule | None = None,
) -> Flagging:
    """The flags that follow from strengths whose probabilities are calibrated as in a run."""
    probabilities = calibration.label_probability(strengths, calibration.fit_slope(strengths))
    if votes is None:
        votes = np.where(strengths < 0, 0.0, 1.0)
    return flags.flag(strengths, votes, probabilities, accuracy=accuracy, noise=noise, rule=rule)


def issues_by_cleanlab(probabilities: Floats) -> Booleans:
    """Each pair shown both ways round, A preferred and B preferred: what cleanlab calls wrong."""
    p = np.concatenate([probabilities, 1.0 - probabilities])
    labels = np.repeat([0, 1], len(probabilities))
    issues = find_label_issues(
        labels, np.column_stack([p, 1.0 - p]), filter_by="confident_learning", n_jobs=1
    )
    one_way, other_way = np.split(np.asarray(issues, dtype=np.bool_), 2)
    np.testing.assert_array_equal(one_way, other_way)
    return one_way


@pytest.mark.parametrize("seed", range(8))
def test_the_cut_of_confident_learning_is_cleanlabs(seed: int) -> None:
    strengths = some_strengths(seed, noise=0.05 * (seed + 1))
    probabilities = calibration.label_probability(strengths, calibration.fit_slope(strengths))
    wrong = strengths < flags.confident_cut(probabilities, strengths)
    assert wrong.any()
    np.testing.assert_array_equal(wrong, issues_by_cleanlab(probabilities))


def test_the_surer_the_right_labels_are_said_to_be_the_fewer_are_called_wrong() -> None:
    strengths = some_strengths(0)
    probabilities = calibration.label_probability(strengths, calibration.fit_slope(strengths))
    own = float(probabilities.mean())
    cuts = [
        flags.confident_cut(probabilities, strengths, threshold=threshold)
        for threshold in (own - 0.05, own, own + 0.05)
    ]
    assert cuts[0] > cuts[1] > cuts[2]
    assert cuts[1] == flags.confident_cut(probabilities, strengths)


def test_where_the_calibration_knows_nothing_neither_finds_anything_wrong() -> None:
    """Few but loud contradictions: the slope is nought, and every label has a probability of ½."""
    strengths = np.array([0.1] * 80 + [-3.0] * 20)
    probabilities = calibration.label_probability(strengths, calibration.fit_slope(strengths))
    assert not issues_by_cleanlab(probabilities).any()
    assert flags.confident_cut(probabilities, strengths) == -np.inf


@pytest.mark.parametrize(("accuracy", "cut"), [(GOOD, -np.inf), (POOR, 0.0)])
def test_where_nothing_is_contradicted_nothing_is_flipped(accuracy: float, cut: float) -> None:
    found = flagged(np.linspace(0.1, 2.0, 50), accuracy=accuracy, noise=UNKNOWN)
    assert found.cut == cut
    assert FLIPPED not in found.flags


@given(strengths_of_any_kind, st.sampled_from([GOOD, POOR]))
def test_every_pair_gets_one_flag_and_flipped_ones_lie_below_the_cut(
    strengths: Floats, accuracy: float
) -> None:
    found = flagged(strengths, accuracy=accuracy, noise=UNKNOWN)
    assert found.flags.shape == strengths.shape
    assert set(found.flags.tolist()) <= NAMES
    np.testing.assert_array_equal(found.flags == FLIPPED, strengths < found.cut)


@given(
    strengths_of_any_kind, st.sampled_from([GOOD, POOR]), st.floats(0.3, 0.9), st.floats(0.0, 1.0)
)
def test_a_contradicted_label_is_never_clear_or_strong(
    strengths: Floats, accuracy: float, doubtful_to: float, strong_share: float
) -> None:
    rule = FlagRule(doubtful_to=doubtful_to, strong_share=strong_share)
    found = flagged(strengths, accuracy=accuracy, noise=UNKNOWN, rule=rule)
    assert set(found.flags[strengths < 0].tolist()) <= {FLIPPED, AMBIGUOUS}


@given(strengths_of_any_kind, st.sampled_from([GOOD, POOR]))
def test_a_label_that_the_ensemble_agrees_with_is_never_flipped(
    strengths: Floats, accuracy: float
) -> None:
    found = flagged(strengths, accuracy=accuracy, noise=UNKNOWN)
    assert found.cut <= 0.0
    assert (strengths[found.flags == FLIPPED] < 0).all()


@given(strengths_of_any_kind, st.floats(0.0, 1.0))
def test_the_review_budget_is_kept(strengths: Floats, budget: float) -> None:
    found = flagged(strengths, accuracy=POOR, noise=UNKNOWN, rule=FlagRule(review_budget=budget))
    assert found.cut_by == "review budget"
    assert (found.flags == FLIPPED).sum() <= np.ceil(budget * len(strengths))


def test_the_review_budget_is_used_where_enough_labels_are_contradicted() -> None:
    found = flagged(np.linspace(-1.0, 1.5, 1000), accuracy=POOR, noise=UNKNOWN)
    assert (found.flags == FLIPPED).sum() == 100


def test_a_good_ensemble_lets_the_data_say_how_many_are_flipped() -> None:
    assert flagged(some_strengths(0), accuracy=GOOD).cut_by == "confident learning"


def test_an_ensemble_whose_accuracy_only_the_noise_took_is_trusted_too() -> None:
    noise = Estimate(0.25, 0.22, 0.28)
    assert flagged(some_strengths(0), accuracy=0.70, noise=noise).cut_by == "confident learning"


def test_split_votes_on_a_weak_pair_make_it_ambiguous() -> None:
    strengths = np.concatenate([np.linspace(0.2, 2.0, 90), np.linspace(-2.0, -1.0, 10)])
    whole, split = np.ones(100), np.full(100, 0.5)
    rule = FlagRule(doubtful_to=0.5)
    assert AMBIGUOUS not in flagged(strengths, votes=whole, rule=rule).flags[:20]
    assert set(flagged(strengths, votes=split, rule=rule).flags[:10]) == {AMBIGUOUS}
    assert set(flagged(strengths, votes=split, rule=rule).flags[30:80]) == {CLEAR}


def test_the_strongest_tenth_is_strong() -> None:
    strengths = some_strengths(1, count=1000)
    found = flagged(strengths)
    assert (found.flags == STRONG).sum() == 100
    assert strengths[found.flags == STRONG].min() > strengths[found.flags == CLEAR].max()


def test_a_rule_survives_being_stored() -> None:
    rule = FlagRule(**{field.name: 0.01 * i for i, field in enumerate(fields(FlagRule))})
    assert FlagRule.from_dict(rule.as_dict()) == rule


def test_a_stored_rule_with_a_threshold_nobody_knows_is_not_read() -> None:
    with pytest.raises(TypeError, match="colour"):
        FlagRule.from_dict({"colour": 1.0})


@given(
    st.integers(10, 200),
    st.tuples(st.floats(0.01, 0.3), st.floats(0.31, 0.6), st.floats(0.01, 0.3)),
)
def test_percentiles_flag_the_shares_they_name(
    count: int, shares: tuple[float, float, float]
) -> None:
    rule = PercentileRule(*shares)
    strengths = np.random.default_rng(count).normal(size=count)
    found = flags.flag_by_percentile(strengths, rule).flags
    for names, share in (
        ([FLIPPED], rule.flipped_share),
        ([FLIPPED, AMBIGUOUS], rule.ambiguous_share),
        ([STRONG], rule.strong_share),
    ):
        assert np.isin(found, names).sum() == pytest.approx(share * count, abs=1.001)


def test_percentiles_go_by_rank_alone() -> None:
    strengths = np.random.default_rng(0).normal(size=200)
    np.testing.assert_array_equal(
        flags.flag_by_percentile(strengths).flags,
        flags.flag_by_percentile(5.0 + np.exp(strengths)).flags,
    )


@given(strengths_of_any_kind)
def test_weaker_pairs_never_get_a_better_flag_by_percentile(strengths: Floats) -> None:
    assume(len(np.unique(strengths)) > 5)
    rank = {FLIPPED: 0, AMBIGUOUS: 1, CLEAR: 2, STRONG: 3}
    ranks = np.array([rank[name] for name in flags.flag_by_percentile(strengths).flags])
    assert (np.diff(ranks[np.argsort(strengths)]) >= 0).all()
