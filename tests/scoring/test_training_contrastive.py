"""Contrastive losses: the values of their formulas, views that differ, and what they do to
features."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import dropout, normalize

from scoring.core.recipes import (
    DIFFERENCES,
    GOALS,
    PAIRS,
    SIMCSE,
    SWAV,
    BadRecipe,
    Contrastive,
    parse,
)
from scoring.training import contrastive


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views(features: Tensor, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return dropout(features, share), dropout(features, share)


def test_simcse_of_two_samples_is_what_one_computes_by_hand() -> None:
    first = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    second = torch.tensor([[5.0, 0.0], [1.0, 1.0]])
    # cosines: [1, 1/sqrt 2], [0, 1/sqrt 2]; temperature 1/2 doubles them
    root = 2.0 / math.sqrt(2.0)
    one = math.log(math.exp(2.0) + math.exp(root)) - 2.0
    other = math.log(math.exp(0.0) + math.exp(root)) - root
    found = contrastive.simcse(first, second, 0.5)
    assert float(found) == pytest.approx((one + other) / 2.0)


def test_swav_with_one_sample_a_prototype_is_what_one_computes_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    prototypes = 7.0 * first
    # assignments by exp(1 / sharpness) against exp(0): the prototype of one's own, but for a hair
    hair = math.exp(-1.0 / contrastive.SHARPNESS) / (1.0 + math.exp(-1.0 / contrastive.SHARPNESS))
    log_own = -math.log(1.0 + math.exp(-1.0 / 0.1))
    log_other = log_own - 1.0 / 0.1
    expected = -2.0 * ((1.0 - hair) * log_own + hair * log_other)
    assert float(contrastive.swav(first, 3.0 * first, prototypes, 0.1)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_shared_out_whole_and_not_all_to_one_prototype(seed: int) -> None:
    prototypes = normalize(normal(5, 8, seed=seed), dim=-1)
    alike = normalize(prototypes[0] + 0.1 * normal(64, 8, seed=seed + 10), dim=-1)
    shares = contrastive.assignment(alike @ prototypes.T)
    torch.testing.assert_close(shares.sum(-1), torch.ones(64, dtype=torch.float64))
    nearest = torch.softmax(alike @ prototypes.T / contrastive.SHARPNESS, dim=-1)
    assert float(nearest.sum(0)[0]) > 60
    assert float(shares.sum(0).max()) < 30


def test_no_gradient_flows_through_an_assignment() -> None:
    first, second = normal(6, 4), normal(6, 4, seed=1).requires_grad_()
    prototypes = normal(3, 4, seed=2)
    scores = normalize(first, dim=-1) @ normalize(prototypes, dim=-1).T
    foretold = normalize(second, dim=-1) @ normalize(prototypes, dim=-1).T
    q_first, q_second = contrastive.assignment(scores), contrastive.assignment(foretold).detach()
    by_hand = -(q_first * torch.log_softmax(foretold / 0.1, -1)).sum(-1).mean()
    by_hand = by_hand - (q_second * torch.log_softmax(scores / 0.1, -1)).sum(-1).mean()
    (expected,) = torch.autograd.grad(by_hand, second)
    (found,) = torch.autograd.grad(contrastive.swav(first, second, prototypes, 0.1), second)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", [SIMCSE, SWAV])
def test_members_are_problems_of_their_own_and_absent_samples_count_for_nothing(
    method: str,
) -> None:
    recipe = Contrastive(method=method, temperature=0.1)
    first, second, prototypes = normal(3, 8, 5), normal(3, 8, 5, seed=1), normal(3, 4, 5, seed=2)
    counted = torch.ones(3, 8, dtype=torch.bool)
    counted[1, 5:] = False
    found = contrastive.between_views(recipe, first, second, prototypes=prototypes, counted=counted)
    for member, there in enumerate([8, 5, 8]):
        alone = contrastive.between_views(
            recipe, first[member, :there], second[member, :there], prototypes=prototypes[member]
        )
        torch.testing.assert_close(found[member], alone)


@pytest.mark.parametrize("method", [SIMCSE, SWAV])
def test_a_batch_of_nothing_has_a_loss_of_0_and_gradients_that_are_numbers(method: str) -> None:
    recipe = Contrastive(method=method, temperature=0.05)
    first = normal(4, 3).requires_grad_()
    found = contrastive.between_views(
        recipe,
        first,
        normal(4, 3, seed=1),
        prototypes=normal(2, 3),
        counted=torch.zeros(4, dtype=torch.bool),
    )
    found.backward()
    assert float(found.detach()) == 0.0
    assert first.grad is not None
    assert bool(torch.isfinite(first.grad).all())


def test_two_views_differ_with_dropout_and_are_the_same_without() -> None:
    features = normal(16, 8)
    one, other = views(features, 0.05)
    assert not torch.equal(one, other)
    assert torch.equal(*views(features, 0.0))


@pytest.mark.parametrize("method", [SIMCSE, SWAV])
@pytest.mark.parametrize("kind", ["hidden", "full"])
def test_a_recipe_whose_views_would_be_the_same_is_refused(method: str, kind: str) -> None:
    model = {"kind": kind, "dropout": 0.0} | ({"base": "folder"} if kind == "full" else {})
    with pytest.raises(BadRecipe, match="both views of a text are the same"):
        parse({"name": "no-op", "model": model, "contrastive": {"method": method}})


def test_differences_are_contrasted_both_ways_round_and_pairs_one_by_one() -> None:
    preferred, other = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    differences = contrastive.samples(preferred, other, DIFFERENCES)
    torch.testing.assert_close(differences[:, :3], -differences[:, 3:])
    responses = contrastive.samples(preferred, other, PAIRS)
    assert torch.equal(responses[:, :3], preferred)
    assert torch.equal(responses[:, 3:], other)


@pytest.mark.parametrize("method", [SIMCSE, SWAV])
def test_what_follows_the_gradient_lowers_its_own_loss(method: str) -> None:
    recipe = Contrastive(method=method, temperature=0.1, prototypes=4)
    weights, prototypes = normal(6, 6).requires_grad_(), normal(4, 6, seed=2).requires_grad_()
    inputs = normal(32, 6, seed=1)

    def loss(seed: int) -> Tensor:
        first, second = views(inputs @ weights, 0.2, seed)
        return contrastive.between_views(recipe, first, second, prototypes=prototypes)

    optimiser = torch.optim.Adam([weights, prototypes], lr=0.02)
    before = float(loss(99).detach())
    for step in range(60):
        optimiser.zero_grad()
        loss(step).backward()
        optimiser.step()
    assert float(loss(99).detach()) < 0.9 * before


def test_a_method_without_what_it_needs_is_no_loss_between_views() -> None:
    for recipe in (Contrastive(method=GOALS), Contrastive(method=SWAV)):
        with pytest.raises(ValueError, match="no loss between two views"):
            contrastive.between_views(recipe, normal(2, 2), normal(2, 2))


def test_a_goal_of_the_preferred_response_draws_and_one_of_the_other_repels() -> None:
    # of the preferred response tokens 1 and 2 are there: 1 is the source and 2 the goal
    preferred = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [2.0, 0.0], [9.0, 9.0]]])
    other = torch.tensor([[[9.0, 9.0], [0.0, 5.0]]])
    found = contrastive.goals(
        preferred,
        other,
        torch.tensor([[False, True, True, False]]),
        torch.tensor([[False, True]]),
        0.5,
    )
    expected = math.log(1.0 + math.exp(-2.0)) + math.log(2.0)  # cosines 1 and 0
    assert float(found) == pytest.approx(expected)


def test_sources_come_before_their_goals_and_pairs_without_any_do_not_count() -> None:
    tokens = 6
    preferred = torch.eye(tokens).repeat(3, 1, 1).requires_grad_()
    there = torch.ones(3, tokens, dtype=torch.bool)
    there[1, 1:] = False  # one token only: nothing comes later
    other_there = torch.ones(3, tokens, dtype=torch.bool)
    other_there[2] = False  # an empty answer
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        (slopes,) = torch.autograd.grad(
            contrastive.goals(
                preferred,
                torch.ones(3, tokens, tokens),
                there,
                other_there,
                1.0,
                generator=generator,
            ),
            preferred,
        )
        moved = slopes.abs().sum(-1) > 0
        assert moved[0].sum() == 2
        assert not moved[1:].any()
    nothing = contrastive.goals(preferred[1:2], preferred[:1], there[1:2], there[:1], 1.0)
    assert float(nothing.detach()) == 0.0
