"""The probability that a label is right, fitted to trusted verdicts instead of the labels
themselves.

Three methods are tried by cross-validation: the symmetric calibration that there is, Platt's
(a logistic curve with an intercept: Platt 1999) and isotonic regression. All rise with strength.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import Estimate, wilson
from scoring.core.calibration import sigmoid

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

FEWEST_VERDICTS = 30
FOLDS = 5
BINS = 10
SYMMETRIC, PLATT, ISOTONIC = "symmetric", "platt", "isotonic"
RIDGE = 0.1  # reviews' worth of pull towards no slope; keeps separable verdicts finite
STEPS = 60
NEAR = 1e-10
SMALLEST = 1e-6  # probability that a loss is taken of, so that one surprise is not endless


class NotEnoughVerdicts(ValueError):
    """The verdicts cannot say how likely a label is right."""


class Description(TypedDict):
    """A fitted curve, as JSON: a logistic one by slope and intercept, an isotonic one by knots
    (strength, probability), between which it is straight and beyond which it is flat."""

    method: str
    slope: float
    intercept: float
    knots: list[list[float]]


@dataclass(frozen=True)
class Loss:
    """How far probabilities are from what came true, as weighted means; less is better."""

    log_loss: float
    brier: float


@dataclass(frozen=True)
class Bin:
    """Verdicts whose probabilities lie in one tenth of the scale."""

    predicted: float  # the mean probability
    right: Estimate  # the share of labels that are right
    count: int


@dataclass(frozen=True)
class Recalibration:
    """The chosen curve, how each method did on verdicts that it had not seen, and the chosen
    one's reliability on these."""

    description: Description
    losses: dict[str, Loss]
    reliability: tuple[Bin, ...]
    calibration_error: float
    verdicts: int


def recalibrate(
    strengths: Floats, right: Booleans, weights: Floats, *, slope: float, folds: int = FOLDS
) -> Recalibration:
    """Fit P(the label is right) to verdicts: strengths (n,), what they found (n,), and how many
    pairs each stands for (n,).

    `slope` is that of the symmetric calibration. A method takes the place of a simpler one where
    cross-validation finds its log loss lower by more than a standard error, and its Brier score
    lower too. Raises NotEnoughVerdicts.
    """
    if len(strengths) < FEWEST_VERDICTS:
        raise NotEnoughVerdicts(
            f"Recalibration needs at least {FEWEST_VERDICTS} verdicts; there are {len(strengths)}."
        )
    if right.all() or not right.any():
        kind = "right" if right.all() else "wrong"
        raise NotEnoughVerdicts(
            f"All {len(right)} verdicts call their label {kind}; recalibration needs both kinds."
        )
    fits = _fits(slope)
    fold = _folds(strengths, right, folds)
    unseen = {
        name: _cross_validated(fit, strengths, right, weights, fold) for name, fit in fits.items()
    }
    losses = {name: loss(found, right, weights) for name, found in unseen.items()}
    chosen = _choose(unseen, right, weights)
    bins = reliability(unseen[chosen], right, weights)
    return Recalibration(
        fits[chosen](strengths, right, weights),
        losses,
        bins,
        calibration_error(unseen[chosen], right, weights),
        len(strengths),
    )


def apply(description: Description, strengths: Floats) -> Floats:
    """The probability that each label is right, (n,) -> (n,)."""
    if description["knots"]:
        at, probabilities = np.array(description["knots"]).T
        return np.asarray(np.interp(strengths, at, probabilities))
    return sigmoid(description["slope"] * strengths + description["intercept"])


def symmetric(slope: float) -> Description:
    """The calibration by the labels themselves, which needs no verdict."""
    return Description(method=SYMMETRIC, slope=slope, intercept=0.0, knots=[])


def fit_platt(strengths: Floats, right: Booleans, weights: Floats) -> Description:
    """A weighted logistic regression of right (n,) on strength (n,), by Newton's method.

    The slope is never negative: where verdicts would have it so, the curve is flat. A small ridge
    on both parameters keeps them finite where strength tells right from wrong without exception.
    """
    scale = float(np.sqrt(np.mean(strengths**2))) or 1.0
    design = np.column_stack([strengths / scale, np.ones(len(strengths))])
    own = weights * len(weights) / weights.sum()
    slope, intercept = _newton(design, right, own)
    if slope < 0:
        slope, intercept = 0.0, float(_newton(design[:, 1:], right, own)[0])
    return Description(
        method=PLATT, slope=float(slope) / scale, intercept=float(intercept), knots=[]
    )


def fit_isotonic(strengths: Floats, right: Booleans, weights: Floats) -> Description:
    """Isotonic regression of right (n,) on strength (n,), with its ends kept from 0 and 1.

    An end that knows only right labels, or only wrong ones, gets the mean of Jeffreys' posterior on
    its verdicts, as far as its neighbour leaves room for it.
    """
    own = weights * len(weights) / weights.sum()
    at, values, blocks = isotonic(strengths, right.astype(np.float64), own)
    masses = np.bincount(blocks[np.searchsorted(at, strengths)], own).astype(np.float64)
    bounded = _away_from_certainty(values[np.searchsorted(blocks, np.arange(len(masses)))], masses)
    edges = np.flatnonzero(np.diff(blocks)) if len(at) > 1 else np.array([], dtype=np.int64)
    places = np.unique(np.concatenate([[0], edges, edges + 1, [len(at) - 1]])).astype(np.int64)
    knots = [[float(at[place]), float(bounded[blocks[place]])] for place in places]
    return Description(method=ISOTONIC, slope=0.0, intercept=0.0, knots=knots)


def isotonic(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, Integers]:
    """The rising values nearest to y (n,) by weighted squares, at each distinct x, (u,), (u,); and
    the block of equal values that each x lies in, (u,) verdicts.

    By pooling adjacent violators (Barlow et al. 1972); equal x are first put together.
    """
    at, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weights)
    means = np.bincount(place, weights * y) / mass
    blocks: list[tuple[float, float, int]] = []  # value, mass, how many x
    for value, weight in zip(means.tolist(), mass.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            block = _together(blocks.pop(), block)
        blocks.append(block)
    lengths = [length for _, _, length in blocks]
    values = np.repeat([value for value, _, _ in blocks], lengths)
    return at, values, np.repeat(np.arange(len(blocks)), lengths)


def loss(probabilities: Floats, right: Booleans, weights: Floats) -> Loss:
    """Log loss, in nats, and Brier score of probabilities (n,)."""
    parts = _surprise(probabilities, right), (probabilities - right) ** 2
    log_loss, brier = (float(np.average(of, weights=weights)) for of in parts)
    return Loss(log_loss, brier)


def reliability(
    probabilities: Floats, right: Booleans, weights: Floats, bins: int = BINS
) -> tuple[Bin, ...]:
    """Mean probability and share of right labels by tenths of the probability; empty ones are
    left out.

    The interval is Wilson's, of as many verdicts as the weights leave worth (Kish 1965).
    """
    own = _bins(probabilities, bins)
    return tuple(
        _bin(probabilities[own == number], right[own == number], weights[own == number])
        for number in np.unique(own)
    )


def calibration_error(
    probabilities: Floats, right: Booleans, weights: Floats, bins: int = BINS
) -> float:
    """The expected calibration error: how far the bins' probabilities are from their shares of
    right labels, weighted by what they hold (Naeini et al. 2015)."""
    own = _bins(probabilities, bins)
    gaps = np.bincount(own, weights * (probabilities - right))
    return float(np.abs(gaps).sum() / weights.sum())


Fit = Callable[[Floats, Booleans, Floats], Description]


def _fits(slope: float) -> dict[str, Fit]:
    """The methods, the simplest first."""
    return {
        SYMMETRIC: lambda strengths, right, weights: symmetric(slope),
        PLATT: fit_platt,
        ISOTONIC: fit_isotonic,
    }


def _choose(unseen: dict[str, Floats], right: Booleans, weights: Floats) -> str:
    """The method that is clearly better than every simpler one chosen before it."""
    chosen = SYMMETRIC
    for name in (PLATT, ISOTONIC):
        if _is_clearly_better(unseen[name], unseen[chosen], right, weights):
            chosen = name
    return chosen


def _is_clearly_better(ours: Floats, theirs: Floats, right: Booleans, weights: Floats) -> bool:
    """Whether log loss is lower by more than the standard error of the difference, and the Brier
    score lower too."""
    saved = _surprise(theirs, right) - _surprise(ours, right)
    mean = float(np.average(saved, weights=weights))
    error = float(np.sqrt((weights**2 * (saved - mean) ** 2).sum()) / weights.sum())
    brier, other = (loss(of, right, weights).brier for of in (ours, theirs))
    return mean > error and brier < other


def _surprise(probabilities: Floats, right: Booleans) -> Floats:
    sure = np.clip(probabilities, SMALLEST, 1.0 - SMALLEST)
    return -np.log(np.where(right, sure, 1.0 - sure))


def _folds(strengths: Floats, right: Booleans, folds: int) -> Integers:
    """Which fold each verdict is judged in, (n,): each outcome dealt out evenly, by chance of a
    fixed seed.

    Dealt out in order of strength, folds would be more alike than new verdicts are, and the most
    flexible method would always win.
    """
    ordered = np.lexsort((strengths, right))  # so that the order of the verdicts says nothing
    shuffled = np.random.default_rng(0).permutation(ordered)
    order = shuffled[np.argsort(right[shuffled], kind="stable")]
    fold = np.empty(len(order), dtype=np.int64)
    fold[order] = np.arange(len(order)) % folds
    return fold


def _cross_validated(
    fit: Fit, strengths: Floats, right: Booleans, weights: Floats, fold: Integers
) -> Floats:
    """The probability of each verdict's label by a fit that has not seen its fold, (n,)."""
    found = np.empty(len(strengths))
    for number in np.unique(fold):
        out = fold == number
        description = fit(strengths[~out], right[~out], weights[~out])
        found[out] = apply(description, strengths[out])
    return found


def _newton(design: Floats, right: Booleans, weights: Floats) -> Floats:
    """Parameters (p,) of a ridged logistic regression on a design (n, p).

    Steps are halved until the penalised loss falls, so that it never leaves for infinity.
    """

    def objective(at: Floats) -> float:
        signed = np.where(right, 1.0, -1.0) * (design @ at)
        return float(weights @ np.logaddexp(0.0, -signed) + 0.5 * RIDGE * (at @ at))

    parameters = np.zeros(design.shape[1])
    for _ in range(STEPS):
        likely = sigmoid(design @ parameters)
        slope = design.T @ (weights * (likely - right)) + RIDGE * parameters
        bend = (design * (weights * likely * (1.0 - likely))[:, None]).T @ design
        step = np.linalg.solve(bend + RIDGE * np.eye(len(parameters)), slope)
        while objective(parameters - step) > objective(parameters) and np.abs(step).max() > NEAR:
            step = step / 2
        parameters = parameters - step
        if np.abs(step).max() <= NEAR:
            break
    return parameters


def _away_from_certainty(values: Floats, masses: Floats) -> Floats:
    """Rising values of blocks (b,) of which the first is not 0 and the last not 1."""
    found = values.copy()
    if found[0] == 0.0:
        found[0] = min([0.5 / (masses[0] + 1.0), *found[1:2]])
    if found[-1] == 1.0:
        found[-1] = max([1.0 - 0.5 / (masses[-1] + 1.0), *found[-2:-1]])
    return found


def _together(a: tuple[float, float, int], b: tuple[float, float, int]) -> tuple[float, float, int]:
    mass = a[1] + b[1]
    return (a[0] * a[1] + b[0] * b[1]) / mass, mass, a[2] + b[2]


def _bins(probabilities: Floats, bins: int) -> Integers:
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def _bin(probabilities: Floats, right: Booleans, weights: Floats) -> Bin:
    worth = float(weights.sum() ** 2 / (weights**2).sum())
    share = float(np.average(right, weights=weights))
    found = wilson(min(share, 1.0) * worth, worth)
    assert found is not None
    return Bin(float(np.average(probabilities, weights=weights)), found, len(right))
