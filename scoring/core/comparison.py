"""How far two runs agree on the labels that both judged: the order of their strengths, and their
flags.

Arrays are (n,) with n > 0 and aligned: entry i of run A and entry i of run B are of one pair.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.core.flags import AMBIGUOUS, CLEAR, FLIPPED, STRONG
from scoring.core.strength import percentile

Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]

FLAGS = (FLIPPED, AMBIGUOUS, CLEAR, STRONG)


@dataclass(frozen=True)
class Overlap:
    """How many labels run A marks, run B, and both."""

    a: int
    b: int
    both: int

    @property
    def jaccard(self) -> float | None:
        """Those of both among those of either; None where there are none."""
        return _share(self.both, self.a + self.b - self.both)

    @property
    def kept(self) -> float | None:
        """Of A's, the share that B marks too."""
        return _share(self.both, self.a)

    @property
    def known(self) -> float | None:
        """Of B's, the share that A marked too."""
        return _share(self.both, self.b)


@dataclass(frozen=True)
class Comparison:
    """Figures of two runs; all but the counts of `only_` speak of the pairs that both judged."""

    pairs: int
    only_a: int
    only_b: int
    spearman: float | None  # None where a run finds all labels equally strong
    flag_agreement: float
    transitions: dict[str, dict[str, int]]  # flag in A, then flag in B
    flipped: Overlap
    percentile_change: float  # median, whichever way


def compare(
    strengths_a: Floats,
    strengths_b: Floats,
    flags_a: Names,
    flags_b: Names,
    *,
    only_a: int = 0,
    only_b: int = 0,
) -> Comparison:
    """Compare strengths (n,) and flags (n,); `only_a` and `only_b` count what one run lacks."""
    table = transitions(flags_a, flags_b)
    return Comparison(
        pairs=len(flags_a),
        only_a=only_a,
        only_b=only_b,
        spearman=spearman(strengths_a, strengths_b),
        flag_agreement=float((flags_a == flags_b).mean()),
        transitions=table,
        flipped=Overlap(
            a=sum(table[FLIPPED].values()),
            b=sum(row[FLIPPED] for row in table.values()),
            both=table[FLIPPED][FLIPPED],
        ),
        percentile_change=float(np.median(np.abs(percentile_change(strengths_a, strengths_b)))),
    )


def transitions(flags_a: Names, flags_b: Names) -> dict[str, dict[str, int]]:
    """How many labels have each flag in A and each in B."""
    in_a, in_b = ({name: flags == name for name in FLAGS} for flags in (flags_a, flags_b))
    return {a: {b: int((in_a[a] & in_b[b]).sum()) for b in FLAGS} for a in FLAGS}


def percentile_change(strengths_a: Floats, strengths_b: Floats) -> Floats:
    """How far each label rises from A to B among these same labels, (n,) between -1 and 1."""
    return np.asarray(percentile(strengths_b) - percentile(strengths_a))


def spearman(strengths_a: Floats, strengths_b: Floats) -> float | None:
    """Rank correlation, between -1 and 1; None where one side is all ties."""
    middle = (len(strengths_a) + 1) / 2
    a, b = ranks(strengths_a) - middle, ranks(strengths_b) - middle
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip((a @ b) / norm, -1.0, 1.0)) if norm else None


def ranks(values: Floats) -> Floats:
    """Ranks from 1, (n,) -> (n,); equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[inverse])


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
