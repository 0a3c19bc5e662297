"""Contrastive losses on features, beside the loss on rewards (arXiv 2401.06080, section 3.1).

    L = L_rm + weight L_contrastive

Both views are features of the same responses, seen twice through dropout. Features are (..., n,
d): whatever stands before, members for instance, is one contrastive problem each, and so are the
losses, (...). `counted` (..., n) are the samples that are there, where a batch is filled up.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from scoring.core.recipes import DIFFERENCES, SIMCSE, SWAV, Contrastive

SHARPNESS = 0.05  # of the assignment to prototypes, as SwAV has it
ROUNDS = 3  # of Sinkhorn's algorithm, as SwAV has them
LEAST = 1e-12


def samples(preferred: Tensor, other: Tensor, on: str) -> Tensor:
    """What is contrasted of n pairs' features (..., n, d), (..., 2 n, d): the responses themselves,
    or their differences, both ways round."""
    if on == DIFFERENCES:
        return torch.cat([preferred - other, other - preferred], dim=-2)
    return torch.cat([preferred, other], dim=-2)


def between_views(
    recipe: Contrastive,
    first: Tensor,
    second: Tensor,
    *,
    prototypes: Tensor | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """The recipe's loss between two views (..., n, d) of the same samples; `prototypes` (..., k, d)
    are needed by SwAV and learnt with the rest."""
    if recipe.method == SIMCSE:
        return simcse(first, second, recipe.temperature, counted=counted)
    if recipe.method == SWAV and prototypes is not None:
        return swav(first, second, prototypes, recipe.temperature, counted=counted)
    raise ValueError(f"{recipe.method} is no loss between two views, or lacks its prototypes")


def simcse(
    first: Tensor, second: Tensor, temperature: float, *, counted: Tensor | None = None
) -> Tensor:
    """-log of the share that a sample's own second view has among the second views of all, by
    exp(cosine / temperature); the mean over samples."""
    similarities = normalize(first, dim=-1) @ normalize(second, dim=-1).transpose(-1, -2)
    logits = similarities / temperature
    if counted is not None:
        logits = logits.masked_fill(~counted[..., None, :], torch.finfo(logits.dtype).min)
    own = logits.diagonal(dim1=-2, dim2=-1)
    return _mean(torch.logsumexp(logits, dim=-1) - own, counted)


def swav(
    first: Tensor,
    second: Tensor,
    prototypes: Tensor,
    temperature: float,
    *,
    counted: Tensor | None = None,
) -> Tensor:
    """Each view foretells to which prototypes the other is assigned: l(first, q of second) +
    l(second, q of first), l(h, q) = -sum_k q_k log softmax_k(h . c_k / temperature); the mean over
    samples. Features and prototypes are brought to unit length; no gradient flows through q."""
    directions = normalize(prototypes, dim=-1).transpose(-1, -2)
    scores = [normalize(view, dim=-1) @ directions for view in (first, second)]
    with torch.no_grad():
        assigned = [assignment(of, counted=counted) for of in scores]
    foretold = [torch.log_softmax(of / temperature, dim=-1) for of in scores]
    losses = -(assigned[1] * foretold[0]).sum(-1) - (assigned[0] * foretold[1]).sum(-1)
    return _mean(losses, counted)


def assignment(scores: Tensor, *, counted: Tensor | None = None) -> Tensor:
    """Shares (..., n, k) of samples in prototypes, by scores (..., n, k): each sample's add up to
    1, and the prototypes get about equally much (Sinkhorn's algorithm, as SwAV runs it)."""
    highest = scores.amax(dim=(-2, -1), keepdim=True)
    shares = torch.exp((scores - highest) / SHARPNESS)
    if counted is not None:
        shares = shares * counted[..., None]
    for _ in range(ROUNDS):
        shares = shares / shares.sum(-2, keepdim=True).clamp_min(LEAST)
        shares = shares / shares.sum(-1, keepdim=True).clamp_min(LEAST)
    return shares


def goals(
    preferred: Tensor,
    other: Tensor,
    preferred_there: Tensor,
    other_there: Tensor,
    temperature: float,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The goal-conditioned loss of a decoder's token states (arXiv 2407.13887, from its abstract).

    States (batch, tokens, d) of both responses, and which tokens belong to a response, (batch,
    tokens). Of each pair one token of the preferred response is drawn as source, a later one of it
    as the goal to come near, and a token of the other response as the goal to keep away from:

        -log sigmoid(cos(source, near) / temperature) - log sigmoid(-cos(source, far) / temperature)

    The mean over pairs; a pair whose preferred response has no later token, or whose other has
    none, does not count. 0 where no pair counts.
    """
    usable = (preferred_there.sum(1) >= 2) & other_there.any(1)
    if not bool(usable.any()):
        return preferred.sum() * 0.0
    preferred, preferred_there = preferred[usable], preferred_there[usable]
    other, other_there = other[usable], other_there[usable]
    places = torch.arange(preferred.shape[1], device=preferred.device)
    last = torch.where(preferred_there, places, -1).amax(1)
    source = _drawn(preferred_there & (places < last[:, None]), generator)
    near = _drawn(preferred_there & (places > source[:, None]), generator)
    far = _drawn(other_there, generator)
    rows = torch.arange(len(source), device=preferred.device)
    states = normalize(preferred[rows, source], dim=-1)
    attraction = (states * normalize(preferred[rows, near], dim=-1)).sum(-1)
    repulsion = (states * normalize(other[rows, far], dim=-1)).sum(-1)
    return (-logsigmoid(attraction / temperature) - logsigmoid(-repulsion / temperature)).mean()


def _drawn(choices: Tensor, generator: torch.Generator | None) -> Tensor:
    """One of each row's choices, (rows, n) -> (rows,); every row has one."""
    # drawn where the generator lives, so that the same seed draws the same on every device
    device = "cpu" if generator is None else generator.device
    chances = torch.rand(choices.shape, generator=generator, device=device).to(choices.device)
    return chances.masked_fill(~choices, -1.0).argmax(1)


def _mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """(..., n) -> (...,)"""
    if counted is None:
        return values.mean(-1)
    return (values * counted).sum(-1) / counted.sum(-1).clamp_min(1)
