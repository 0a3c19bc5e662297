"""How far apart a model's features hold the responses that are preferred and those that are not
(arXiv 2401.06080, figure 11, as a figure to compare and not a picture to look at)."""

import numpy as np
import numpy.typing as npt

from scoring.core.audit import auroc

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

FOLDS = 5
SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
LEAST = 1e-9


def separability(preferred: Floats, other: Floats, *, folds: Indices | None = None) -> float:
    """The chance that a preferred response lies further along the best direction than one that is
    not: 1/2 where their features overlap wholly, 1 where they lie apart.

    Features (n, d) of both responses of n pairs. The direction is Fisher's, found on all folds but
    one and judged on that one, so that many dimensions are no advantage; both responses of a pair
    are of the same fold (n,), pairs of a prompt should be. The mean over the folds. Raises
    ValueError where there are fewer than two folds.
    """
    own = np.arange(len(preferred)) % FOLDS if folds is None else folds
    names = np.unique(own)
    if len(names) < 2:
        raise ValueError("separability needs pairs in at least two folds")
    found = []
    for name in names:
        judged = own == name
        direction = _fisher(preferred[~judged], other[~judged])
        apart = np.concatenate([preferred[judged] @ direction, other[judged] @ direction])
        found.append(auroc(apart, np.repeat([True, False], judged.sum())))
    return float(np.mean(found))


def _fisher(preferred: Floats, other: Floats) -> Floats:
    """The direction (d,) along which two clouds (n, d) lie furthest apart beside their spread."""
    centres = preferred.mean(axis=0), other.mean(axis=0)
    within = np.concatenate([preferred - centres[0], other - centres[1]])
    covariance = within.T @ within / len(within)
    size = np.trace(covariance) / len(covariance) + LEAST
    shrunk = (1.0 - SHRINKAGE) * covariance + SHRINKAGE * size * np.eye(len(covariance))
    return np.asarray(np.linalg.solve(shrunk, centres[0] - centres[1]))
