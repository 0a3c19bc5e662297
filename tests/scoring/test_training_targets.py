"""Linear heads on targets: what the solver finds is what a general optimiser finds, and each
reduction is the plain training to the last bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import LEAST_BETA, Loss
from scoring.core.targets import Targets
from scoring.training import heads, losses
from scoring.training.diverging import Diverged
from scoring.training.heads import PENALTIES, Trained
from scoring.training.teaching import teach
from tests.scoring.test_training_heads import Made, out_of_bag_accuracy, weights

Doubles = npt.NDArray[np.float64]

COUNT = 400


def of(made: Made, **parts: Doubles) -> Targets:
    ones, zeros = np.ones(len(made.pairs.labels)), np.zeros(len(made.pairs.labels))
    told: dict[str, Any] = {"probability": ones, "margin": zeros, "weight": ones, **parts}
    direction = told.pop("direction", made.pairs.labels.astype(np.float64))
    return Targets(direction=direction, flipped=direction != made.pairs.labels, **told)


def train(made: Made, targets: Targets | None, loss: Loss | None = None) -> Trained:
    pairs = replace(made.pairs, targets=targets)
    return heads.train(pairs, made.bag, space=made.space, slices=made.slices, loss=loss)


def some(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


CASES: dict[str, tuple[dict[str, Doubles], Loss]] = {
    "soft": ({"probability": np.where(some().random(COUNT) < 0.5, 0.6, 1.0)}, Loss()),
    "margins": ({"margin": 2.0 * some().normal(size=COUNT)}, Loss()),
    "weights": ({"weight": some().integers(0, 4, COUNT).astype(np.float64)}, Loss()),
    "unbiased": ({}, Loss("unbiased", noise=0.2)),
    "robust": ({}, Loss("robust", beta=1.0)),
}


def objective(
    flat: Doubles, made: Made, targets: Targets, loss: Loss, ridge: float
) -> tuple[float, Doubles]:
    """The penalised loss of the first member in double precision, and its gradient."""
    design = heads._Design(made.pairs, made.pairs.codes[:, :0])
    point = torch.tensor(flat, requires_grad=True)
    w, u = point[: design.x.shape[1]], point[design.x.shape[1] :]
    effects = torch.cat([u, torch.zeros(1, dtype=torch.float64)])
    f = design.x.double() @ w + design.gain * (effects[design.a] - effects[design.b])
    weight, p, m = (
        torch.from_numpy(values)
        for values in (targets.weight * made.bag[:, 0], targets.probability, targets.margin)
    )
    total = _total(torch.from_numpy(targets.direction) * f, p, m, weight, loss)
    total = total + ridge / 2 * point.square().sum()
    total.backward()
    assert point.grad is not None
    return float(total.detach()), point.grad.numpy()


def _total(towards: Tensor, p: Tensor, m: Tensor, weight: Tensor, loss: Loss) -> Tensor:
    if loss.name == "robust":
        each = losses.soft(towards, p, m)
        return losses.robust(each, loss.beta, weight) * weight.sum()
    noise = loss.noise if loss.name == "unbiased" else 0.0
    return (weight * losses.unbiased(towards, noise, p, m)).sum()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("penalty", [0, 3, 5])
def test_the_solution_is_the_one_that_the_loss_names(case: str, penalty: int) -> None:
    made = Made(COUNT, noise=0.1, repeated=20)
    parts, loss = CASES[case]
    targets = of(made, **parts)
    goal = heads._Goal.of(replace(made.pairs, targets=targets), made.bag, loss)
    solution = heads._solve(made.pairs, made.pairs.codes[:, :0], goal, lambda step: None)[penalty]
    design = heads._Design(made.pairs, made.pairs.codes[:, :0])
    gram = float(design.squares.double() @ torch.from_numpy(targets.weight * made.bag[:, 0]))
    ridge = gram / design.x.shape[1] * PENALTIES[penalty] / 4.0
    arguments: Any = (made, targets, loss, ridge)
    start = np.zeros(design.x.shape[1] + design.compared)
    best = minimize(objective, start, arguments, jac=True, method="L-BFGS-B", tol=1e-12)
    found = np.concatenate(
        [solution.weights[0, :, 0].numpy(), solution.effects[:-1, 0].numpy()]
    ).astype(np.float64)
    assert objective(found, *arguments)[0] == pytest.approx(best.fun, rel=1e-5)
    assert np.linalg.norm(found - best.x) < 0.02 * np.linalg.norm(best.x)


def test_plain_targets_give_the_heads_of_the_labels() -> None:
    made = Made(300, noise=0.2, repeated=10)
    plain, told = train(made, None), train(made, of(made))
    assert (weights(plain) == weights(told)).all()
    assert (plain.margins == told.margins).all()
    assert (plain.loss, plain.penalty) == (told.loss, told.penalty)


def test_the_plain_recipe_gives_the_heads_of_the_labels() -> None:
    made = Made(300, noise=0.2)
    by_recipe = teach(
        made.pairs, made.bag, PRESETS["plain"], space=made.space, slices=made.slices, seed=7
    )
    assert (weights(by_recipe) == weights(made.train())).all()


def test_flipped_targets_give_the_heads_of_flipped_labels_and_margins_of_the_labels() -> None:
    made = Made(300, noise=0.2)
    turned = np.where(some().random(300) < 0.3, -1.0, 1.0)
    labels = (made.pairs.labels * turned).astype(np.float32)
    told = train(made, of(made, direction=labels.astype(np.float64)))
    of_labels = made.train(labels=labels)
    assert (weights(told) == weights(of_labels)).all()
    np.testing.assert_allclose(told.margins, of_labels.margins * turned[:, None])


def test_pairs_that_weigh_nothing_are_as_if_they_lay_outside_every_bag() -> None:
    made = Made(300)
    left_out = some().random(300) < 0.3
    told = train(made, of(made, weight=np.where(left_out, 0.0, 1.0)))
    goals = [
        heads._Goal.of(replace(made.pairs, targets=targets), bag, Loss())
        for targets, bag in (
            (of(made, weight=np.where(left_out, 0.0, 1.0)), made.bag),
            (None, made.bag & ~left_out[:, None]),
        )
    ]
    assert (goals[0].weights == goals[1].weights).all()
    assert np.isfinite(told.margins).all()


def test_weights_count_against_each_other_and_not_against_the_penalty() -> None:
    made = Made(300, noise=0.1)
    once, twice = (train(made, of(made, weight=np.full(300, each))) for each in (1.0, 2.0))
    np.testing.assert_allclose(weights(twice), weights(once), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "loss", [Loss("unbiased", noise=0.0), Loss("robust", beta=1e6)], ids=lambda loss: loss.name
)
def test_losses_without_noise_and_without_doubt_are_the_plain_one(loss: Loss) -> None:
    made = Made(300, noise=0.1)
    plain, told = train(made, None), train(made, None, loss)
    assert plain.penalty == told.penalty
    np.testing.assert_allclose(weights(told), weights(plain), rtol=1e-2, atol=1e-3)


def test_the_robust_loss_minds_planted_flips_less() -> None:
    made = Made(1000)
    planted = some(1).random(1000) < 0.25
    labels = np.where(planted, -made.pairs.labels, made.pairs.labels).astype(np.float32)
    pairs = replace(made.pairs, labels=labels)
    true = made.pairs.labels / labels
    accuracies = []
    for loss in (Loss(), Loss("robust", beta=0.5)):
        found = heads.train(pairs, made.bag, space=made.space, slices=made.slices, loss=loss)
        right = replace(found, margins=(found.margins * true[:, None]).astype(np.float32))
        accuracies.append(out_of_bag_accuracy(made, right))
    assert accuracies[1] > accuracies[0] - 0.01
    assert min(accuracies) > 0.85


@pytest.mark.parametrize("beta", [LEAST_BETA, 0.1])
def test_the_robust_loss_is_solved_down_to_the_least_beta(beta: float) -> None:
    made = Made(300, noise=0.1)
    found = train(made, None, Loss("robust", beta=beta))
    assert bool(np.isfinite(weights(found)).all())
    assert np.isfinite(found.loss)


def test_heads_that_are_no_numbers_are_not_handed_out() -> None:
    made = Made(100)
    with pytest.raises(Diverged, match="no penalty gives the members finite margins"):
        train(made, None, Loss("robust", beta=1e-40))


def test_solutions_are_judged_by_what_the_targets_hold_true() -> None:
    made = Made(200)
    margins = made.train().margins
    surely = heads.out_of_bag_loss(margins, made.bag)
    assert surely == heads.out_of_bag_loss(margins, made.bag, probabilities=np.ones(200))
    halves = heads.out_of_bag_loss(margins, made.bag, probabilities=np.full(200, 0.5))
    assert halves == pytest.approx(np.log(2.0))
    doubtful = heads.out_of_bag_loss(margins, made.bag, probabilities=np.full(200, 0.9))
    assert surely < doubtful < halves
