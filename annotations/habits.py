"""How people answer, whatever is right: which side they prefer, which length, how fast.

Arrays are of N judgements in one order; results are one entry for each of V voters. A share comes
with its interval, and with the share of all others, which is what it is fairly compared with.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import Estimate, wilson

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Numbers = npt.NDArray[Any]  # whole or not
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """How often something holds of somebody's judgements."""

    estimate: Estimate | None  # None where it could hold of none
    count: int  # judgements of which it could
    others: float | None  # the share among everybody else's; None where there are none


def shares(
    holds: Booleans | Floats, counts: Booleans, voters: Int32s, voter_count: int
) -> list[Share]:
    """Each voter's share of judgements of which `holds`, among those that `counts`; all (N,).

    `holds` may be a degree between 0 and 1.
    """
    n = np.bincount(voters[counts], minlength=voter_count)
    hits = np.bincount(voters[counts], np.asarray(holds, np.float64)[counts], minlength=voter_count)
    return shares_of_counts(hits, n)


def shares_of_counts(hits: Numbers, counts: Numbers) -> list[Share]:
    """As `shares`, from sums by voter (V,)."""
    other_hits, other_counts = hits.sum() - hits, counts.sum() - counts
    return [
        Share(
            wilson(min(float(hit), float(count)), float(count)),
            round(float(count)),
            float(min(other_hit / other_count, 1.0)) if other_count >= 1 else None,
        )
        for hit, count, other_hit, other_count in zip(
            hits, counts, other_hits, other_counts, strict=True
        )
    ]


def medians(figures: Floats, voters: Int32s, voter_count: int) -> list[float | None]:
    """Each voter's median of the figures (N,) that are not NaN."""
    known = np.flatnonzero(np.isfinite(figures))
    order = known[np.lexsort((figures[known], voters[known]))]
    bounds = np.searchsorted(voters[order], np.arange(voter_count + 1))
    return [
        float(np.median(figures[order[start:end]])) if end > start else None
        for start, end in pairwise(bounds)
    ]


def blocks(count: int, *, fewest: int, most: int) -> list[tuple[int, int]]:
    """Cut so many judgements, in the order in which they were given, into at most `most` stretches
    of like length and at least `fewest` each; one stretch where there are too few to cut."""
    if not count:
        return []
    number = max(1, min(most, count // fewest))
    edges = np.linspace(0, count, number + 1).astype(int).tolist()
    return list(pairwise(edges))
