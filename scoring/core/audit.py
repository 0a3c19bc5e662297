"""How well a ranking finds labels that are known to be wrong."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

REVIEW_SHARES = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.75, 1.0)


@dataclass(frozen=True)
class AuditResult:
    """Figures of one audit; `curve` holds (share reviewed, share of the wrong labels found)."""

    auroc: float
    average_precision: float
    flagged: int
    precision: float | None
    recall: float
    curve: list[tuple[float, float]]


def plant(count: int, share: float, generator: np.random.Generator) -> Booleans:
    """Which of `count` labels to flip: a random `share` of them, (count,)."""
    planted = np.zeros(count, dtype=np.bool_)
    planted[generator.permutation(count)[: round(share * count)]] = True
    return planted


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


def review_curve(suspicion: Floats, wrong: Booleans) -> list[tuple[float, float]]:
    """For each share of the pairs reviewed in order of suspicion, the share of the wrong labels
    found."""
    found = wrong[np.argsort(-suspicion, kind="stable")].cumsum() / wrong.sum()
    count = len(wrong)
    return [(share, float(found[max(round(share * count), 1) - 1])) for share in REVIEW_SHARES]
