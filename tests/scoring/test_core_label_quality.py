"""What an audit compares with is what cleanlab itself says."""

import numpy as np
import numpy.typing as npt
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from hypothesis import given
from hypothesis import strategies as st

from scoring.core import label_quality

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


def labelled(seed: int, slope: float, noise: float) -> tuple[Floats, Booleans]:
    """The probability of each of 200 labels, and whether it prefers A."""
    generator = np.random.default_rng(seed)
    sure = slope * np.abs(generator.normal(size=200))
    margins = np.where(generator.random(200) < noise, -sure, sure)
    return 1.0 / (1.0 + np.exp(-margins)), generator.random(200) < 0.5


def for_cleanlab(
    probabilities: Floats, says_a: Booleans
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Labels with A as 0 and B as 1, and the probabilities of both."""
    of_a = np.where(says_a, probabilities, 1.0 - probabilities)
    return np.where(says_a, 0, 1), np.column_stack([of_a, 1.0 - of_a])


@given(st.integers(0, 1000), st.floats(0.1, 5.0), st.floats(0.05, 0.95))
def test_scores_are_cleanlabs(seed: int, slope: float, noise: float) -> None:
    probabilities, says_a = labelled(seed, slope, noise)
    labels, both = for_cleanlab(probabilities, says_a)
    theirs = get_label_quality_scores(labels, both, method="self_confidence")
    np.testing.assert_allclose(label_quality.self_confidence(probabilities), theirs, atol=1e-12)


@given(st.integers(0, 1000), st.floats(0.1, 5.0), st.floats(0.0, 0.9))
def test_issues_are_cleanlabs(seed: int, slope: float, noise: float) -> None:
    probabilities, says_a = labelled(seed, slope, noise)
    theirs = find_label_issues(
        *for_cleanlab(probabilities, says_a), filter_by="confident_learning", n_jobs=1
    )
    np.testing.assert_array_equal(label_quality.confident_issues(probabilities, says_a), theirs)


def test_labels_that_all_prefer_one_response_have_no_issue() -> None:
    probabilities, _ = labelled(0, 2.0, 0.3)
    assert not label_quality.confident_issues(probabilities, np.ones(200, dtype=np.bool_)).any()


def test_members_that_were_not_asked_have_no_say() -> None:
    margins = np.array([[0.0, np.nan], [np.log(3.0), -np.log(3.0)], [np.nan, np.log(3.0)]])
    assert label_quality.members_probability(margins) == pytest.approx([0.5, 0.5, 0.75])
