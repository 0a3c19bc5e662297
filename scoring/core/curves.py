"""How a training went, step by step: the points of its curve, and what they warn of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MOST_POINTS = 200  # of a curve that is kept
FEWEST_POINTS = 4  # below which nothing is said of a trend
INFLATED = 0.5  # of a reward's own spread, that the mean may rise while the gap does not


@dataclass(frozen=True)
class Point:
    """A look at a training: the loss is a mean over pairs, accuracies are shares, margins and
    rewards in the model's own units. None where it was not measured."""

    step: int
    epoch: float
    loss: float | None = None  # of what is learnt from, since the last look
    held_out_loss: float | None = None
    accuracy: float | None = None  # on the labels learnt from, since the last look
    held_out_accuracy: float | None = None  # on the labels, as they are, of what is held out
    trusted_accuracy: float | None = None  # on trusted labels of what is held out
    margin: float | None = None  # mean chosen minus rejected
    reward: float | None = None  # mean over both responses
    deviation: float | None = None  # of rewards

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Point":
        return cls(**values)

    @property
    def is_finite(self) -> bool:
        """Whether the training may go on: what is no number any more never becomes one again."""
        known = (value for value in asdict(self).values() if value is not None)
        return all(math.isfinite(value) for value in known)


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most so many points, evenly, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def inflation(points: Sequence[Point], *, until: int | None = None) -> str | None:
    """A sentence where rewards rise while the gap between chosen and rejected does not (arXiv
    2401.06080, appendix), else None. Judged over the second half of the curve up to the step that
    is kept, `until`."""
    seen = [
        (point.step, point.reward, point.margin, point.deviation)
        for point in points
        if (until is None or point.step <= until)
        and point.reward is not None
        and point.margin is not None
        and point.deviation is not None
    ]
    if len(seen) < FEWEST_POINTS:
        return None
    since, reward, margin, deviation = seen[len(seen) // 2]
    _, last_reward, last_margin, _ = seen[-1]
    rise, widening = last_reward - reward, last_margin - margin
    if rise > INFLATED * max(deviation, 1e-6) and widening < 0.25 * rise:
        return (
            f"Rewards inflate: since step {since} their mean rose by {rise:.2f} while the "
            f"gap between chosen and rejected changed by {widening:+.2f}. Fewer epochs, or "
            f"centring, keep them in place."
        )
    return None
