"""The random sample that audits flags: who is drawn, and intervals that cover the truth."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curator.lib.intervals import Estimate
from scoring.core import binomial, sampling

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

AUDITS = 100
LEAST_COVERED = 90


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(count: int, *, noise: float, pull: float, seed: int = 0) -> tuple[Integers, Booleans]:
    """Strata of `count` labels, exactly a share `noise` of which is wrong, and which: those of low
    strength the more likely the higher the pull."""
    strengths = generator(seed).normal(size=count)
    suspicion = generator(seed + 1).gumbel(size=count) - pull * strengths
    wrong = np.zeros(count, dtype=np.bool_)
    wrong[np.argsort(-suspicion)[: round(noise * count)]] = True
    return sampling.strata(strengths), wrong


@st.composite
def populations(draw: Any) -> Integers:
    """The strata of some pairs."""
    strengths = draw(st.lists(st.integers(-9, 9), min_size=1, max_size=80))
    return sampling.strata(np.array(strengths, dtype=np.float64), draw(st.integers(1, 12)))


# --- strata and turns


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60), st.integers(1, 12))
def test_strata_hold_equally_many_pairs_in_order_of_strength(values: list[int], bins: int) -> None:
    strengths = np.array(values, dtype=np.float64)
    found = sampling.strata(strengths, bins)
    sizes = sampling.sizes_of(found)
    assert len(sizes) == min(bins, len(values))
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(strengths[np.argsort(found, kind="stable")]) >= 0).all() or all(
        strengths[found == number].max() <= strengths[found == number + 1].min()
        for number in range(len(sizes) - 1)
    )


@given(populations(), st.integers(0, 90), st.integers(0, 5))
def test_no_pair_is_drawn_twice_and_none_left_out(strata: Integers, size: int, seed: int) -> None:
    drawn = sampling.draw(strata, size, generator(seed))
    assert len(np.unique(drawn)) == len(drawn) == min(size, len(strata))


@given(populations(), st.integers(0, 90), st.integers(0, 90))
def test_every_beginning_is_split_over_strata_as_a_sample_of_its_own(
    strata: Integers, size: int, shorter: int
) -> None:
    beginning = sampling.draw(strata, size, generator(1))[:shorter]
    own = sampling.draw(strata, min(size, shorter), generator(2))
    count = len(sampling.sizes_of(strata))
    np.testing.assert_array_equal(
        np.bincount(strata[beginning], minlength=count), np.bincount(strata[own], minlength=count)
    )


def test_every_stratum_is_reviewed_once_before_any_is_twice() -> None:
    strata, _ = labels(1000, noise=0.1, pull=1.0)
    assert sorted(strata[sampling.draw(strata, 10, generator())]) == list(range(10))


def test_weak_strata_get_more_reviews_and_strong_ones_enough() -> None:
    strata, _ = labels(5000, noise=0.1, pull=1.0)
    reviews = np.bincount(strata[sampling.draw(strata, 200, generator())])
    assert (np.diff(reviews) <= 0).all()
    assert 1.3 < reviews[0] / reviews[-1] < 2.0
    assert reviews[-1] >= 200 * sampling.FLOOR / 10


@given(populations(), st.integers(0, 40), st.integers(0, 90))
def test_enlarging_keeps_what_was_drawn(strata: Integers, size: int, larger: int) -> None:
    first = sampling.draw(strata, size, generator(0))
    more = sampling.enlarge(strata, first, larger, generator(1))
    np.testing.assert_array_equal(more[: len(first)], first)
    assert len(np.unique(more)) == len(more) == min(max(size, larger), len(strata))
    whole = sampling.draw(strata, max(size, larger), generator(2))
    np.testing.assert_array_equal(np.bincount(strata[more]), np.bincount(strata[whole]))


def test_within_a_stratum_every_pair_is_as_likely_as_any_other() -> None:
    strata = sampling.strata(np.arange(40.0), 4)
    drawn = np.concatenate([sampling.draw(strata, 4, generator(seed)) for seed in range(4000)])
    counts = np.bincount(drawn, minlength=40)
    assert stats.chisquare(counts).pvalue > 0.001


# --- weights and estimates


@given(populations(), st.integers(1, 90))
def test_weights_sum_to_all_pairs(strata: Integers, size: int) -> None:
    drawn = sampling.draw(strata, size, generator())
    found = sampling.weights(sampling.sizes_of(strata), strata[drawn])
    assert found.sum() == pytest.approx(len(strata))


@given(populations(), st.integers(1, 90), st.integers(0, 9))
def test_the_noise_rate_is_the_weighted_share_of_wrong_labels_inside_its_interval(
    strata: Integers, size: int, seed: int
) -> None:
    sizes, drawn = sampling.sizes_of(strata), sampling.draw(strata, size, generator())
    wrong = generator(seed).random(len(drawn)) < seed / 9
    figure = sampling.noise_rate(sizes, strata[drawn], wrong).figure
    assert figure is not None
    weights = sampling.weights(sizes, strata[drawn])
    assert figure.estimate == pytest.approx(np.average(wrong, weights=weights))
    assert 0.0 <= figure.low <= figure.estimate <= figure.high <= 1.0


@given(populations(), st.integers(0, 9))
def test_reviewing_everything_gives_the_truth_without_doubt(strata: Integers, seed: int) -> None:
    wrong = generator(seed).random(len(strata)) < seed / 9
    figure = sampling.noise_rate(sampling.sizes_of(strata), strata, wrong).figure
    assert figure is not None
    for value in (figure.estimate, figure.low, figure.high):
        assert value == pytest.approx(wrong.mean(), abs=1e-12)


@given(populations(), st.integers(1, 60), st.integers(0, 9))
def test_the_order_of_the_verdicts_says_nothing(strata: Integers, size: int, seed: int) -> None:
    sizes, drawn = sampling.sizes_of(strata), strata[sampling.draw(strata, size, generator())]
    wrong, order = generator(seed).random(len(drawn)) < 0.3, generator(seed).permutation(len(drawn))
    assert sampling.noise_rate(sizes, drawn, wrong) == sampling.noise_rate(
        sizes, drawn[order], wrong[order]
    )


def test_before_the_first_review_there_is_no_noise_rate() -> None:
    nothing = np.array([], dtype=np.int64)
    found = sampling.noise_rate(np.array([5, 5]), nothing, nothing.astype(np.bool_))
    assert (found.figure, found.reviews, found.unreviewed) == (None, 0, (0, 1))


def test_a_stratum_without_a_review_is_named_and_spoken_for_by_its_neighbour() -> None:
    reviewed, wrong = np.array([0, 0, 2, 2]), np.array([True, True, False, False])
    found = sampling.noise_rate(np.array([10, 20, 10]), reviewed, wrong)
    assert found.unreviewed == (1,)
    assert found.figure is not None
    assert found.figure.estimate == pytest.approx(30 / 40)  # the weaker of two as near


def test_more_reviews_than_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="more reviews than pairs"):
        sampling.noise_rate(np.array([1]), np.array([0, 0]), np.array([True, True]))


def test_each_stratum_has_its_own_share_and_clopper_pearson_interval() -> None:
    reviewed = np.repeat([0, 1], [20, 5])
    wrong = np.zeros(25, dtype=np.bool_)
    wrong[:4] = True
    weak, strong, unseen = sampling.by_stratum(np.array([10**9] * 3), reviewed, wrong)
    assert weak.figure is not None
    assert weak.figure.low == pytest.approx(stats.beta.ppf(0.025, 4, 17))
    assert weak.figure.high == pytest.approx(stats.beta.ppf(0.975, 5, 16))
    assert strong.figure is not None
    assert (strong.figure.estimate, strong.figure.low) == (0.0, 0.0)
    assert strong.figure.high == pytest.approx(stats.beta.ppf(0.975, 1, 5))
    assert unseen.figure is None


# --- coverage


Found = dict[str, Estimate | None]


def covering(
    strata: Integers, size: int, found: Callable[[Integers], Found], truth: dict[str, float]
) -> dict[str, int]:
    """In how many of 100 audits each interval holds the truth; one that is not given claims
    nothing that is false."""
    audits = [found(sampling.draw(strata, size, generator(seed))) for seed in range(AUDITS)]
    held = dict.fromkeys(truth, 0)
    for name, figure in ((name, audit[name]) for audit in audits for name in truth):
        held[name] += figure is None or figure.low <= truth[name] <= figure.high
    return held


@pytest.mark.parametrize("pull", [0.0, 1.0, 4.0, -2.0])
@pytest.mark.parametrize(
    ("noise", "size"), [(0.01, 60), (0.01, 300), (0.1, 25), (0.1, 150), (0.3, 150)]
)
def test_the_interval_of_the_noise_rate_covers_the_truth(
    noise: float, size: int, pull: float
) -> None:
    """A pull below 0 is an ensemble that is wrong about where the wrong labels lie."""
    strata, wrong = labels(3000, noise=noise, pull=pull, seed=7)
    sizes = sampling.sizes_of(strata)

    def found(drawn: Integers) -> Found:
        return {"noise": sampling.noise_rate(sizes, strata[drawn], wrong[drawn]).figure}

    held = covering(strata, size, found, {"noise": float(wrong.mean())})
    assert held["noise"] >= LEAST_COVERED


def flagged(strata: Integers) -> tuple[npt.NDArray[np.str_], dict[str, Integers]]:
    """The weakest tenth and a third of the next as "flipped", and how many of each flag a stratum
    holds."""
    own = (strata == 0) | ((strata == 1) & (np.arange(len(strata)) % 3 == 0))
    flags = np.where(own, "flipped", "clear")
    return flags, {
        name: np.bincount(strata[flags == name], minlength=10) for name in ("flipped", "clear")
    }


@pytest.mark.parametrize(("noise", "size"), [(0.02, 150), (0.1, 60), (0.1, 300), (0.3, 150)])
@pytest.mark.parametrize("pull", [0.0, 1.0, 3.0])
def test_the_intervals_of_precision_and_recall_cover_the_truth(
    noise: float, size: int, pull: float
) -> None:
    strata, wrong = labels(3000, noise=noise, pull=pull, seed=11)
    flags, counts = flagged(strata)
    has_flag = flags == "flipped"

    def found(drawn: Integers) -> Found:
        reviewed = sampling.Reviewed(strata[drawn], wrong[drawn], flags[drawn])
        shares = sampling.flag_shares(counts, reviewed)["flipped"]
        return {"precision": shares.precision.figure, "recall": shares.recall}

    truth = {"precision": float(wrong[has_flag].mean()), "recall": float(has_flag[wrong].mean())}
    held = covering(strata, size, found, truth)
    assert min(held.values()) >= LEAST_COVERED, held


def test_reviewing_everything_gives_precision_and_recall_without_doubt() -> None:
    strata, wrong = labels(500, noise=0.1, pull=2.0)
    flags, counts = flagged(strata)
    has_flag = flags == "flipped"
    found = sampling.flag_shares(counts, sampling.Reviewed(strata, wrong, flags))["flipped"]
    precision, recall = wrong[has_flag].mean(), has_flag[wrong].mean()
    for figure, truth in ((found.precision.figure, precision), (found.recall, recall)):
        assert figure is not None
        for value in (figure.estimate, figure.low, figure.high):
            assert value == pytest.approx(truth, abs=1e-9)


def test_without_a_wrong_label_there_is_no_recall() -> None:
    strata, _ = labels(500, noise=0.1, pull=2.0)
    flags, counts = flagged(strata)
    reviewed = sampling.Reviewed(strata, np.zeros(500, dtype=np.bool_), flags)
    assert sampling.flag_shares(counts, reviewed)["flipped"].recall is None


# --- how many more


def test_as_many_reviews_as_needed_give_about_the_width_wanted() -> None:
    strata, wrong = labels(5000, noise=0.1, pull=1.0)
    sizes, drawn = sampling.sizes_of(strata), sampling.draw(strata, 100, generator())
    more = sampling.reviews_needed(sizes, strata[drawn], wrong[drawn], 0.03)
    larger = sampling.enlarge(strata, drawn, 100 + more, generator(1))
    figure = sampling.noise_rate(sizes, strata[larger], wrong[larger]).figure
    assert figure is not None
    assert more > 0
    assert figure.half_width == pytest.approx(0.03, abs=0.006)


@settings(max_examples=30)
@given(st.floats(0.0, 0.4), st.floats(0.0, 0.4), st.integers(0, 100))
def test_a_narrower_interval_needs_at_least_as_many_reviews(a: float, b: float, size: int) -> None:
    strata, wrong = labels(300, noise=0.1, pull=1.0)
    sizes, drawn = sampling.sizes_of(strata), sampling.draw(strata, size, generator())
    narrow, wide = (
        sampling.reviews_needed(sizes, strata[drawn], wrong[drawn], half_width)
        for half_width in sorted((a, b))
    )
    assert 0 <= wide <= narrow <= 300 - size


def test_an_interval_of_no_width_needs_every_pair() -> None:
    strata, wrong = labels(200, noise=0.1, pull=1.0)
    drawn = sampling.draw(strata, 50, generator())
    sizes = sampling.sizes_of(strata)
    assert sampling.reviews_needed(sizes, strata[drawn], wrong[drawn], 0.0) == 150
    assert sampling.reviews_needed(sizes, strata, wrong, 0.0) == 0


def test_a_first_sample_can_be_planned() -> None:
    nothing = np.array([], dtype=np.int64)
    sizes = np.full(10, 1000)
    none_yet = (sizes, nothing, nothing.astype(np.bool_))
    needed = [sampling.reviews_needed(*none_yet, half_width) for half_width in (0.05, 0.03)]
    assert 100 < needed[0] < needed[1] < 1500


def test_a_negative_half_width_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        sampling.reviews_needed(np.array([5]), np.array([0]), np.array([True]), -0.1)


# --- the exact interval


@given(st.floats(0.01, 500.0), st.floats(0.01, 500.0), st.floats(0.001, 0.999))
def test_the_beta_distribution_is_scipys(a: float, b: float, x: float) -> None:
    assert binomial.beta_below(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-10)


@given(st.floats(0.2, 500.0), st.floats(0.2, 500.0), st.sampled_from([0.025, 0.5, 0.975]))
def test_the_beta_quantile_is_scipys(a: float, b: float, probability: float) -> None:
    expected = stats.beta.ppf(probability, a, b)
    assert binomial.beta_quantile(probability, a, b) == pytest.approx(expected, rel=1e-8, abs=1e-14)


@given(st.integers(0, 200), st.integers(1, 200))
def test_clopper_and_pearson_leave_the_tails_they_should(hits: int, misses: int) -> None:
    count = hits + misses
    found = binomial.clopper_pearson(hits, count)
    expected = stats.binomtest(hits, count).proportion_ci(method="exact")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_counted_has_no_interval() -> None:
    assert binomial.clopper_pearson(0, 0) is None
