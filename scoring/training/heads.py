"""Train the heads of an ensemble: penalised Bradley–Terry regression, all members and penalties in
one batched pass.

Each member m minimises, over the pairs of its bag,

    sum_i  -log sigmoid(y_i f_i)  +  (lambda / 8) (|w|^2 + |w_s|^2 + |u|^2),
    f = (x_a - x_b) . (w + sum_s c_s w_s)  +  u_a - u_b

by Newton steps whose linear systems are solved by preconditioned conjugate gradients. `w_s` are
weights of a slice's own, `u` an effect of each response that stands in several pairs. Where targets
say more than labels do, or a recipe names another loss, that loss stands in the sum. There is no
learning rate and no random start: the same pairs, labels and bags give the same heads. The penalty
is what early stopping is elsewhere, and it is chosen as that would be: by the calibrated loss of
the out-of-bag margins. See docs/method.md for what was compared.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scoring.core import calibration, strength
from scoring.core.curves import Point
from scoring.core.recipes import BRADLEY_TERRY, ROBUST, UNBIASED, Loss
from scoring.core.targets import Targets
from scoring.engine.features import Scaling
from scoring.engine.heads import AnyHead, Effects, Head, Keys, Slices
from scoring.training import losses
from scoring.training.diverging import Diverged

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
OnStep = Callable[[int, int], None]

COMPONENTS = 512
SLICE = 1024  # rows
PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
NEWTON_STEPS = 3
# where targets are soft, ask for a margin or weigh, and where the weights follow the fit
STEPS_OF_TARGETS = 6
STEPS_OF_ROBUST = 10
GRADIENT_STEPS = 30
TOLERANCE = 1e-3
LEAST_CURVATURE = 1e-4
LEAST_RIDGE = 1e-6  # an empty bag, or one of equal responses, gets weights of 0 and not of 0 / 0
# of a response's mean squared feature norm: the prior variance of its own effect
EFFECT_SHARE = 0.3


@dataclass(frozen=True)
class Space:
    """Scaled features projected on their main directions: (width,) -> (components,)."""

    scaling: Scaling
    directions: Floats  # (width, components)

    @classmethod
    def of(cls, rows: Floats) -> "Space":
        """The space of a sample of responses' features (n, width)."""
        scaling, width = Scaling.of(rows), rows.shape[1]
        total = torch.zeros(width, dtype=torch.float64)
        products = torch.zeros(width, width, dtype=torch.float64)
        for start in range(0, len(rows), SLICE):  # a scaled copy of all rows would be large
            scaled = torch.from_numpy(scaling.apply(rows[start : start + SLICE]))
            total += scaled.sum(0)
            products += scaled.T @ scaled
        mean = total / len(rows)
        covariance = products.div_(len(rows)).addr_(mean, mean, alpha=-1.0).float()
        del products
        _, vectors = torch.linalg.eigh(covariance)
        kept = min(COMPONENTS, rows.shape[1])
        return cls(scaling, vectors.flip(1)[:, :kept].float().contiguous().numpy())

    def project(self, rows: Floats) -> Floats:
        """(n, width) -> (n, components)"""
        return np.asarray(self.scaling.apply(rows) @ self.directions)


@dataclass(frozen=True)
class TrainingPairs:
    """Everything that training reads of n labelled pairs with r distinct responses."""

    differences: Floats  # (n, components): projected features of A minus those of B
    norm: float  # mean squared norm of a response's projected features
    keys: Keys  # (r,): names of the responses that stand in several pairs
    a: Indices  # (n,): which of them is A; r where A stands in no other pair
    b: Indices  # (n,)
    labels: Floats  # (n,): +1 where A is preferred, -1 where B is
    codes: Floats  # (n, k): centred codes of the pairs' slices
    targets: Targets | None = None  # what the pairs teach; None: their labels, plainly
    projected_a: Floats | None = None  # (n, components), where rewards are no differences
    projected_b: Floats | None = None


@dataclass(frozen=True)
class Trained:
    """The heads of an ensemble, and what their training found."""

    heads: list[AnyHead]
    margins: Floats  # (n, members): of each label, by all members
    penalty: float | None  # of linear heads
    slices: Slices
    loss: float  # calibrated, out-of-bag
    curve: list[Point] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # (n, members): of each label, averaged over the epochs (area under the margin), where there
    # were any
    area_margins: Floats | None = None


@dataclass(frozen=True)
class Solution:
    """Weights of every member (columns) under one penalty, and their margins towards A."""

    weights: Tensor  # (1 + k, components, members)
    effects: Tensor  # (r + 1, members)
    towards_a: Tensor  # (n, members)


def train(
    pairs: TrainingPairs,
    bag: Booleans,
    *,
    space: Space,
    slices: Slices,
    loss: Loss | None = None,
    on_step: OnStep | None = None,
) -> Trained:
    """The heads for bags (n, members); slices get weights of their own only where that lowers the
    loss.

    What is least decides on penalty and slices: the out-of-bag loss of the directions that the
    targets give, as surely as they say, without margins and weights. `on_step` hears how many of
    all steps are done. Raises Diverged where no solution is made of finite numbers.
    """
    designs = [Slices.none(), slices] if slices.names else [Slices.none()]
    goal = _Goal.of(pairs, bag, loss or Loss())
    judged = _Judge.of(pairs, bag)
    total, best = len(designs) * goal.steps, None
    for number, design in enumerate(designs):
        codes = pairs.codes if design.names else pairs.codes[:, :0]

        def heard(step: int, before: int = number * goal.steps) -> None:
            if on_step is not None:
                on_step(before + step, total)

        for penalty, solution in zip(PENALTIES, _solve(pairs, codes, goal, heard), strict=True):
            towards_a = solution.towards_a.numpy()
            if not np.isfinite(towards_a).all():
                continue
            found = judged.loss(towards_a)
            if best is None or found < best[0]:
                best = found, penalty, design, solution, towards_a * pairs.labels[:, None]
    if best is None or not math.isfinite(best[0]):
        raise Diverged(
            "The training diverged: no penalty gives the members finite margins that tell pairs "
            "outside their bags apart. Ask for less noise, smaller margins or weights."
        )
    least, penalty, design, solution, margins = best
    heads: list[AnyHead] = [
        _head(member, solution, pairs, space, design) for member in range(bag.shape[1])
    ]
    return Trained(heads, margins, penalty, design, least)


def out_of_bag_loss(
    margins: Floats, bag: Booleans, *, probabilities: Doubles | None = None
) -> float:
    """Mean log-loss of the ensemble's calibrated out-of-bag probabilities; margins and bag (n,
    members). The direction of a margin is right with its probability (n,), surely where none are
    given."""
    unseen = np.where(bag, np.nan, margins.astype(np.float64))
    strengths = strength.preference_strength(
        strength.standardise(unseen, strength.member_scales(unseen))
    )
    known = np.isfinite(strengths)
    strengths = strengths[known]
    if probabilities is None or (probabilities[known] == 1.0).all():
        slope = calibration.fit_slope(strengths)
        return float(-calibration.log_sigmoid(slope * strengths).mean())
    right = probabilities[known]
    both_ways = np.concatenate([strengths, -strengths])
    slope = calibration.fit_slope(both_ways, np.concatenate([right, 1.0 - right]))
    losses_of = -calibration.log_sigmoid(slope * both_ways).reshape(2, -1)
    return float((right * losses_of[0] + (1.0 - right) * losses_of[1]).mean())


@dataclass(frozen=True)
class _Judge:
    """By what solutions are compared: the directions that count, and how sure they are."""

    direction: Doubles  # (used,)
    probability: Doubles  # (used,)
    used: Booleans  # (n,)
    bag: Booleans  # (used, members)

    @classmethod
    def of(cls, pairs: TrainingPairs, bag: Booleans) -> "_Judge":
        targets = pairs.targets
        if targets is None:
            everything = np.ones(len(bag), dtype=np.bool_)
            return cls(pairs.labels.astype(np.float64), np.ones(len(bag)), everything, bag)
        used = targets.used
        return cls(targets.direction[used], targets.probability[used], used, bag[used])

    def loss(self, towards_a: Floats) -> float:
        margins = (towards_a[self.used] * self.direction[:, None]).astype(np.float32)
        return out_of_bag_loss(margins, self.bag, probabilities=self.probability)


@dataclass(frozen=True)
class _Goal:
    """What the members minimise but for the penalty; a column is a member under a penalty."""

    weights: Tensor  # (n, columns): 0 outside the bag
    direction: Tensor  # (n, 1)
    probability: Tensor  # (n, 1): that the direction is right
    margin: Tensor  # (n, 1)
    is_plain: bool
    loss: Loss

    @classmethod
    def of(cls, pairs: TrainingPairs, bag: Booleans, loss: Loss) -> "_Goal":
        """Columns are member * penalties + penalty."""
        mask = np.repeat(bag, len(PENALTIES), axis=1).astype(np.float32)
        targets, count = pairs.targets, len(bag)
        is_plain = loss.name == BRADLEY_TERRY
        if targets is None:
            ones, zeros = torch.ones(count, 1), torch.zeros(count, 1)
            direction = torch.from_numpy(pairs.labels)[:, None]
            return cls(torch.from_numpy(mask), direction, ones, zeros, is_plain, loss)
        direction, probability, margin, weight = (
            torch.from_numpy(values.astype(np.float32))[:, None]
            for values in (
                targets.direction,
                targets.probability,
                targets.margin,
                targets.weight,
            )
        )
        weights = torch.from_numpy(mask).mul_(weight)
        return cls(weights, direction, probability, margin, is_plain and targets.is_plain, loss)

    @property
    def steps(self) -> int:
        if self.loss.name == ROBUST:
            return STEPS_OF_ROBUST
        return NEWTON_STEPS if self.is_plain else STEPS_OF_TARGETS

    def start(self) -> Tensor:
        """Scores (n, columns) to take the first step from: where the loss bends most."""
        return (self.direction * self.margin).expand_as(self.weights)

    def quadratic(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """The parabola that touches the loss at scores f (n, columns): its curvature, and the
        curvature times its lowest point."""
        towards = self.direction * f
        if self.is_plain:
            bend, slope = (
                losses.bradley_terry_curvature(towards),
                losses.bradley_terry_slope(towards),
            )
        else:
            bend, slope = (
                losses.soft_curvature(towards, self.probability, self.margin),
                self._slope(towards),
            )
        weights = self._weights(towards)
        curvature = weights * bend.clamp_min(LEAST_CURVATURE)
        return curvature, curvature * f - weights * self.direction * slope

    def _slope(self, towards: Tensor) -> Tensor:
        if self.loss.name == UNBIASED:
            return losses.unbiased_slope(towards, self.loss.noise, self.probability, self.margin)
        return losses.soft_slope(towards, self.probability, self.margin)

    def _weights(self, towards: Tensor) -> Tensor:
        if self.loss.name != ROBUST:
            return self.weights
        each = losses.soft(towards, self.probability, self.margin)
        return losses.robust_weights(each, self.loss.beta, self.weights) * (self.weights > 0)


def _solve(
    pairs: TrainingPairs, codes: Floats, goal: _Goal, on_step: Callable[[int], None]
) -> list[Solution]:
    """Newton's method for every member and penalty at once, as columns: one solution a penalty."""
    penalties = len(PENALTIES)
    members = goal.weights.shape[1] // penalties
    design = _Design(pairs, codes)
    # mean diagonal of each bag's Gram matrix
    diagonal = (design.squares @ goal.weights) / design.x.shape[1]
    ridge = (diagonal * torch.tensor(PENALTIES).repeat(members) / 4.0).clamp_min(LEAST_RIDGE)
    point, f = design.zeros(goal.weights.shape[1]), goal.start()
    for step in range(1, goal.steps + 1):
        curvature, target = goal.quadratic(f)
        point = _conjugate_gradients(design, curvature, ridge, target, point)
        f = design.forward(point)
        on_step(step)
    columns = [torch.arange(members) * penalties + number for number in range(penalties)]
    return [Solution(point.w[:, :, own], point.u[:, own], f[:, own]) for own in columns]


@dataclass(frozen=True)
class _Point:
    """Weights (1 + k, components, columns) and effects (r + 1, columns)."""

    w: Tensor
    u: Tensor

    def plus(self, other: "_Point", step: Tensor) -> "_Point":
        return _Point(self.w + step * other.w, self.u + step * other.u)

    def dot(self, other: "_Point") -> Tensor:
        return (self.w * other.w).sum((0, 1)) + (self.u * other.u).sum(0)


class _Design:
    """The linear map from weights and effects to the scores f of the pairs, and its transpose."""

    def __init__(self, pairs: TrainingPairs, codes: Floats) -> None:
        self.x = torch.from_numpy(pairs.differences)
        ones = np.ones((len(codes), 1), dtype=np.float32)
        self.codes = torch.from_numpy(np.concatenate([ones, codes], axis=1))  # (n, 1 + k)
        self.a, self.b = torch.from_numpy(pairs.a), torch.from_numpy(pairs.b)
        self.compared = len(pairs.keys)  # responses with an effect; the row after them stays 0
        self.gain = math.sqrt(EFFECT_SHARE * pairs.norm)
        self.squares = self.x.square().sum(1)  # (n,)

    def zeros(self, columns: int) -> _Point:
        blocks, components = self.codes.shape[1], self.x.shape[1]
        return _Point(
            torch.zeros(blocks, components, columns), torch.zeros(self.compared + 1, columns)
        )

    def forward(self, point: _Point) -> Tensor:
        """(n, columns)"""
        f = torch.zeros(len(self.x), point.w.shape[2])
        if self.compared:
            f += self.gain * (point.u[self.a] - point.u[self.b])
        for block in range(self.codes.shape[1]):
            f += self.codes[:, block, None] * (self.x @ point.w[block])
        return f

    def backward(self, f: Tensor) -> _Point:
        """(n, columns) -> weights and effects"""
        w = torch.stack(
            [self.x.T @ (self.codes[:, block, None] * f) for block in range(self.codes.shape[1])]
        )
        return _Point(w, self.gain * self._to_responses(f, -1.0))

    def diagonal(self, curvature: Tensor) -> _Point:
        """The diagonal of A^T diag(curvature) A for each column, to precondition with."""
        square = self.x.square().T
        blocks = range(self.codes.shape[1])
        w = torch.stack(
            [square @ (self.codes[:, block, None].square() * curvature) for block in blocks]
        )
        return _Point(w, self.gain**2 * self._to_responses(curvature, 1.0))

    def _to_responses(self, f: Tensor, sign_of_b: float) -> Tensor:
        sums = torch.zeros(self.compared + 1, f.shape[1])
        if self.compared:
            sums.index_add_(0, self.a, f)
            sums.index_add_(0, self.b, f, alpha=sign_of_b)
            sums[-1] = 0.0
        return sums


def _conjugate_gradients(
    design: _Design, curvature: Tensor, ridge: Tensor, target: Tensor, start: _Point
) -> _Point:
    """Solve (A^T D A + ridge) point = A^T target for every column, from `start`, with a diagonal
    preconditioner."""

    def apply(point: _Point) -> _Point:
        return design.backward(curvature * design.forward(point)).plus(point, ridge)

    minus = torch.tensor(-1.0)
    scale = design.diagonal(curvature)
    scale = _Point(scale.w + ridge, scale.u + ridge)
    residual = design.backward(target).plus(apply(start), minus)
    point, preconditioned = start, _Point(residual.w / scale.w, residual.u / scale.u)
    direction, size = preconditioned, residual.dot(preconditioned)
    first = size.clone() + 1e-30
    for _ in range(GRADIENT_STEPS):
        image = apply(direction)
        step = size / (direction.dot(image) + 1e-30)
        point, residual = point.plus(direction, step), residual.plus(image, -step)
        preconditioned = _Point(residual.w / scale.w, residual.u / scale.u)
        before, size = size, residual.dot(preconditioned)
        if float((size / first).max()) < TOLERANCE**2:
            break
        direction = preconditioned.plus(direction, size / (before + 1e-30))
    return point


def _head(
    member: int, solution: Solution, pairs: TrainingPairs, space: Space, slices: Slices
) -> Head:
    """A member's weights on the scaled features themselves, and the effects that are not
    nothing."""
    weights = solution.weights[:, :, member].numpy() @ space.directions.T
    gain = math.sqrt(EFFECT_SHARE * pairs.norm)
    values = gain * solution.effects[:-1, member].numpy()
    known = np.flatnonzero(values)
    order = known[np.argsort(pairs.keys[known])]
    effects = Effects(pairs.keys[order], values[order].astype(np.float32))
    return Head(space.scaling, weights.astype(np.float32), slices, effects)
