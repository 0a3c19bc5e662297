"""The loss and its derivatives, against autograd and against plain formulas."""

import math

import pytest
import torch

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
