"""How sure a share is, given how few cases it rests on."""

from scoring.core.calibration import Estimate

Z_95 = 1.959964


def wilson(hits: int, count: int) -> Estimate | None:
    """The share hits / count with Wilson's 95 % interval; None where nothing was counted."""
    if count == 0:
        return None
    share, z2 = hits / count, Z_95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * ((share * (1 - share) + z2 / (4 * count)) / count) ** 0.5
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(share, min(share, low), max(share, high))  # rounding may have passed the share
