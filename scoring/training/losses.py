"""Losses of reward models on margins, and the derivatives that a Newton step needs. Margins are
for the label."""

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
