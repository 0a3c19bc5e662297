"""MetaRM: every step is taken where the scores of sampled responses are spread first (arXiv
2401.06080, section 3.2).

Algorithm 1 of the paper, for any parameters that know their gradients:

    theta' = theta + step grad J(theta)      ascent, on responses of the shifted policy
    theta <- theta - rate grad L(theta')     descent, on pairs, from where theta was

First order: no derivative of the ascent is taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def difference_loss(scores: Tensor) -> Tensor:
    """J = (2 / k^2) sum over i < j of sigmoid(|r_i - r_j|), for scores (..., k) of the k responses
    to a prompt, (...): (k - 1) / (2 k) where all are equal, below (k - 1) / k however far apart."""
    count = scores.shape[-1]
    first, second = torch.triu_indices(count, count, offset=1, device=scores.device)
    apart = (scores[..., first] - scores[..., second]).abs()
    return torch.sigmoid(apart).sum(-1) * (2.0 / count**2)


@contextmanager
def ascended(parameters: Sequence[Tensor], objective: Tensor, step: float) -> Iterator[None]:
    """Inside, the parameters stand `step` times the gradient of the objective further up; outside,
    where they stood, to the bit.

        with ascended(parameters, difference_loss(scores).mean(), step):
            loss().backward()
        optimiser.step()

    The objective is a scalar (a sum over members, where each has parameters of its own); what it
    does not depend on stays. Gradients that are gathered inside are those at the raised parameters.
    """
    if step == 0.0:
        yield
        return
    slopes = torch.autograd.grad(objective, list(parameters), allow_unused=True)
    moved = [
        (parameter, parameter.detach().clone(), slope)
        for parameter, slope in zip(parameters, slopes, strict=True)
        if slope is not None
    ]
    with torch.no_grad():
        for parameter, _, slope in moved:
            parameter.add_(slope, alpha=step)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before, _ in moved:
                parameter.copy_(before)
