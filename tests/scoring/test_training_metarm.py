"""MetaRM: the difference loss and its range, one step by hand, and no step at all."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scoring.training import losses
from scoring.training.metarm import ascended, difference_loss


@given(
    st.lists(st.floats(-50.0, 50.0, allow_nan=False), min_size=2, max_size=8),
    st.floats(-10.0, 10.0, allow_nan=False),
)
def test_the_difference_loss_lies_in_its_range_whatever_is_added_to_all_scores(
    scores: list[float], more: float
) -> None:
    count = len(scores)
    of = torch.tensor(scores, dtype=torch.float64)
    found = float(difference_loss(of))
    assert (count - 1) / (2 * count) - 1e-12 <= found <= (count - 1) / count + 1e-12
    assert float(difference_loss(of + more)) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_the_difference_loss_is_least_for_equal_scores_and_nears_its_top_for_distant_ones(
    count: int,
) -> None:
    assert float(difference_loss(torch.full((count,), 3.0))) == pytest.approx(
        (count - 1) / (2 * count)
    )
    distant = 1000.0 * torch.arange(count)
    assert float(difference_loss(distant)) == pytest.approx((count - 1) / count)


def test_the_difference_loss_is_its_formula() -> None:
    scores = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]], dtype=torch.float64)

    def sigmoid(x: float) -> float:
        return 1.0 / (1.0 + math.exp(-x))

    found = difference_loss(scores)
    assert float(found[0]) == pytest.approx(2.0 / 9.0 * (sigmoid(1) + sigmoid(3) + sigmoid(2)))
    assert float(found[1]) == pytest.approx(1.0 / 3.0)


def test_one_step_is_the_one_that_one_computes_by_hand() -> None:
    """One weight w, reward w x: two sampled responses x = 0 and 1, one pair with a difference
    of 2."""
    w, step, rate = 0.3, 0.5, 0.1
    sigmoid = 1.0 / (1.0 + math.exp(-w))
    raised = w + step * 0.5 * sigmoid * (1.0 - sigmoid)  # J = 2/4 sigmoid(|w|)
    slope = -2.0 / (1.0 + math.exp(2.0 * raised))  # of -log sigmoid(2 w) at the raised weight
    expected = w - rate * slope

    weight = torch.tensor(w, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=rate)
    sampled = difference_loss(weight * torch.tensor([0.0, 1.0], dtype=torch.float64))
    with ascended([weight], sampled, step):
        assert float(weight.detach()) == pytest.approx(raised)
        losses.bradley_terry(2.0 * weight).backward()
    assert float(weight.detach()) == w
    optimiser.step()
    assert float(weight.detach()) == pytest.approx(expected)


def trained(step: float | None) -> Tensor:
    """A small linear model after some steps, with the ascent's length, or without MetaRM."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.zeros(4, requires_grad=True)
    pairs = torch.randn(32, 4, generator=generator)
    sampled = torch.randn(5, 3, 4, generator=generator)
    optimiser = torch.optim.AdamW([weights], lr=0.1)
    for _ in range(10):
        optimiser.zero_grad()
        if step is None:
            losses.bradley_terry(pairs @ weights).mean().backward()
        else:
            with ascended([weights], difference_loss(sampled @ weights).mean(), step):
                losses.bradley_terry(pairs @ weights).mean().backward()
        optimiser.step()
    return weights.detach()


def test_an_ascent_of_no_length_is_plain_training_to_the_bit() -> None:
    assert torch.equal(trained(0.0), trained(None))
    assert not torch.equal(trained(0.5), trained(None))


def test_an_ascent_spreads_the_scores_and_leaves_what_it_does_not_depend_on() -> None:
    weights = torch.tensor([0.2, -0.1], requires_grad=True)
    aside = torch.ones(3, requires_grad=True)
    sampled = torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(1))
    before = difference_loss(sampled @ weights).mean()
    with ascended([weights, aside], before, 1.0):
        assert bool(difference_loss(sampled @ weights).mean() > before)
        assert torch.equal(aside, torch.ones(3))
    assert torch.equal(weights, torch.tensor([0.2, -0.1]))


def test_weights_come_back_where_the_loss_cannot_be_computed() -> None:
    weights = torch.ones(2, requires_grad=True)
    objective = difference_loss(weights * torch.tensor([1.0, 2.0]))
    with pytest.raises(ZeroDivisionError), ascended([weights], objective, 0.1):
        raise ZeroDivisionError
    assert torch.equal(weights, torch.ones(2))
