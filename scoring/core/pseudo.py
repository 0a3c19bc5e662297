"""Which unlabelled pairs an ensemble is sure of (SSRM, arXiv 2409.06903)."""

import numpy as np
import numpy.typing as npt

from scoring.core import calibration

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def prefers_a(strengths: Floats, slope: float) -> Floats:
    """P(A is the better response), (n,), from strengths towards A (n,) and the slope that the run
    was calibrated with on its labelled pairs. Swapping A and B gives exactly the other side's
    probability, so nothing depends on which came first."""
    return calibration.label_probability(strengths, slope)


def sure(probabilities: Floats, threshold: float) -> Booleans:
    """Which of the pairs (n,) exceed the threshold one way or the other: max(p, 1 - p) > t. A pair
    that was not measured is never sure."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.maximum(probabilities, 1.0 - probabilities) > threshold)
