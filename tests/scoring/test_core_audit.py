"""Audits: figures equal to scikit-learn's, whatever is tied, and intervals of shares."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from scoring.core import audit

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@st.composite
def judged(draw: Any) -> tuple[Floats, Booleans]:
    """Suspicions, many of them equal, and a truth that knows right labels and wrong ones."""
    kinds = draw(st.sampled_from([4, 1000]))
    suspicion = draw(st.lists(st.integers(-kinds, kinds), min_size=2, max_size=40))
    wrong = draw(
        st.lists(st.booleans(), min_size=len(suspicion), max_size=len(suspicion)).filter(
            lambda values: 0 < sum(values) < len(values)
        )
    )
    return np.array(suspicion) / kinds, np.array(wrong)


@given(judged())
def test_auroc_is_sklearns_with_and_without_ties(case: tuple[Floats, Booleans]) -> None:
    suspicion, wrong = case
    assert audit.auroc(suspicion, wrong) == pytest.approx(roc_auc_score(wrong, suspicion))


@given(judged())
def test_average_precision_is_sklearns_with_and_without_ties(
    case: tuple[Floats, Booleans],
) -> None:
    suspicion, wrong = case
    expected = average_precision_score(wrong, suspicion)
    assert audit.average_precision(suspicion, wrong) == pytest.approx(expected)


@given(judged())
def test_the_review_curve_rises_to_all_wrong_labels(case: tuple[Floats, Booleans]) -> None:
    curve = audit.review_curve(*case)
    shares, found = zip(*curve, strict=True)
    assert list(shares) == sorted(shares)
    assert list(found) == sorted(found)
    assert curve[-1] == (1.0, 1.0)


def test_the_review_curve_says_what_reviewing_the_most_suspect_finds() -> None:
    suspicion = np.arange(100.0)
    wrong = np.zeros(100, dtype=np.bool_)
    wrong[[99, 98, 60, 10]] = True
    curve = dict(audit.review_curve(suspicion, wrong))
    assert (curve[0.01], curve[0.02], curve[0.20], curve[0.40], curve[0.75], curve[1.0]) == (
        0.25,
        0.5,
        0.5,
        0.75,
        0.75,
        1.0,
    )


@given(judged())
def test_a_smooth_curve_goes_through_the_points_of_the_short_one(
    case: tuple[Floats, Booleans],
) -> None:
    smooth = dict(audit.review_curve(*case, audit.SMOOTH_SHARES))
    assert smooth[0.0] == 0.0
    assert all(smooth[share] == found for share, found in audit.review_curve(*case))


@given(st.integers(0, 1000))
def test_a_ranking_that_knows_nothing_finds_what_random_review_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    wrong = audit.plant(2000, 0.3, generator)
    curve = audit.review_curve(generator.random(2000), wrong)
    random = audit.random_curve()
    assert [share for share, _ in curve] == [share for share, _ in random]
    np.testing.assert_allclose([y for _, y in curve], [y for _, y in random], atol=0.12)


@given(judged(), st.floats(0.01, 1.0))
def test_the_lift_is_what_the_curve_finds_over_what_is_reviewed(
    case: tuple[Floats, Booleans], share: float
) -> None:
    suspicion, wrong = case
    reviewed = max(round(share * len(wrong)), 1) / len(wrong)
    found = dict(audit.review_curve(suspicion, wrong, [share]))[share]
    assert audit.lift(suspicion, wrong, share) == pytest.approx(found / reviewed)
    assert audit.lift(suspicion, wrong, 1.0) == 1.0


def test_a_perfect_ranking_lifts_as_far_as_there_are_wrong_labels() -> None:
    wrong = audit.plant(1000, 0.1, np.random.default_rng(0))
    suspicion = wrong.astype(np.float64)
    assert audit.lift(suspicion, wrong, 0.20) == pytest.approx(5.0)
    assert audit.lift(suspicion, wrong, 0.05) == pytest.approx(10.0)


def test_precision_is_told_for_as_many_labels_as_there_are() -> None:
    wrong = np.arange(60) >= 45
    assert audit.precision_at(np.arange(60.0), wrong) == [(10, 1.0), (20, 0.75), (50, 0.3)]


@given(st.integers(0, 300), st.floats(0.0, 1.0), st.integers(0, 2**32 - 1))
def test_exactly_the_share_asked_for_is_planted(count: int, share: float, seed: int) -> None:
    planted = audit.plant(count, share, np.random.default_rng(seed))
    assert planted.shape == (count,)
    assert planted.sum() == round(share * count)


def test_the_same_seed_plants_the_same_labels_and_another_one_others() -> None:
    first, again, other = (audit.plant(200, 0.1, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_audit_says_how_good_the_flags_are() -> None:
    suspicion = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    wrong = np.array([True, False, True, False, False])
    found = audit.audit(suspicion, wrong, flagged=suspicion >= 4.0)
    assert (found.flagged, found.precision, found.recall) == (2, 0.5, 0.5)
    assert found.auroc == pytest.approx(5 / 6)
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)


def test_where_nothing_was_flagged_there_is_no_precision() -> None:
    wrong = np.array([True, False])
    found = audit.audit(np.array([1.0, 0.0]), wrong, flagged=np.zeros(2, dtype=np.bool_))
    assert (found.precision, found.recall) == (None, 0.0)


@pytest.mark.parametrize("wrong", [True, False])
def test_a_truth_of_one_kind_only_cannot_judge(wrong: bool) -> None:
    truth = np.full(3, wrong)
    with pytest.raises(ValueError, match="right labels and wrong ones"):
        audit.audit(np.arange(3.0), truth, flagged=truth)


def test_a_bias_flips_its_own_candidates_and_nobody_elses() -> None:
    candidates = np.arange(100) < 40
    planted = audit.plant_among(candidates, 0.3, np.random.default_rng(1))
    assert planted.sum() == 30
    assert not (planted & ~candidates).any()


def test_a_bias_flips_all_its_candidates_where_there_are_too_few() -> None:
    candidates = np.arange(100) < 10
    planted = audit.plant_among(candidates, 0.3, np.random.default_rng(1))
    assert (planted == candidates).all()


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_doubt_flips_the_wanted_share_and_near_ties_most(share: float, unit: float) -> None:
    generator = np.random.default_rng(7)
    margins = unit * generator.normal(size=20_000)
    planted = audit.plant_near_ties(margins, share, generator)
    near = np.abs(margins) < np.median(np.abs(margins))
    assert planted.mean() == pytest.approx(share, abs=0.02)
    assert planted[near].mean() > 1.2 * planted[~near].mean()
    assert planted[near].mean() < 0.5  # an honest doubt never prefers the wrong response
