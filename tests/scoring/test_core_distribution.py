"""The views of strength: laws that hold for every run."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr

from scoring.core import distribution as views
from scoring.core.confounds import length_confound

FLAGS = np.array(["flipped", "ambiguous", "clear", "strong"])


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 200))
    real = st.floats(-5, 5).map(lambda x: round(x, 2))
    return {
        "strengths": draw(arrays.arrays(np.float64, count, elements=real)),
        "spreads": np.abs(draw(arrays.arrays(np.float64, count, elements=real))),
        "votes": draw(arrays.arrays(np.float64, count, elements=st.floats(0, 1))),
        "flags": FLAGS[draw(arrays.arrays(np.int64, count, elements=st.integers(0, 3)))],
    }


@given(runs(), st.integers(1, 30))
def test_every_label_is_in_one_group_and_the_groups_are_in_order(
    run: dict[str, Any], groups: int
) -> None:
    found = views.groups_by_strength(**run, groups=groups)
    count = len(run["strengths"])
    assert sum(group.count for group in found) == count
    assert max(g.count for g in found) - min(g.count for g in found) <= 1
    assert len(found) == min(groups, count)
    for before, after in pairwise(found):
        assert before.highest <= after.lowest
        assert before.strength <= after.strength
    for group in found:
        assert group.lowest - 1e-9 <= group.strength <= group.highest + 1e-9
        assert group.spread_low <= group.spread_high
        assert sum(group.flags.values()) == group.count
    mean = sum(group.strength * group.count for group in found) / count
    assert mean == pytest.approx(run["strengths"].mean(), abs=1e-9)


def test_the_spread_is_a_u_where_the_members_differ_most_at_both_ends() -> None:
    strengths = np.linspace(-2, 2, 2000)
    found = views.groups_by_strength(
        strengths,
        1 + strengths**2,
        (strengths > 0).astype(float),
        np.full(2000, "clear"),
        groups=20,
    )
    spreads = [group.spread for group in found]
    assert min(spreads) == min(spreads[9:11])
    assert spreads[:10] == sorted(spreads[:10], reverse=True)
    assert spreads[10:] == sorted(spreads[10:])
    assert [group.agreement for group in found] == [0.0] * 10 + [1.0] * 10


@given(runs())
def test_the_map_counts_every_label_once_where_it_lies(run: dict[str, Any]) -> None:
    flags = run["flags"]
    found = views.density(run["strengths"], run["spreads"], flags, columns=6, rows=4)
    assert set(found.counts) == set(np.unique(flags))
    for name, cells in found.counts.items():
        assert sum(count for _, count in cells) == (flags == name).sum()
        assert all(0 <= cell < 24 and count > 0 for cell, count in cells)
    assert np.all(np.diff(found.strength_edges) > 0)
    assert np.all(np.diff(found.spread_edges) > 0)


def test_a_cell_of_the_map_is_bounded_by_its_edges() -> None:
    generator = np.random.default_rng(0)
    strengths, spreads = generator.normal(size=5000), generator.gamma(2.0, size=5000)
    found = views.density(strengths, spreads, np.full(5000, "clear"))
    x, y = np.array(found.strength_edges), np.array(found.spread_edges)
    for cell, count in found.counts["clear"]:
        row, column = divmod(cell, views.COLUMNS)
        if not (0 < column < views.COLUMNS - 1 and row < views.ROWS - 1):
            continue  # the edge holds what lies beyond
        inside = (strengths >= x[column]) & (strengths < x[column + 1])
        inside &= (spreads >= y[row]) & (spreads < y[row + 1])
        assert inside.sum() == count


@given(runs(), st.integers(1, 15))
def test_labels_of_the_same_length_difference_stay_together(
    run: dict[str, Any], groups: int
) -> None:
    longer = np.round(run["spreads"] * 10) - 20
    flipped = run["flags"] == "flipped"
    found = views.groups_by_length(run["strengths"], longer, flipped, groups=groups)
    assert sum(group.count for group in found) == len(longer)
    assert 1 <= len(found) <= groups
    for before, after in pairwise(found):
        assert before.longest < after.shortest
    for group in found:
        inside = (longer >= group.shortest) & (longer <= group.longest)
        assert inside.sum() == group.count
        assert group.strength.estimate == pytest.approx(run["strengths"][inside].mean(), abs=1e-9)
        assert group.flagged.estimate == flipped[inside].mean()


def test_the_interval_of_the_rank_correlation_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    true = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman's of normal variables that correlate by 0.5
    covered = 0
    for _ in range(300):
        x = generator.normal(size=150)
        y = 0.5 * x + 0.75**0.5 * generator.normal(size=150)
        correlation = length_confound(x, y)
        assert correlation is not None
        assert correlation == pytest.approx(spearmanr(x, y).statistic)
        found = views.rank_correlation(correlation, 150)
        covered += found.low <= true <= found.high
    assert 275 <= covered <= 295


@pytest.mark.parametrize(("correlation", "count"), [(1.0, 10), (-1.0, 10), (0.0, 3), (0.3, 4)])
def test_the_interval_of_a_rank_correlation_holds_it_and_stays_within_bounds(
    correlation: float, count: int
) -> None:
    found = views.rank_correlation(correlation, count)
    assert -1 <= found.low <= correlation <= found.high <= 1


@given(runs())
def test_sides_count_every_label_and_exchanging_them_mirrors_the_share(run: dict[str, Any]) -> None:
    prefers_a = run["votes"] > 0.5
    one = views.position(prefers_a, run["strengths"])
    other = views.position(~prefers_a, run["strengths"])
    assert one is not None
    assert other is not None
    assert one.a.count + one.b.count == len(prefers_a)
    assert (one.a, one.b) == (other.b, other.a)
    assert one.prefers_a.estimate == pytest.approx(1 - other.prefers_a.estimate)
    assert one.prefers_a.low == pytest.approx(1 - other.prefers_a.high)


def test_without_labels_there_is_no_side_and_no_share() -> None:
    empty = np.zeros(0)
    assert views.position(empty > 0, empty) is None
    assert views.below_zero(empty) is None
    assert views.groups_by_length(empty, empty, empty > 0) == []


def test_a_map_of_many_labels_is_no_larger() -> None:
    generator = np.random.default_rng(1)
    strengths = generator.normal(size=200_000)
    flags = FLAGS[generator.integers(0, 4, 200_000)]
    found = views.density(strengths, np.abs(strengths), flags)
    assert sum(map(len, found.counts.values())) <= 4 * views.COLUMNS * views.ROWS
