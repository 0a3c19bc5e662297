"""Losses of reward models, and the derivatives that a Newton step needs.

`margins` are reward of the preferred response minus the other's, D = r(x, y_c) - r(x, y_r), any
shape. A pair's target (scoring.core.targets) says how probable it is that the label is right, p,
which margin m is asked for inside the sigmoid, and what the pair weighs. A flip changes the sign of
D and of m alike. Every loss is plain Bradley-Terry for p = 1, m = 0, noise = 0.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry(margins: Tensor) -> Tensor:
    """-log sigmoid(margin), elementwise; logsigmoid, because log(sigmoid(x)) overflows (arXiv
    2401.06080, eq. 2)."""
    return -logsigmoid(margins)


def bradley_terry_slope(margins: Tensor) -> Tensor:
    """The derivative of the loss by the margin, elementwise: -sigmoid(-margin)."""
    return -torch.sigmoid(-margins)


def bradley_terry_curvature(margins: Tensor) -> Tensor:
    """The second derivative, elementwise: sigmoid(margin) sigmoid(-margin), between 0 and 1/4."""
    probability = torch.sigmoid(margins)
    return probability * (1.0 - probability)


def soft(margins: Tensor, probability: Tensor, margin: Tensor) -> Tensor:
    """-p log sigmoid(D - m) - (1 - p) log sigmoid(m - D), elementwise.

    Label smoothing with alpha is p = 1 - alpha, a soft label any p, the adaptive margin any m
    (arXiv 2401.06080, eq. 5 and 6, with the margin inside the sigmoid).
    """
    gap = margins - margin
    return -probability * logsigmoid(gap) - (1.0 - probability) * logsigmoid(-gap)


def soft_slope(margins: Tensor, probability: Tensor, margin: Tensor) -> Tensor:
    """The derivative of `soft` by the margins: sigmoid(D - m) - p."""
    return torch.sigmoid(margins - margin) - probability


def soft_curvature(margins: Tensor, probability: Tensor, margin: Tensor) -> Tensor:
    """The second derivative of `soft`, elementwise; p does not matter to it."""
    return bradley_terry_curvature(margins - margin)


def unbiased(margins: Tensor, noise: float, probability: Tensor, margin: Tensor) -> Tensor:
    """[(1 - e) l(D) - e l(-D)] / (1 - 2 e) with l = `soft`: its mean over uniformly flipped labels
    is the mean of l over right ones (rDPO, arXiv 2403.00409; e in [0, 1/2))."""
    straight = soft(margins, probability, margin)
    swapped = soft(margins, 1.0 - probability, margin)
    return ((1.0 - noise) * straight - noise * swapped) / (1.0 - 2.0 * noise)


def unbiased_slope(margins: Tensor, noise: float, probability: Tensor, margin: Tensor) -> Tensor:
    """The derivative of `unbiased` by the margins."""
    straight = soft_slope(margins, probability, margin)
    swapped = soft_slope(margins, 1.0 - probability, margin)
    return ((1.0 - noise) * straight - noise * swapped) / (1.0 - 2.0 * noise)


def robust(losses: Tensor, beta: float, weights: Tensor) -> Tensor:
    """-beta log of the weighted mean of exp(-loss / beta): pairs that fit worst count least
    (Dr. DPO, arXiv 2407.07880). Its limit for large beta is the weighted mean. `losses` and
    `weights` (n, ...), reduced over the first dimension."""
    shares = weights / weights.sum(0).clamp_min(1e-12)
    return -beta * torch.logsumexp(torch.log(shares.clamp_min(1e-30)) - losses / beta, dim=0)


def robust_weights(losses: Tensor, beta: float, weights: Tensor) -> Tensor:
    """How much each pair counts in the gradient of `robust`, (n, ...) with the sum of `weights`
    over the first dimension."""
    shares = torch.softmax(torch.log(weights.clamp_min(1e-30)) - losses / beta, dim=0)
    return shares * weights.sum(0)


def centring(preferred: Tensor, other: Tensor) -> Tensor:
    """(r_c + r_r)^2, elementwise: rewards whose sums stay near 0 cannot inflate (TRL's
    `center_rewards_coefficient`)."""
    return (preferred + other).square()
