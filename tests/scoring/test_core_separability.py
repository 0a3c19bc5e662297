"""Separability: its ends, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.core.separability import Floats, separability


def clouds(
    apart: float, *, count: int = 400, width: int = 6, seed: int = 0
) -> tuple[Floats, Floats]:
    """Features of preferred responses and of others, whose centres lie so far apart."""
    generator = np.random.default_rng(seed)
    preferred, other = generator.normal(size=(2, count, width))
    preferred[:, 0] += apart
    return preferred, other


def test_it_is_a_half_where_features_overlap_and_1_where_they_lie_apart() -> None:
    assert separability(*clouds(0.0, count=2000)) == pytest.approx(0.5, abs=0.05)
    assert separability(*clouds(20.0)) == 1.0


def test_it_grows_with_the_distance_as_that_of_two_bells_does() -> None:
    # two bells of spread 1 whose centres are 2 apart: the normal distribution at 2 / sqrt 2
    assert separability(*clouds(2.0, count=4000)) == pytest.approx(0.921, abs=0.02)
    found = [separability(*clouds(apart)) for apart in (0.2, 0.5, 1.0, 3.0)]
    assert found == sorted(found)


def test_many_dimensions_alone_are_no_advantage() -> None:
    assert separability(*clouds(0.0, count=100, width=90)) == pytest.approx(0.5, abs=0.12)


@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_scaling_and_moving_all_features_changes_nothing(scale: float, by: float) -> None:
    preferred, other = clouds(1.0, count=60)
    moved = separability(preferred * scale + by, other * scale + by)
    assert moved == pytest.approx(separability(preferred, other), abs=1e-3)


def test_exchanging_the_two_changes_nothing() -> None:
    preferred, other = clouds(1.0)
    assert separability(other, preferred) == pytest.approx(separability(preferred, other))


def test_features_that_are_all_the_same_overlap() -> None:
    same = np.ones((20, 3))
    assert separability(same, same) == 0.5


def test_pairs_of_one_fold_cannot_be_judged() -> None:
    preferred, other = clouds(1.0)
    with pytest.raises(ValueError, match="at least two folds"):
        separability(preferred, other, folds=np.zeros(len(preferred), dtype=np.int64))
