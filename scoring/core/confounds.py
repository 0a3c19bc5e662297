"""What margins may follow instead of quality."""

import numpy as np
import numpy.typing as npt

from scoring.core.comparison import spearman

Floats = npt.NDArray[np.float64]


def length_confound(margins: Floats, length_differences: Floats) -> float | None:
    """Rank correlation of margins (n,) with how much longer the preferred response is (n,), between
    -1 and 1.

    Near 1: the longer response wins, whatever it says. Pairs without a margin (NaN) are left out;
    None where nothing is left to rank, or one side is all ties.
    """
    known = np.isfinite(margins) & np.isfinite(length_differences)
    return spearman(margins[known], length_differences[known])
