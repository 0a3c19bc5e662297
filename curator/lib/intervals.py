"""A figure with its interval, and how sure a share is, given how few cases it rests on."""

from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval, of 95 % unless said otherwise."""

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def wilson(hits: float, count: float, level: float = LEVEL) -> Estimate | None:
    """The share hits / count with Wilson's interval; None where nothing was counted.

    Neither needs to be whole: expected hits among so many cases' worth of evidence do as well.
    """
    if count <= 0:
        return None
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    share = hits / count
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = (z2 * (share * (1 - share) + z2 / (4 * count)) / count) ** 0.5 / (1 + z2 / count)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(share, min(share, low), max(share, high))  # rounding may have passed the share
