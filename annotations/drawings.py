"""Where the marks of small drawings stand: bars by day, and shares over time with their intervals.

Pure coordinates in the drawing's own units; the style sheet gives colours, the page the words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from curator.lib.intervals import Estimate

BAR_STEP, BAR_WIDTH, BARS_HEIGHT = 10.0, 7.0, 60.0
STRETCH_STEP, SERIES_HEIGHT = 24.0, 72.0


@dataclass(frozen=True)
class Bar:
    """One bar, standing on the bottom edge."""

    x: float
    y: float
    height: float
    day: date
    count: int


@dataclass(frozen=True)
class Bars:
    """Counts by day."""

    width: float
    height: float
    bars: list[Bar]
    highest: int
    total: int


def bars(counts: Sequence[tuple[date, int]]) -> Bars:
    """A bar a day, the highest as high as the drawing; any label at all shows as a line."""
    highest = max((count for _, count in counts), default=0)
    drawn = []
    for place, (day, count) in enumerate(counts):
        height = max(BARS_HEIGHT * count / highest, 1.5) if count else 0.0
        x = place * BAR_STEP + (BAR_STEP - BAR_WIDTH) / 2
        drawn.append(Bar(x, BARS_HEIGHT - height, height, day, count))
    total = sum(count for _, count in counts)
    return Bars(len(counts) * BAR_STEP, BARS_HEIGHT, drawn, highest, total)


@dataclass(frozen=True)
class Mark:
    """One stretch's share: a dot, and a line from one end of its interval to the other."""

    x: float
    y: float
    low_y: float
    high_y: float
    words: str


@dataclass(frozen=True)
class Series:
    """A share from stretch to stretch, from 0 at the bottom to 1 at the top."""

    width: float
    height: float
    marks: list[Mark]
    fair_y: float | None  # what the share is compared with

    @property
    def path(self) -> str:
        """The line through the dots."""
        return " ".join(f"{mark.x:.2f},{mark.y:.2f}" for mark in self.marks)


def series(shares: Sequence[tuple[str, Estimate | None]], *, fair: float | None = None) -> Series:
    """The shares in their order, each with its words; a stretch without one leaves a gap."""
    marks = [
        Mark(
            STRETCH_STEP * (place + 0.5),
            _height(share.estimate),
            _height(share.low),
            _height(share.high),
            words,
        )
        for place, (words, share) in enumerate(shares)
        if share is not None
    ]
    fair_y = None if fair is None else _height(fair)
    return Series(STRETCH_STEP * max(len(shares), 1), SERIES_HEIGHT, marks, fair_y)


def _height(share: float) -> float:
    return SERIES_HEIGHT * (1.0 - min(max(share, 0.0), 1.0))
