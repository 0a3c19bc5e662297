"""Probabilities from trusted verdicts: against scikit-learn, and laws that any of them obeys."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from scoring.core import recalibration
from scoring.core.calibration import sigmoid
from scoring.core.recalibration import (
    ISOTONIC,
    PLATT,
    SYMMETRIC,
    NotEnoughVerdicts,
    apply,
    recalibrate,
)

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@st.composite
def verdicts(draw: Any) -> tuple[Floats, Booleans, Floats]:
    """Strengths, some of them equal; what people found, of both kinds; and weights."""
    count = draw(st.integers(2, 50))

    def listed(of: Any) -> Any:
        return draw(st.lists(of, min_size=count, max_size=count))

    strengths = np.array(listed(st.integers(-20, 20)), dtype=np.float64) / 8
    right = np.array(listed(st.booleans()))
    right[0], right[-1] = True, False
    return strengths, right, np.array(listed(st.integers(1, 40)), dtype=np.float64)


def drawn(
    count: int, slope: float, intercept: float, *, seed: int = 0
) -> tuple[Floats, Booleans, Floats]:
    """Verdicts that follow a logistic curve."""
    generator = np.random.default_rng(seed)
    strengths = generator.normal(size=count)
    right = generator.random(count) < sigmoid(slope * strengths + intercept)
    return strengths, right, np.ones(count)


@given(verdicts())
def test_isotonic_values_are_sklearns(case: tuple[Floats, Booleans, Floats]) -> None:
    strengths, right, weights = case
    at, values, _ = recalibration.isotonic(strengths, right.astype(np.float64), weights)
    other = IsotonicRegression().fit(strengths, right.astype(np.float64), sample_weight=weights)
    np.testing.assert_allclose(values, other.predict(at), atol=1e-9)


@given(verdicts(), st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=20))
def test_an_isotonic_curve_is_sklearns_but_for_its_ends(
    case: tuple[Floats, Booleans, Floats], asked: list[float]
) -> None:
    strengths, right, weights = case
    found = apply(recalibration.fit_isotonic(strengths, right, weights), np.array(asked))
    other = IsotonicRegression(out_of_bounds="clip").fit(strengths, right, sample_weight=weights)
    _, values, _ = recalibration.isotonic(strengths, right.astype(np.float64), weights)
    if values.min() > 0.0 and values.max() < 1.0:
        np.testing.assert_allclose(found, other.predict(np.array(asked)), atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_sklearns_weighted_logistic_regression(seed: int) -> None:
    strengths, right, _ = drawn(400, 1.5, 0.8, seed=seed)
    weights = np.random.default_rng(seed).integers(1, 20, 400).astype(np.float64)
    scale = np.sqrt(np.mean(strengths**2))
    ridged = np.column_stack([strengths / scale, np.ones(400)])  # both have the same small ridge
    other = LogisticRegression(C=1 / recalibration.RIDGE, fit_intercept=False, tol=1e-10)
    other.fit(ridged, right, sample_weight=weights / weights.mean())
    found = recalibration.fit_platt(strengths, right, weights)
    assert found["slope"] == pytest.approx(other.coef_[0, 0] / scale, rel=1e-4)
    assert found["intercept"] == pytest.approx(other.coef_[0, 1], rel=1e-4)


@pytest.mark.parametrize("fit", [recalibration.fit_platt, recalibration.fit_isotonic])
@given(case=verdicts(), asked=st.lists(st.floats(-9.0, 9.0), min_size=2, max_size=20))
def test_probabilities_rise_with_strength_and_are_never_certain(
    fit: Any, case: tuple[Floats, Booleans, Floats], asked: list[float]
) -> None:
    found = apply(fit(*case), np.sort(np.array(asked)))
    assert (np.diff(found) >= 0.0).all()
    assert ((found > 0.0) & (found < 1.0)).all()


@pytest.mark.parametrize("fit", [recalibration.fit_platt, recalibration.fit_isotonic])
@given(case=verdicts(), seed=st.integers(0, 9), factor=st.sampled_from([0.001, 1.0, 1000.0]))
def test_neither_order_nor_scale_of_the_weights_matters(
    fit: Any, case: tuple[Floats, Booleans, Floats], seed: int, factor: float
) -> None:
    strengths, right, weights = case
    order = np.random.default_rng(seed).permutation(len(right))
    asked = np.linspace(-3.0, 3.0, 13)
    np.testing.assert_allclose(
        apply(fit(strengths, right, weights), asked),
        apply(fit(strengths[order], right[order], factor * weights[order]), asked),
        atol=1e-7,
    )


def test_a_strength_that_tells_right_from_wrong_without_exception_has_a_finite_slope() -> None:
    strengths = np.linspace(-1.0, 1.0, 40)
    found = recalibration.fit_platt(strengths, strengths > 0, np.ones(40))
    assert np.isfinite([found["slope"], found["intercept"]]).all()
    assert apply(found, np.array([0.5]))[0] > 0.95


def test_verdicts_that_fall_with_strength_make_a_flat_curve() -> None:
    strengths = np.linspace(-1.0, 1.0, 40)
    found = recalibration.fit_platt(strengths, strengths < 0.5, np.ones(40))
    assert found["slope"] == 0.0
    assert apply(found, strengths) == pytest.approx(0.75, abs=0.01)


def test_the_ends_of_an_isotonic_curve_are_as_sure_as_their_verdicts_are_many() -> None:
    strengths = np.arange(40.0)
    found = apply(recalibration.fit_isotonic(strengths, strengths >= 10, np.ones(40)), strengths)
    assert found[0] == pytest.approx(0.5 / 11)
    assert found[-1] == pytest.approx(1 - 0.5 / 31)


# --- which of the methods


@pytest.mark.parametrize(("intercept", "method"), [(0.0, SYMMETRIC), (2.0, PLATT)])
def test_the_simplest_method_that_fits_the_verdicts_is_chosen(
    intercept: float, method: str
) -> None:
    """Out of ten sets of verdicts, chance may mislead about one."""
    found = [recalibrate(*drawn(400, 1.5, intercept, seed=seed), slope=1.5) for seed in range(10)]
    assert sum(one.description["method"] == method for one in found) >= 9


def test_a_shift_is_found_and_serves_verdicts_that_were_not_seen() -> None:
    found = recalibrate(*drawn(600, 1.0, 2.0), slope=1.0)
    assert found.losses[PLATT].log_loss < found.losses[SYMMETRIC].log_loss
    assert found.description["intercept"] == pytest.approx(2.0, abs=0.4)


def test_verdicts_of_another_shape_are_fitted_by_isotonic_regression() -> None:
    generator = np.random.default_rng(0)
    strengths = generator.normal(size=3000)
    chance = np.where(strengths < -1.0, 0.05, np.where(strengths < 1.0, 0.85, 0.9))
    right = generator.random(3000) < chance
    found = recalibrate(strengths, right, np.ones(3000), slope=1.0)
    assert found.description["method"] == ISOTONIC
    asked = np.array([-2.0, 0.0, 2.0])
    np.testing.assert_allclose(apply(found.description, asked), [0.05, 0.85, 0.9], atol=0.05)
    assert found.calibration_error < 0.03


def test_weights_undo_what_sampling_the_weak_more_often_did() -> None:
    strengths, right, _ = drawn(20_000, 1.0, 1.0)
    chosen = np.random.default_rng(1).random(20_000) < np.where(right, 0.1, 0.5)
    weights = np.where(right, 10.0, 2.0)
    found = recalibrate(strengths[chosen], right[chosen], weights[chosen], slope=1.0)
    assert found.description["method"] == PLATT
    assert found.description["intercept"] == pytest.approx(1.0, abs=0.1)


def test_a_description_survives_json() -> None:
    for intercept in (0.0, 2.0):
        found = recalibrate(*drawn(200, 1.0, intercept), slope=1.0).description
        again = json.loads(json.dumps(found))
        strengths = np.linspace(-3, 3, 20)
        np.testing.assert_array_equal(apply(again, strengths), apply(found, strengths))


def test_the_same_verdicts_give_the_same_curve() -> None:
    case = drawn(120, 1.0, 0.5)
    assert recalibrate(*case, slope=1.0) == recalibrate(*case, slope=1.0)


def test_a_few_verdicts_are_refused() -> None:
    with pytest.raises(NotEnoughVerdicts, match="at least 30 verdicts; there are 29"):
        recalibrate(*drawn(29, 1.0, 0.0), slope=1.0)


@pytest.mark.parametrize(("right", "kind"), [(True, "right"), (False, "wrong")])
def test_verdicts_of_one_kind_are_refused(right: bool, kind: str) -> None:
    with pytest.raises(NotEnoughVerdicts, match=f"All 50 verdicts call their label {kind}"):
        recalibrate(np.arange(50.0), np.full(50, right), np.ones(50), slope=1.0)


# --- reliability


def test_probabilities_that_are_what_happens_have_no_calibration_error() -> None:
    probabilities = np.repeat([0.25, 0.75], 40)
    right = np.concatenate([np.arange(40) < 10, np.arange(40) < 30])
    assert recalibration.calibration_error(probabilities, right, np.ones(80)) == pytest.approx(0.0)
    low, high = recalibration.reliability(probabilities, right, np.ones(80))
    assert (low.predicted, low.right.estimate, low.count) == (0.25, 0.25, 40)
    assert (high.predicted, high.right.estimate) == (0.75, 0.75)


@given(verdicts(), st.integers(0, 9))
def test_the_calibration_error_is_that_of_its_bins(
    case: tuple[Floats, Booleans, Floats], seed: int
) -> None:
    _, right, _ = case
    probabilities = np.random.default_rng(seed).random(len(right))
    bins = recalibration.reliability(probabilities, right, np.ones(len(right)))
    gaps = sum(one.count * abs(one.predicted - one.right.estimate) for one in bins) / len(right)
    error = recalibration.calibration_error(probabilities, right, np.ones(len(right)))
    assert error == pytest.approx(gaps)
    assert sum(one.count for one in bins) == len(right)


def test_unequal_weights_widen_the_intervals_of_a_bin() -> None:
    probabilities, right = np.full(100, 0.55), np.arange(100) % 2 == 0
    equal = recalibration.reliability(probabilities, right, np.ones(100))[0]
    weights = np.where(np.arange(100) % 10 < 2, 10.0, 1.0)
    unequal = recalibration.reliability(probabilities, right, weights)[0]
    assert unequal.right.half_width > 1.3 * equal.right.half_width


def test_a_sure_mistake_costs_much_but_not_everything() -> None:
    found = recalibration.loss(np.array([1.0, 1.0]), np.array([True, False]), np.ones(2))
    assert 1.0 < found.log_loss < 10.0
    assert found.brier == 0.5
