"""Comparing two runs: figures that do not depend on which comes first, nor on the scale of
strength."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.core import comparison
from scoring.core.comparison import FLAGS, Comparison, Overlap
from scoring.core.flags import AMBIGUOUS, CLEAR, FLIPPED, STRONG

Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]
Run = tuple[Floats, Names]


@st.composite
def two_runs(draw: Any) -> tuple[Run, Run]:
    """Strengths, many of them equal, and flags, of the same labels."""
    count = draw(st.integers(1, 30))
    kinds = draw(st.sampled_from([3, 1000]))
    strengths = st.lists(st.integers(-kinds, kinds), min_size=count, max_size=count)
    flags = st.lists(st.sampled_from(FLAGS), min_size=count, max_size=count)
    a, b = ((np.array(draw(strengths), dtype=float), np.array(draw(flags))) for _ in range(2))
    return a, b


def compared(a: Run, b: Run) -> Comparison:
    return comparison.compare(a[0], b[0], a[1], b[1])


def ranks_by_counting(values: Floats) -> Floats:
    """A value's rank: how many lie below it, and half of its equals, itself among them."""
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(below + (equal + 1) / 2)


@given(two_runs())
def test_ranks_are_those_found_by_counting(runs: tuple[Run, Run]) -> None:
    strengths = runs[0][0]
    np.testing.assert_array_equal(comparison.ranks(strengths), ranks_by_counting(strengths))


@given(two_runs())
def test_rank_correlation_is_the_correlation_of_ranks(runs: tuple[Run, Run]) -> None:
    (a, _), (b, _) = runs
    found = comparison.spearman(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found is None
    else:
        expected = np.corrcoef(ranks_by_counting(a), ranks_by_counting(b))[0, 1]
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),  # the example of scipy's spearmanr
        ([1, 2, 3], [30, 20, 10], -1.0),
        ([1, 2, 3, 4], [2, 1, 4, 3], 0.6),
    ],
)
def test_rank_correlation_has_the_known_values(
    a: list[float], b: list[float], expected: float
) -> None:
    found = comparison.spearman(np.array(a, dtype=float), np.array(b, dtype=float))
    assert found == pytest.approx(expected)


@given(two_runs())
def test_a_run_agrees_with_itself_in_everything(runs: tuple[Run, Run]) -> None:
    run, _ = runs
    found = compared(run, run)
    assert found.spearman == (1.0 if len(set(run[0])) > 1 else None)
    assert (found.flag_agreement, found.percentile_change) == (1.0, 0.0)
    for a, counts in found.transitions.items():
        assert counts == {b: (run[1] == a).sum() if a == b else 0 for b in FLAGS}
    flipped = found.flipped
    assert flipped.a == flipped.b == flipped.both
    if flipped.both:
        assert (flipped.jaccard, flipped.kept, flipped.known) == (1.0, 1.0, 1.0)


@given(two_runs())
def test_which_run_comes_first_makes_no_difference(runs: tuple[Run, Run]) -> None:
    there, back = compared(*runs), compared(*reversed(runs))
    assert there.spearman == pytest.approx(back.spearman)
    assert there.flag_agreement == back.flag_agreement
    assert there.percentile_change == back.percentile_change
    for a in FLAGS:
        for b in FLAGS:
            assert there.transitions[a][b] == back.transitions[b][a]
    assert there.flipped.jaccard == back.flipped.jaccard
    assert (there.flipped.kept, there.flipped.known) == (back.flipped.known, back.flipped.kept)


@given(two_runs(), st.sampled_from([lambda x: 2.0 * x - 7.0, lambda x: x**3, np.sinh]))
def test_only_the_order_of_strengths_counts(runs: tuple[Run, Run], rising: Any) -> None:
    (a, flags_a), b = runs
    a = a / 100.0
    plain, stretched = compared((a, flags_a), b), compared((rising(a), flags_a), b)
    assert plain == stretched


@given(two_runs(), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_makes_no_difference(runs: tuple[Run, Run], random: Any) -> None:
    a, b = runs
    order = list(range(len(a[0])))
    random.shuffle(order)
    shuffled = compared((a[0][order], a[1][order]), (b[0][order], b[1][order]))
    plain = compared(a, b)
    assert shuffled.spearman == pytest.approx(plain.spearman)
    assert shuffled.transitions == plain.transitions
    assert shuffled.percentile_change == plain.percentile_change


@given(two_runs())
def test_every_label_is_in_the_table_once(runs: tuple[Run, Run]) -> None:
    found = compared(*runs)
    assert sum(sum(counts.values()) for counts in found.transitions.values()) == found.pairs
    kept = sum(found.transitions[flag][flag] for flag in FLAGS)
    assert found.flag_agreement == pytest.approx(kept / found.pairs)


@given(two_runs())
def test_shares_lie_between_0_and_1(runs: tuple[Run, Run]) -> None:
    found = compared(*runs)
    assert found.spearman is None or -1.0 <= found.spearman <= 1.0
    flipped = found.flipped
    shares = (found.flag_agreement, found.percentile_change)
    assert all(0.0 <= share <= 1.0 for share in shares)
    for share in (flipped.jaccard, flipped.kept, flipped.known):
        assert share is None or 0.0 <= share <= 1.0


def test_flipped_labels_that_are_kept_and_new_ones_are_told_apart() -> None:
    a = np.array([FLIPPED, FLIPPED, FLIPPED, FLIPPED, CLEAR, STRONG])
    b = np.array([FLIPPED, AMBIGUOUS, CLEAR, CLEAR, FLIPPED, STRONG])
    strengths = np.arange(6.0)
    found = comparison.compare(strengths, strengths, a, b, only_a=2, only_b=3)
    assert found.transitions[FLIPPED] == {FLIPPED: 1, AMBIGUOUS: 1, CLEAR: 2, STRONG: 0}
    assert found.flipped == Overlap(a=4, b=2, both=1)
    assert (found.flipped.kept, found.flipped.known) == (1 / 4, 1 / 2)
    assert found.flipped.jaccard == 1 / 5
    assert found.flag_agreement == 2 / 6
    assert (found.pairs, found.only_a, found.only_b) == (6, 2, 3)


def test_of_no_flipped_labels_there_is_no_share() -> None:
    none = Overlap(a=0, b=0, both=0)
    assert (none.jaccard, none.kept, none.known) == (None, None, None)
    assert Overlap(a=0, b=3, both=0).jaccard == 0.0


def test_moves_are_counted_in_shares_of_the_labels() -> None:
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([4.0, 2.0, 3.0, 1.0])
    np.testing.assert_allclose(comparison.percentile_change(a, b), [0.75, 0.0, 0.0, -0.75])
    flags = np.array([CLEAR] * 4)
    assert comparison.compare(a, b, flags, flags).percentile_change == 0.375
