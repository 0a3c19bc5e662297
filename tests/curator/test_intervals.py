"""Wilson's interval of a share, against published values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.lib.intervals import wilson


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (15, 148, 0.0624, 0.1605),  # Newcombe 1998, table I, as the next two
        (81, 263, 0.2553, 0.3662),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_has_the_known_values(
    hits: int, count: int, low: float, high: float
) -> None:
    found = wilson(hits, count)
    assert found is not None
    assert [found.low, found.high] == pytest.approx([low, high], abs=6e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share_and_lies_within_0_and_1(case: tuple[int, int]) -> None:
    hits, count = case
    found = wilson(hits, count)
    assert found is not None
    assert found.estimate == hits / count
    assert 0.0 <= found.low <= found.estimate <= found.high <= 1.0


def test_of_nothing_there_is_no_share() -> None:
    assert wilson(0, 0) is None


def test_a_higher_level_is_a_wider_interval_and_parts_of_cases_count() -> None:
    found = [wilson(2.5, 7.25, level) for level in (0.8, 0.95, 0.99)]
    widths = [one.half_width for one in found if one is not None]
    assert widths == sorted(widths)
    assert len(set(widths)) == 3
