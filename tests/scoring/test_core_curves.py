"""What the curve of a training warns of."""

from collections.abc import Sequence

from scoring.core import curves
from scoring.core.curves import Point


def curve(rewards: Sequence[float], margins: Sequence[float]) -> list[Point]:
    return [
        Point(step=10 * (i + 1), epoch=i + 1.0, reward=reward, margin=margin, deviation=1.0)
        for i, (reward, margin) in enumerate(zip(rewards, margins, strict=True))
    ]


def test_rewards_that_rise_without_a_wider_gap_inflate() -> None:
    rising = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0]
    said = curves.inflation(curve(rising, [1.0] * 6))
    assert said is not None
    assert "since step 40 their mean rose by 2.00" in said
    assert curves.inflation(curve(rising, rising)) is None
    assert curves.inflation(curve([0.0] * 6, [1.0] * 6)) is None


def test_what_comes_after_the_step_that_is_kept_inflates_nothing() -> None:
    late = curve([0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 4.0], [1.0] * 7)
    assert curves.inflation(late) is not None
    assert curves.inflation(late, until=70) is not None
    assert curves.inflation(late, until=50) is None


def test_of_a_short_curve_nothing_is_said() -> None:
    steep = curve([0.0, 2.0, 4.0, 8.0], [1.0] * 4)
    assert curves.inflation(steep) is not None
    assert curves.inflation(steep[:3]) is None
    assert curves.inflation(steep, until=30) is None
