"""Which unlabelled pairs an ensemble is sure of."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scoring.core import pseudo

strengths = st.lists(st.floats(-5, 5), min_size=1, max_size=30).map(np.array)
slopes = st.floats(0, 10)


@given(strengths, slopes)
def test_swapping_the_responses_gives_the_other_sides_probability(
    found: np.ndarray, slope: float
) -> None:
    one_way, other_way = pseudo.prefers_a(found, slope), pseudo.prefers_a(-found, slope)
    np.testing.assert_allclose(one_way + other_way, 1.0, atol=1e-12)


@given(strengths, slopes, st.floats(0.5, 0.999))
def test_who_is_sure_does_not_depend_on_which_response_comes_first(
    found: np.ndarray, slope: float, threshold: float
) -> None:
    sure = pseudo.sure(pseudo.prefers_a(found, slope), threshold)
    np.testing.assert_array_equal(
        sure, pseudo.sure(1.0 - pseudo.prefers_a(found, slope), threshold)
    )


def test_a_pair_must_exceed_the_threshold() -> None:
    probabilities = np.array([0.8, 0.81, 0.19, 0.2, 0.5, np.nan])
    np.testing.assert_array_equal(
        pseudo.sure(probabilities, 0.8), [False, True, True, False, False, False]
    )


def test_an_uncalibrated_ensemble_is_sure_of_nothing() -> None:
    assert not pseudo.sure(pseudo.prefers_a(np.array([3.0, -3.0]), slope=0.0), 0.5).any()
