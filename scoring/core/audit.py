"""How well a ranking finds wrong labels, and what wrong labels to plant so that they are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.core.calibration import sigmoid

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

REVIEW_SHARES = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.75, 1.0)
SMOOTH_SHARES = tuple(number / 100 for number in range(101))  # of a curve that is drawn
LIFT_SHARE = 0.20
STEEPEST = 1e9  # of how doubt falls with the distance of two responses
REVIEWED_FIRST = (10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class AuditResult:
    """Figures of one audit; `curve` holds (share reviewed, share of the wrong labels found), and
    `precision_at` (labels reviewed first, share of them that is wrong)."""

    auroc: float
    average_precision: float
    flagged: int
    precision: float | None
    recall: float
    curve: list[tuple[float, float]]
    lift: float  # of reviewing LIFT_SHARE
    precision_at: list[tuple[int, float]]


def plant(count: int, share: float, generator: np.random.Generator) -> Booleans:
    """Which of `count` labels to flip: a random `share` of them, (count,)."""
    planted = np.zeros(count, dtype=np.bool_)
    planted[generator.permutation(count)[: round(share * count)]] = True
    return planted


def plant_among(candidates: Booleans, share: float, generator: np.random.Generator) -> Booleans:
    """Flip a `share` of all labels (n,), every one of them among the candidates (n,): a bias that
    errs in one direction only. Where there are not so many candidates, all of them."""
    numbers = np.flatnonzero(candidates)
    planted = np.zeros(len(candidates), dtype=np.bool_)
    planted[generator.permutation(numbers)[: round(share * len(candidates))]] = True
    return planted


def plant_near_ties(margins: Floats, share: float, generator: np.random.Generator) -> Booleans:
    """Flip labels as people err who cannot tell: each with probability sigmoid(-k |margin|), where
    k >= 0 makes it a `share` of all, below 1/2, on average. `margins` (n,) say how far apart the
    responses are, in any unit."""
    distances = np.abs(margins)
    low, high = 0.0, 1.0
    while float(sigmoid(-high * distances).mean()) > share and high < STEEPEST:
        high *= 2.0
    for _ in range(60):  # the mean falls with k, so halving finds where it is the share
        middle = 0.5 * (low + high)
        is_above = float(sigmoid(-middle * distances).mean()) > share
        low, high = (middle, high) if is_above else (low, middle)
    return np.asarray(generator.random(len(margins)) < sigmoid(-low * distances))


def audit(suspicion: Floats, wrong: Booleans, flagged: Booleans) -> AuditResult:
    """Judge a suspicion (n,), larger meaning more likely wrong, and flags (n,), against the truth
    (n,).

    Raises ValueError when the truth knows only right or only wrong labels.
    """
    if wrong.all() or not wrong.any():
        raise ValueError("the truth must hold right labels and wrong ones")
    hits = int((flagged & wrong).sum())
    return AuditResult(
        auroc=auroc(suspicion, wrong),
        average_precision=average_precision(suspicion, wrong),
        flagged=int(flagged.sum()),
        precision=hits / int(flagged.sum()) if flagged.any() else None,
        recall=hits / int(wrong.sum()),
        curve=review_curve(suspicion, wrong),
        lift=lift(suspicion, wrong),
        precision_at=precision_at(suspicion, wrong),
    )


def auroc(suspicion: Floats, wrong: Booleans) -> float:
    """The chance that a wrong label is more suspect than a right one; equal suspicion counts
    half."""
    ordered = np.sort(suspicion[~wrong])
    below = np.searchsorted(ordered, suspicion[wrong], side="left")
    not_above = np.searchsorted(ordered, suspicion[wrong], side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))


def average_precision(suspicion: Floats, wrong: Booleans) -> float:
    """Mean precision at each wrong label in order of suspicion; equal suspicion is judged
    together."""
    values, inverse = np.unique(-suspicion, return_inverse=True)
    found = np.bincount(inverse, weights=wrong, minlength=len(values))
    reviewed = np.bincount(inverse, minlength=len(values))
    precision = found.cumsum() / reviewed.cumsum()
    return float((precision * found).sum() / found.sum())


def review_curve(
    suspicion: Floats, wrong: Booleans, shares: Sequence[float] = REVIEW_SHARES
) -> list[tuple[float, float]]:
    """For each share of the pairs reviewed in order of suspicion, the share of the wrong labels
    found; of any share above 0 at least one pair is reviewed."""
    found = np.concatenate([[0.0], _by_suspicion(suspicion, wrong).cumsum() / wrong.sum()])
    return [(share, float(found[_reviewed(share, len(wrong))])) for share in shares]


def random_curve(shares: Sequence[float] = REVIEW_SHARES) -> list[tuple[float, float]]:
    """What reviewing in any order that knows nothing finds on average: as much as it reviews."""
    return [(share, share) for share in shares]


def lift(suspicion: Floats, wrong: Booleans, share: float = LIFT_SHARE) -> float:
    """How many times as many wrong labels the most suspect `share` holds as so many at random."""
    count = _reviewed(share, len(wrong))
    return float(_by_suspicion(suspicion, wrong)[:count].mean() / wrong.mean())


def precision_at(
    suspicion: Floats, wrong: Booleans, counts: Sequence[int] = REVIEWED_FIRST
) -> list[tuple[int, float]]:
    """The share of wrong labels among the most suspect, for every count that there are."""
    ordered = _by_suspicion(suspicion, wrong)
    return [(count, float(ordered[:count].mean())) for count in counts if count <= len(wrong)]


def _by_suspicion(suspicion: Floats, wrong: Booleans) -> Booleans:
    return wrong[np.argsort(-suspicion, kind="stable")]


def _reviewed(share: float, count: int) -> int:
    return max(round(share * count), 1) if share > 0 else 0
