"""The losses and their derivatives, against autograd, finite differences and plain formulas."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scoring.training import losses

MARGINS = torch.linspace(-30.0, 30.0, 241, dtype=torch.float64)


def test_the_loss_is_minus_the_logarithm_of_the_labels_probability() -> None:
    for margin in (-3.0, 0.0, 0.5, 4.0):
        expected = -math.log(1.0 / (1.0 + math.exp(-margin)))
        found = losses.bradley_terry(torch.tensor(margin, dtype=torch.float64))
        assert float(found) == pytest.approx(expected)


def test_the_slope_is_the_derivative_of_the_loss() -> None:
    margins = MARGINS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(losses.bradley_terry(margins).sum(), margins)
    torch.testing.assert_close(losses.bradley_terry_slope(MARGINS), expected)


def test_the_curvature_is_the_derivative_of_the_slope() -> None:
    margins = MARGINS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(losses.bradley_terry_slope(margins).sum(), margins)
    torch.testing.assert_close(losses.bradley_terry_curvature(MARGINS), expected)


def test_slope_and_curvature_are_differences_of_the_loss() -> None:
    step = 1e-4
    before, here, after = (losses.bradley_terry(MARGINS + move) for move in (-step, 0.0, step))
    torch.testing.assert_close(
        losses.bradley_terry_slope(MARGINS), (after - before) / (2 * step), atol=1e-6, rtol=0.0
    )
    torch.testing.assert_close(
        losses.bradley_terry_curvature(MARGINS),
        (after - 2 * here + before) / step**2,
        atol=1e-5,
        rtol=0.0,
    )


def test_the_curvature_lies_between_0_and_a_quarter() -> None:
    found = losses.bradley_terry_curvature(MARGINS)
    assert float(found.min()) >= 0.0
    assert float(found.max()) == pytest.approx(0.25)


@pytest.mark.parametrize("margin", [-1e4, 1e4])
def test_hopeless_margins_stay_finite_in_single_precision(margin: float) -> None:
    of = torch.tensor([margin], dtype=torch.float32)
    for figure in (
        losses.bradley_terry,
        losses.bradley_terry_slope,
        losses.bradley_terry_curvature,
    ):
        assert bool(torch.isfinite(figure(of)).all())
    assert float(losses.bradley_terry(of)) == max(-margin, 0.0)


# --- Losses of targets ----------------------------------------------------------------------------

doubles = st.floats(-20.0, 20.0)
shares = st.floats(0.0, 1.0)
noises = st.floats(0.0, 0.45)


def of(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def slope_by_differences(loss: Callable[[Tensor], Tensor], at: float, step: float = 1e-5) -> float:
    return float(loss(of(at + step)) - loss(of(at - step))) / (2 * step)


@given(doubles)
def test_a_hard_label_without_margin_and_noise_is_plain(margin: float) -> None:
    plain, one, nothing = losses.bradley_terry(of(margin)), of(1.0), of(0.0)
    torch.testing.assert_close(losses.soft(of(margin), one, nothing), plain)
    torch.testing.assert_close(losses.unbiased(of(margin), 0.0, one, nothing), plain)


@given(doubles, doubles, shares)
def test_a_flip_changes_the_sign_of_both_margins(d: float, m: float, p: float) -> None:
    """The loss of a flipped label at (d, m) is that of the label as it was at (-d, -m): -d is its
    own margin, and -m the strength that is asked of it."""
    flipped = losses.soft(of(-d), of(p), of(-m))
    by_hand = -p * math.log(1.0 / (1.0 + math.exp(d - m))) - (1.0 - p) * math.log(
        1.0 / (1.0 + math.exp(m - d))
    )
    assert float(flipped) == pytest.approx(by_hand, abs=1e-9)
    torch.testing.assert_close(flipped, losses.soft(of(d), of(1.0 - p), of(m)))


@given(doubles, doubles, shares)
def test_slope_and_curvature_of_soft_labels_are_differences(d: float, m: float, p: float) -> None:
    slope = slope_by_differences(lambda at: losses.soft(at, of(p), of(m)), d)
    assert float(losses.soft_slope(of(d), of(p), of(m))) == pytest.approx(slope, abs=1e-6)
    bend = slope_by_differences(lambda at: losses.soft_slope(at, of(p), of(m)), d)
    assert float(losses.soft_curvature(of(d), of(p), of(m))) == pytest.approx(bend, abs=1e-6)


@given(doubles, doubles, shares, noises)
def test_the_slope_of_the_unbiased_loss_is_its_difference(
    d: float, m: float, p: float, noise: float
) -> None:
    slope = slope_by_differences(lambda at: losses.unbiased(at, noise, of(p), of(m)), d)
    found = float(losses.unbiased_slope(of(d), noise, of(p), of(m)))
    assert found == pytest.approx(slope, abs=1e-5)


@given(doubles)
def test_a_label_that_may_as_well_be_wrong_pulls_the_margin_to_what_is_asked(m: float) -> None:
    assert float(losses.soft_slope(of(m), of(0.5), of(m))) == pytest.approx(0.0, abs=1e-12)


@given(doubles, doubles, noises)
def test_the_unbiased_loss_is_the_plain_one_in_the_mean_over_flips(
    d: float, m: float, noise: float
) -> None:
    right = losses.unbiased(of(d), noise, of(1.0), of(m))
    flipped = losses.unbiased(of(-d), noise, of(1.0), of(-m))
    mean = (1.0 - noise) * right + noise * flipped
    torch.testing.assert_close(mean, losses.soft(of(d), of(1.0), of(m)), atol=1e-8, rtol=1e-8)


@given(st.lists(doubles, min_size=2, max_size=8), st.floats(0.2, 10.0), st.integers(0, 2**16))
def test_robust_weights_are_the_gradient_of_the_robust_loss(
    margins: list[float], beta: float, seed: int
) -> None:
    each = losses.bradley_terry(torch.tensor(margins, dtype=torch.float64))
    weights = torch.rand(
        len(margins), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    weights += 0.05
    asked = each.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses.robust(asked, beta, weights) * weights.sum(), asked)
    torch.testing.assert_close(losses.robust_weights(each, beta, weights), gradient)


@given(st.lists(doubles, min_size=2, max_size=8))
def test_the_robust_loss_with_a_large_beta_is_the_mean(margins: list[float]) -> None:
    each = losses.bradley_terry(torch.tensor(margins, dtype=torch.float64))
    weights = torch.ones_like(each)
    found = losses.robust(each, 1e7, weights)
    torch.testing.assert_close(found, each.mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        losses.robust_weights(each, 1e7, weights), weights, atol=1e-4, rtol=1e-4
    )


def test_pairs_that_fit_worst_count_least_in_the_robust_loss() -> None:
    each = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    found = losses.robust_weights(each, 1.0, torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64))
    assert found.tolist() == sorted(found.tolist(), reverse=True)
    left_out = losses.robust_weights(each, 1.0, torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))
    assert float(left_out[0]) == pytest.approx(0.0, abs=1e-12)


@given(doubles, doubles)
def test_rewards_around_0_are_not_pulled(a: float, b: float) -> None:
    assert float(losses.centring(of(a), of(-a))) == 0.0
    assert float(losses.centring(of(a), of(b))) == pytest.approx((a + b) ** 2)
