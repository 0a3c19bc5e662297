"""Whether margins follow length: a rank correlation that neither scale nor a missing margin
changes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.core.confounds import length_confound

Floats = npt.NDArray[np.float64]


@st.composite
def margins_and_lengths(draw: Any) -> tuple[Floats, Floats]:
    """Margins and differences of length, many of them equal."""
    count = draw(st.integers(3, 30))
    one = st.lists(st.integers(-4, 4), min_size=count, max_size=count)
    margins, lengths = (np.array(draw(one), dtype=float) for _ in range(2))
    return margins, lengths


def ranks(values: Floats) -> Floats:
    """How many lie below, and half of its equals."""
    below = (values[None, :] < values[:, None]).sum(axis=1)
    return np.asarray(below + (values[None, :] == values[:, None]).sum(axis=1) / 2)


@given(margins_and_lengths())
def test_it_is_the_correlation_of_ranks(values: tuple[Floats, Floats]) -> None:
    margins, lengths = values
    found = length_confound(margins, lengths)
    if len(set(margins)) == 1 or len(set(lengths)) == 1:
        assert found is None
    else:
        expected = np.corrcoef(ranks(margins), ranks(lengths))[0, 1]
        assert found == pytest.approx(expected, abs=1e-9)


@given(margins_and_lengths())
def test_swapping_all_responses_changes_nothing(values: tuple[Floats, Floats]) -> None:
    margins, lengths = values
    assert length_confound(-margins, -lengths) == pytest.approx(length_confound(margins, lengths))


@given(margins_and_lengths())
def test_the_scale_of_margins_changes_nothing(values: tuple[Floats, Floats]) -> None:
    margins, lengths = values
    assert length_confound(np.expm1(margins), 7.0 * lengths) == length_confound(margins, lengths)


def test_a_model_that_only_counts_is_found_out() -> None:
    lengths = np.array([5.0, -3.0, 40.0, 0.0, -12.0])
    assert length_confound(lengths**3, lengths) == pytest.approx(1.0)
    assert length_confound(-lengths, lengths) == pytest.approx(-1.0)


def test_pairs_without_a_margin_are_left_out() -> None:
    margins = np.array([1.0, np.nan, 2.0, 3.0])
    lengths = np.array([1.0, 99.0, 3.0, 2.0])
    assert length_confound(margins, lengths) == length_confound(
        margins[[0, 2, 3]], lengths[[0, 2, 3]]
    )


@pytest.mark.parametrize("margins", [[], [1.0], [np.nan, np.nan], [2.0, 2.0, 2.0]])
def test_nothing_to_rank_has_no_correlation(margins: list[float]) -> None:
    assert length_confound(np.array(margins), np.arange(len(margins), dtype=float)) is None
