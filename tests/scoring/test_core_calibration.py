"""Probabilities and the noise rate, against other people's code and against planted truth."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression

from curator.lib.intervals import Estimate
from scoring.core import calibration

Floats = npt.NDArray[np.float64]


def strengths_of(
    count: int, *, noise: float, slope: float = 3.0, seed: int = 0, scale: float = 1.0
) -> Floats:
    """Strengths of labels drawn from the calibration's own model, a share `noise` then flipped."""
    generator = np.random.default_rng(seed)
    size = scale * np.abs(generator.normal(size=count))
    agrees = generator.random(count) < calibration.sigmoid(slope * size)
    flipped = generator.random(count) < noise
    return np.where(agrees != flipped, size, -size)


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_that_of_logistic_regression_without_intercept(seed: int) -> None:
    strengths = strengths_of(400, noise=0.1, slope=1.0 + seed, seed=seed)
    both_ways = np.concatenate([strengths, -strengths])[:, None]
    labels = np.repeat([1, 0], len(strengths))
    other = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    expected = float(other.fit(both_ways, labels).coef_[0, 0])
    assert calibration.fit_slope(strengths) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_slope_is_found(seed: int) -> None:
    strengths = strengths_of(20_000, noise=0.0, slope=2.5, seed=seed)
    assert calibration.fit_slope(strengths) == pytest.approx(2.5, rel=0.08)


def test_an_ensemble_that_is_mostly_contradicted_gets_a_slope_of_nought() -> None:
    strengths = strengths_of(500, noise=0.9)
    slope = calibration.fit_slope(strengths)
    assert slope == 0.0
    assert (calibration.label_probability(strengths, slope) == 0.5).all()


def test_an_ensemble_that_knows_nothing_gets_next_to_no_slope() -> None:
    strengths = np.random.default_rng(0).normal(size=20_000)
    assert 0.0 <= calibration.fit_slope(strengths) < 0.05


def test_the_slope_ends_where_labels_are_never_contradicted() -> None:
    assert calibration.fit_slope(np.array([1.0, 2.0])) == pytest.approx(calibration.STEEPEST)


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-10.0, 10.0)))
def test_the_slope_is_never_negative(strengths: Floats) -> None:
    assert 0.0 <= calibration.fit_slope(strengths) <= calibration.STEEPEST


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-6.0, 6.0)), st.floats(0.01, 5.0))
def test_probabilities_lie_between_0_and_1_and_rise_with_strength(
    strengths: Floats, slope: float
) -> None:
    found = calibration.label_probability(strengths, slope)
    assert ((found > 0.0) & (found < 1.0)).all()
    assert (np.diff(found[np.argsort(strengths)]) >= 0.0).all()
    mirrored = calibration.label_probability(-strengths, slope)
    np.testing.assert_allclose(mirrored, 1.0 - found, atol=1e-12)


@given(st.floats(-700.0, 30.0))
def test_the_logarithm_of_a_probability_is_finite_where_the_probability_is_not(x: float) -> None:
    assert np.isfinite(calibration.log_sigmoid(np.array([x]))).all()
    if x > -15.0:
        expected = np.log(calibration.sigmoid(np.array([x])))
        np.testing.assert_allclose(
            calibration.log_sigmoid(np.array([x])), expected, rtol=1e-6, atol=1e-12
        )


@pytest.mark.parametrize("noise", [0.05, 0.10, 0.20])
def test_the_planted_share_of_wrong_labels_lies_within_the_interval(noise: float) -> None:
    found = [
        calibration.noise_rate(strengths_of(1500, noise=noise, slope=6.0, seed=seed))
        for seed in range(20)
    ]
    assert sum(one.low <= noise <= one.high for one in found) >= 17
    assert np.mean([one.estimate for one in found]) == pytest.approx(noise, abs=0.02)


def test_more_pairs_narrow_the_interval() -> None:
    few, many = (
        calibration.noise_rate(strengths_of(count, noise=0.1, slope=6.0)) for count in (200, 5000)
    )
    assert many.half_width < 0.5 * few.half_width


def test_labels_without_noise_have_an_interval_that_starts_at_nought() -> None:
    assert calibration.noise_rate(strengths_of(2000, noise=0.0, slope=6.0)).low == 0.0


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-10.0, 10.0)))
def test_the_estimate_lies_within_its_interval(strengths: Floats) -> None:
    found = calibration.noise_rate(strengths)
    assert 0.0 <= found.low <= found.estimate <= found.high < 0.5


def told(accuracy: float, noise: Estimate) -> bool:
    return calibration.can_tell_noise(accuracy, noise, trusted_accuracy=0.75, widest=0.06)


def test_noise_is_told_where_the_ensemble_is_good_and_the_interval_narrow() -> None:
    assert told(0.80, Estimate(0.1, 0.08, 0.12))


def test_noise_is_not_told_where_the_ensemble_is_poor() -> None:
    assert not told(0.60, Estimate(0.1, 0.08, 0.12))


def test_noise_is_not_told_where_the_interval_is_wide() -> None:
    assert not told(0.90, Estimate(0.1, 0.02, 0.18))


def test_what_the_noise_itself_takes_from_the_accuracy_is_given_back() -> None:
    """Right on 80 % of the right labels: with 20 % of them flipped, 0.8 * 0.8 + 0.2 * 0.2."""
    noise = Estimate(0.2, 0.17, 0.23)
    assert calibration.accuracy_on_right_labels(0.68, noise) == pytest.approx(0.80)
    assert told(0.68, noise)
