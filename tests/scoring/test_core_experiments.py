"""Figures of experiments and the intervals around them."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.lib.intervals import Estimate
from scoring.core import experiments
from scoring.core.experiments import AGREEING, RAW, TRUSTED, Evaluation

Floats = npt.NDArray[np.float64]


def evaluation(
    seed: int = 0,
    *,
    pairs: int = 60,
    arms: int = 2,
    seeds: int = 3,
    a_prompt: int = 2,
    skills: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0),
) -> Evaluation:
    """Arms that lean towards the truth as far as their skill goes; a fifth of the raw labels are
    wrong, some pairs have no truth, and each seed judges a part of the pairs."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([-1.0, 1.0], size=pairs)
    raw = np.where(rng.random(pairs) < 0.2, -truth, truth)
    lean = np.array(skills[:arms])[:, None, None] * truth * 0.5
    margins = lean + rng.normal(size=(arms, seeds, pairs))
    groups = np.arange(pairs) // a_prompt
    for number in range(seeds):
        margins[:, number, groups % (seeds + 1) == number] = np.nan
    trusted = np.where(rng.random(pairs) < 0.3, 0.0, truth)
    return Evaluation(groups, raw, trusted, margins, np.ones((arms, seeds)))


def known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


@given(st.integers(0, 10_000))
def test_a_difference_turned_round_is_the_other_one(seed: int) -> None:
    of = evaluation(seed)
    turned = Evaluation(of.groups, of.raw, of.trusted, of.margins[::-1].copy(), of.slopes)
    one = experiments.find(of, resamples=50).differences[1]
    other = experiments.find(turned, resamples=50).differences[1]
    for name in (RAW, TRUSTED, AGREEING):
        a, b = known(one[name]), known(other[name])
        assert (a.estimate, a.low, a.high) == pytest.approx((-b.estimate, -b.high, -b.low))


@given(st.integers(0, 10_000))
def test_equal_arms_differ_by_exactly_nothing(seed: int) -> None:
    of = evaluation(seed)
    twice = np.stack([of.margins[0], of.margins[0]])
    found = experiments.find(
        Evaluation(of.groups, of.raw, of.trusted, twice, of.slopes), resamples=50
    )
    for difference in found.differences[1].values():
        assert known(difference) == Estimate(0.0, 0.0, 0.0)
    assert found.arms[0] == found.arms[1]


@given(st.integers(0, 10_000), st.sampled_from([0.5, 3.0]))
def test_which_response_is_called_a_and_how_loud_an_arm_speaks_change_no_accuracy(
    seed: int, loudness: float
) -> None:
    of = evaluation(seed)
    signs = np.random.default_rng(seed + 1).choice([-1.0, 1.0], size=len(of.raw))
    swapped = Evaluation(
        of.groups, of.raw * signs, of.trusted * signs, of.margins * signs * loudness, of.slopes
    )
    one, other = experiments.find(of, resamples=20), experiments.find(swapped, resamples=20)
    assert [arm.accuracy for arm in one.arms] == [arm.accuracy for arm in other.arms]
    assert known(one.arms[0].auroc).estimate == pytest.approx(known(other.arms[0].auroc).estimate)


@given(st.integers(0, 10_000))
def test_every_figure_lies_in_its_interval_and_where_it_may(seed: int) -> None:
    for arm in experiments.find(evaluation(seed), resamples=50).arms:
        for of in (*arm.accuracy.values(), arm.brier, arm.ece, arm.auroc):
            assert 0.0 <= known(of).low <= known(of).estimate <= known(of).high <= 1.0


def test_a_pair_counts_once_however_many_seeds_judge_it() -> None:
    """Right in one seed of two is half right; a margin of nothing is half right too."""
    margins = np.array([[[1.0, 0.0, np.nan], [-1.0, np.nan, 2.0]]])
    of = Evaluation(np.arange(3), np.ones(3), np.ones(3), margins, np.ones((1, 2)))
    found = experiments.find(of, resamples=10)
    assert known(found.arms[0].accuracy[TRUSTED]).estimate == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    assert found.pairs == {RAW: 3, TRUSTED: 3, AGREEING: 3}


def test_only_seeds_that_judged_with_both_arms_tell_them_apart() -> None:
    margins = np.array([[[1.0, 1.0], [1.0, 1.0]], [[-1.0, 1.0], [np.nan, np.nan]]])
    of = Evaluation(np.arange(2), np.ones(2), np.ones(2), margins, np.ones((2, 2)))
    assert known(experiments.find(of).differences[1][TRUSTED]).estimate == -0.5


def test_agreeing_labels_are_those_that_are_trusted_to_be_right() -> None:
    of = evaluation(pairs=200)
    agreeing = of.labels[AGREEING]
    assert set(np.flatnonzero(agreeing)) == set(
        np.flatnonzero((of.raw == of.trusted) & (of.trusted != 0))
    )


def test_nothing_is_said_where_nothing_is_trusted() -> None:
    of = evaluation()
    found = experiments.find(
        Evaluation(of.groups, of.raw, np.zeros(len(of.raw)), of.margins, of.slopes), resamples=10
    )
    assert found.arms[0].accuracy[TRUSTED] is None
    assert found.arms[0].brier is None
    assert found.differences[1][TRUSTED] is None
    assert found.arms[0].accuracy[RAW] is not None


def test_auroc_is_that_of_every_pair_seen_both_ways_round() -> None:
    rng = np.random.default_rng(3)
    margins = np.round(rng.normal(0.4, 1.0, 40), 1)  # with ties
    both, labels = np.concatenate([margins, -margins]), np.repeat([True, False], 40)
    wins = (both[labels][:, None] > both[~labels][None]) + 0.5 * (
        both[labels][:, None] == both[~labels][None]
    )
    assert experiments.auroc_shares(margins).mean() == pytest.approx(wins.mean())


def test_calibrated_probabilities_have_little_error_and_others_much() -> None:
    rng = np.random.default_rng(5)
    margins = rng.normal(0.0, 1.5, 20_000)
    truth = np.where(rng.random(20_000) < 1.0 / (1.0 + np.exp(-margins)), 1.0, -1.0)
    both = np.stack([margins, margins])[:, None]
    of = Evaluation(np.arange(20_000), truth, truth, both, np.array([[1.0], [4.0]]))
    right, loud = experiments.find(of, resamples=100).arms
    assert known(right.ece).estimate < 0.02 < 0.1 < known(loud.ece).estimate
    assert known(right.brier).estimate < known(loud.brier).estimate
    assert known(right.accuracy[TRUSTED]) == known(loud.accuracy[TRUSTED])
    for bin in right.confidences:
        assert bin.accuracy == pytest.approx(bin.sureness, abs=0.04)


def test_ranges_of_strength_hold_as_many_pairs_each_and_the_weakest_are_wrong_most_often() -> None:
    of = evaluation(pairs=4000, skills=(3.0, 4.0))
    bins = experiments.find(of, resamples=20).arms[0].bins
    counts = [each.pairs for each in bins]
    assert len(bins) == experiments.MOST_BINS
    assert max(counts) - min(counts) <= 2
    assert [each.low for each in bins[1:]] == [each.high for each in bins[:-1]]


def test_intervals_of_differences_cover_the_truth_about_as_often_as_they_say() -> None:
    """Prompts of two pairs that stand or fall together, and arms whose difference is known."""
    rng = np.random.default_rng(11)
    covered, times, prompts = 0, 200, 150
    for number in range(times):
        right = rng.random((2, prompts)) < np.array([[0.6], [0.7]])
        margins = np.repeat(np.where(right, 1.0, -1.0), 2, axis=1)[:, None]
        groups, ones = np.repeat(np.arange(prompts), 2), np.ones(2 * prompts)
        of = Evaluation(groups, ones, ones, margins, np.ones((2, 1)))
        found = experiments.find(of, seed=number, resamples=300).differences[1][TRUSTED]
        covered += known(found).low <= 0.1 <= known(found).high
    assert 0.90 <= covered / times <= 0.985


def test_prompts_stay_together_so_that_copies_of_pairs_narrow_no_interval() -> None:
    rng = np.random.default_rng(2)
    margins = rng.normal(0.3, 1.0, (2, 1, 100))
    once = Evaluation(np.arange(100), np.ones(100), np.ones(100), margins, np.ones((2, 1)))
    copied = Evaluation(
        np.repeat(np.arange(100), 5),
        np.ones(500),
        np.ones(500),
        np.repeat(margins, 5, axis=2),
        np.ones((2, 1)),
    )
    one, other = (experiments.find(of).differences[1][TRUSTED] for of in (once, copied))
    a, b = known(one), known(other)
    assert (a.estimate, a.low, a.high) == pytest.approx((b.estimate, b.low, b.high))


def test_the_best_of_n_is_worth_what_was_chosen() -> None:
    chosen = np.array(
        [[[1.0, 2.0, np.nan], [1.0, np.nan, 3.0]], [[4.0, 4.0, np.nan], [4.0, 4.0, 4.0]]]
    )
    found = experiments.choices(chosen, random=np.full(3, 2.0), best=np.full(3, 4.0))
    assert (found.prompts, found.random, found.best) == (3, 2.0, 4.0)
    first, second = found.arms
    assert first.chosen.estimate == pytest.approx(2.0)
    assert (first.gain, second.gain) == pytest.approx((0.0, 1.0))
    assert second.difference.estimate == pytest.approx((3.0 + 2.0 + 1.0) / 3)
    assert first.difference == Estimate(0.0, 0.0, 0.0)


def test_all_pairs_of_a_prompt_are_dealt_to_one_fold_and_folds_are_about_as_large() -> None:
    folds = [experiments.fold_of(f"prompt {n}", seed=0, folds=5) for n in range(2000)]
    assert folds == [experiments.fold_of(f"prompt {n}", seed=0, folds=5) for n in range(2000)]
    assert folds != [experiments.fold_of(f"prompt {n}", seed=1, folds=5) for n in range(2000)]
    counts = np.bincount(folds)
    assert len(counts) == 5
    assert counts.min() > 330
