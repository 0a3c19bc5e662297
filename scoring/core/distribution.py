"""How preference strength lies over the labels of a run: the views of it that arXiv 2401.06080
draws (section 2), and what strength may follow instead of quality.

Arrays are (n,), one entry a labelled pair, all finite.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import Estimate, wilson

Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]
Integers = npt.NDArray[np.intp]
Booleans = npt.NDArray[np.bool_]

DECILES = 10
PROFILE_GROUPS = 20  # of figure 2 of the paper
COLUMNS, ROWS = 60, 40  # of the density map
LENGTH_GROUPS = 12
OUTLYING = 0.001  # of the pairs at each end, drawn at the edge
Z_95 = 1.959964


@dataclass(frozen=True)
class Group:
    """Labels of neighbouring strength."""

    count: int
    lowest: float
    highest: float
    strength: float  # mean
    spread: float  # mean
    spread_low: float  # quartiles
    spread_high: float
    agreement: float  # mean share of the members that agree with the label
    flags: dict[str, int]


@dataclass(frozen=True)
class Density:
    """How many labels fall into each cell of the map of strength and spread. Cells are counted row
    by row from the corner of the lowest strength and spread; those at the edge hold what lies
    beyond, too."""

    strength_edges: list[float]  # one more than columns
    spread_edges: list[float]
    counts: dict[str, list[list[int]]]  # by flag: [cell, labels], the empty ones left out


@dataclass(frozen=True)
class LengthGroup:
    """Labels whose preferred response is longer by about as much."""

    count: int
    shortest: int  # characters by which it is longer; negative: shorter
    longest: int
    strength: Estimate  # mean
    flagged: Estimate  # share that is likely flipped


@dataclass(frozen=True)
class Side:
    """The labels that prefer one side."""

    count: int
    strength: float | None  # mean; None where there are none
    below_zero: Estimate | None


@dataclass(frozen=True)
class Position:
    """Which side the labels prefer, and how strongly the models agree on each."""

    prefers_a: Estimate
    a: Side
    b: Side


def groups_by_strength(
    strengths: Floats, spreads: Floats, votes: Floats, flags: Names, *, groups: int
) -> list[Group]:
    """Groups of as many labels each, the weakest first; fewer where there are not so many labels.
    Equal strengths may fall on both sides of a border."""
    order = np.argsort(strengths, kind="stable")
    names = np.unique(flags)
    return [
        _group(strengths[part], spreads[part], votes[part], flags[part], names)
        for part in np.array_split(order, groups)
        if len(part)
    ]


def _group(strengths: Floats, spreads: Floats, votes: Floats, flags: Names, names: Names) -> Group:
    low, high = np.quantile(spreads, [0.25, 0.75])
    return Group(
        count=len(strengths),
        lowest=float(strengths[0]),
        highest=float(strengths[-1]),
        strength=float(strengths.mean()),
        spread=float(spreads.mean()),
        spread_low=float(low),
        spread_high=float(high),
        agreement=float(votes.mean()),
        flags={str(name): int((flags == name).sum()) for name in names},
    )


def below_zero(strengths: Floats) -> Estimate | None:
    """The share of labels that the ensemble contradicts, with Wilson's interval."""
    return wilson(int((strengths < 0).sum()), len(strengths))


def density(
    strengths: Floats, spreads: Floats, flags: Names, *, columns: int = COLUMNS, rows: int = ROWS
) -> Density:
    """The labels counted over an even grid of strength and spread."""
    lowest, highest = np.quantile(strengths, [OUTLYING, 1.0 - OUTLYING])
    x_edges = _edges(float(lowest), float(highest), columns)
    y_edges = _edges(0.0, float(np.quantile(spreads, 1.0 - OUTLYING)), rows)
    cells = _cell(spreads, y_edges) * columns + _cell(strengths, x_edges)
    counts = {
        str(name): np.bincount(cells[flags == name], minlength=rows * columns)
        for name in np.unique(flags)
    }
    return Density(
        x_edges.tolist(),
        y_edges.tolist(),
        {
            name: [[int(cell), int(found[cell])] for cell in np.flatnonzero(found)]
            for name, found in counts.items()
        },
    )


def _edges(low: float, high: float, count: int) -> Floats:
    """Borders of even cells, a little apart where all values are the same."""
    width = max(high - low, 1e-6 * max(abs(low), abs(high), 1.0))
    return np.linspace(low, low + width, count + 1)


def _cell(values: Floats, edges: Floats) -> Integers:
    """Into which cell each value falls, those beyond the edges into the last."""
    step = (edges[-1] - edges[0]) / (len(edges) - 1)
    found = np.floor((np.clip(values, edges[0], edges[-1]) - edges[0]) / step)
    return np.asarray(np.clip(found, 0, len(edges) - 2), dtype=np.intp)


def groups_by_length(
    strengths: Floats, longer: Floats, flipped: Booleans, *, groups: int = LENGTH_GROUPS
) -> list[LengthGroup]:
    """Groups of about as many labels by how many characters longer the preferred response is.
    Labels of the same difference stay together, so that there may be fewer groups."""
    order = np.argsort(longer, kind="stable")
    ordered = longer[order]
    wanted = np.linspace(0, len(longer), groups + 1)[1:-1].astype(np.intp)
    borders = np.unique(np.searchsorted(ordered, ordered[wanted])) if len(longer) else wanted
    return [
        _length_group(strengths[part], longer[part], flipped[part])
        for part in np.split(order, borders)
        if len(part)
    ]


def _length_group(strengths: Floats, longer: Floats, flipped: Booleans) -> LengthGroup:
    flagged = wilson(int(flipped.sum()), len(flipped))
    assert flagged is not None
    return LengthGroup(
        count=len(strengths),
        shortest=int(longer[0]),
        longest=int(longer[-1]),
        strength=mean(strengths),
        flagged=flagged,
    )


def mean(values: Floats) -> Estimate:
    """The mean of (n,) values, n > 0, with its normal 95 % interval; of one value the interval is
    that value."""
    middle = float(values.mean())
    half = Z_95 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return Estimate(middle, middle - half, middle + half)


def rank_correlation(correlation: float, count: int) -> Estimate:
    """Spearman's rank correlation of `count` pairs with a 95 % interval: Fisher's z with the
    variance of Bonett and Wright (2000). Fewer than four pairs tell nothing."""
    if count < 4:
        return Estimate(correlation, -1.0, 1.0)
    inside = float(np.clip(correlation, -1.0 + 1e-12, 1.0 - 1e-12))
    half = Z_95 * ((1.0 + inside**2 / 2.0) / (count - 3)) ** 0.5
    low, high = np.tanh(np.arctanh(inside) + np.array([-half, half]))
    return Estimate(correlation, min(float(low), correlation), max(float(high), correlation))


def position(prefers_a: Booleans, strengths: Floats) -> Position | None:
    """Whether the labels favour a side, and how strongly the models agree with those of each; None
    without labels."""
    share = wilson(int(prefers_a.sum()), len(prefers_a))
    if share is None:
        return None
    return Position(share, _side(strengths[prefers_a]), _side(strengths[~prefers_a]))


def _side(strengths: Floats) -> Side:
    count = len(strengths)
    return Side(count, float(strengths.mean()) if count else None, below_zero(strengths))
