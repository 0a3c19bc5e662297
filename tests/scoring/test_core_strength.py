"""Strength, spread and votes: symmetric in the responses, blind to a member's place and scale."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from scoring.core import strength

Floats = npt.NDArray[np.float64]


def values(*, least: float = -50.0, most: float = 50.0) -> st.SearchStrategy[float]:
    """Margins without crumbs so small that their squares vanish."""
    return st.floats(least, most).map(lambda value: round(value, 3))


def margins(*, members: int = 1, holes: bool = True) -> st.SearchStrategy[Any]:
    """Margins (n_pairs, n_members), some of them not asked for."""
    shapes = array_shapes(min_dims=2, max_dims=2, max_side=6).filter(
        lambda shape: shape[1] >= members
    )
    one = st.one_of(values(), st.just(float("nan"))) if holes else values()
    return arrays(np.float64, shapes, elements=one)


def standardised(of: Floats) -> Floats:
    return strength.standardise(of, strength.member_scales(of))


@given(margins())
def test_exchanging_the_responses_negates_the_strength(of: Floats) -> None:
    np.testing.assert_array_equal(
        strength.preference_strength(standardised(-of)),
        -strength.preference_strength(standardised(of)),
    )


@given(margins())
def test_exchanging_the_responses_keeps_the_spread_and_mirrors_the_votes(of: Floats) -> None:
    np.testing.assert_allclose(strength.spread(-of), strength.spread(of), atol=1e-12)
    np.testing.assert_allclose(strength.votes(-of), 1.0 - strength.votes(of), atol=1e-12)


@given(margins(members=2), st.randoms(use_true_random=False))
def test_the_order_of_the_members_does_not_matter(of: Floats, random: Any) -> None:
    order = list(range(of.shape[1]))
    random.shuffle(order)
    for figure in (strength.preference_strength, strength.spread, strength.votes):
        np.testing.assert_allclose(
            figure(standardised(of[:, order])), figure(standardised(of)), atol=1e-9
        )


@given(margins(), values(least=0.01, most=100.0), st.integers(0, 5))
def test_how_loud_a_member_speaks_does_not_matter(of: Floats, factor: float, member: int) -> None:
    louder = of.copy()
    louder[:, member % of.shape[1]] *= factor
    np.testing.assert_allclose(standardised(louder), standardised(of), rtol=1e-9, atol=1e-12)


@given(margins())
def test_standardised_members_have_a_root_mean_square_of_one_or_nothing_to_say(of: Floats) -> None:
    scaled = standardised(of)
    for member in scaled.T:
        said = member[np.isfinite(member)]
        if said.any():
            assert np.sqrt(np.mean(said**2)) == pytest.approx(1.0)


@given(margins())
def test_a_member_that_was_not_asked_says_nothing(of: Floats) -> None:
    silent = np.column_stack([of, np.full(len(of), np.nan)])
    for figure in (strength.preference_strength, strength.spread, strength.votes):
        np.testing.assert_allclose(figure(silent), figure(of))


@given(margins())
def test_strength_and_spread_are_the_mean_and_deviation_of_those_asked(of: Floats) -> None:
    for row, mean, deviation in zip(
        of, strength.preference_strength(of), strength.spread(of), strict=True
    ):
        if np.isnan(row).all():
            assert np.isnan([mean, deviation]).all()
        else:
            assert mean == pytest.approx(np.nanmean(row), abs=1e-9)
            assert deviation == pytest.approx(np.nanstd(row), abs=1e-9)


def test_a_vote_of_nought_is_half_a_vote() -> None:
    of = np.array([[1.0, -1.0, 0.0, np.nan], [0.0, 0.0, np.nan, np.nan], [np.nan] * 4])
    np.testing.assert_array_equal(strength.votes(of), [0.5, 0.5, np.nan])


def test_accuracy_is_of_each_member_over_the_pairs_it_was_asked_about() -> None:
    of = np.array([[1.0, -1.0], [2.0, np.nan], [-1.0, np.nan], [3.0, 1.0]])
    np.testing.assert_array_equal(strength.accuracy(of), [0.75, 0.5])


@pytest.mark.parametrize("nothing", [np.nan, 0.0])
def test_where_there_is_nothing_to_scale_the_scale_is_one(nothing: float) -> None:
    of = np.array([[nothing, 3.0], [nothing, -4.0]])
    np.testing.assert_allclose(strength.member_scales(of), [1.0, np.sqrt(12.5)])


@given(arrays(np.float64, st.integers(1, 40), elements=values(least=-3.0, most=3.0)))
def test_the_percentile_is_the_share_of_weaker_pairs(of: Floats) -> None:
    expected = [(of < one).mean() for one in of]
    np.testing.assert_allclose(strength.percentile(of), expected)


@given(arrays(np.float64, st.integers(1, 40), elements=values()))
def test_percentiles_lie_between_0_and_1_and_rise_with_strength(of: Floats) -> None:
    found = strength.percentile(of)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert (np.diff(found[np.argsort(of)]) >= 0.0).all()


def test_no_pairs_have_no_figures() -> None:
    none = np.zeros((0, 4))
    assert strength.preference_strength(none).shape == (0,)
    assert strength.percentile(np.zeros(0)).shape == (0,)
    np.testing.assert_array_equal(strength.member_scales(none), np.ones(4))
