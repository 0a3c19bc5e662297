"""What pairs teach by a recipe: directions, probabilities, margins and weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.core import strength
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import BadRecipe, Recipe, parse
from scoring.core.targets import Measured, Targets, targets

Floats = npt.NDArray[np.float64]

LABELS = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
STRENGTHS = np.array([-2.0, -1.0, -0.5, 0.2, 0.4, 0.8, 1.0, 1.5, 2.0, 3.0])
FLAGS = ["flipped", "flipped", "ambiguous", *["clear"] * 6, "strong"]


def recipe(*treatments: tuple[dict[str, Any], dict[str, Any]], **parts: Any) -> Recipe:
    stated = [{"when": when, "then": then} for when, then in treatments]
    return parse({"name": "mine", "treatments": stated, **parts})


def measured(
    strengths: Floats = STRENGTHS, flags: Sequence[str] = FLAGS, *, calibrated: bool = True
) -> Measured:
    known = np.isfinite(strengths)
    percentiles = np.full(len(strengths), np.nan)
    percentiles[known] = strength.percentile(strengths[known])
    probabilities = 1.0 / (1.0 + np.exp(-strengths))
    return Measured(strengths, percentiles, np.array(flags), probabilities if calibrated else None)


def taught(by: Recipe, **known: Any) -> Targets:
    return targets(LABELS, by, **{"measured": measured(), **known})


def test_without_treatments_labels_are_taught_as_they_are() -> None:
    found = targets(LABELS, PRESETS["plain"])
    assert found.is_plain
    assert (found.direction == LABELS).all()
    assert found.used.all()
    assert not found.flipped.any()


def test_a_flip_changes_direction_and_the_sign_of_the_margin() -> None:
    found = taught(PRESETS["flip + margin"])
    assert found.flipped.tolist() == [True] + [False] * 9
    assert found.direction[0] == -LABELS[0]
    # the label had strength -2: its opposite has 2
    assert found.margin.tolist() == [2.0, *STRENGTHS[1:].tolist()]
    assert found.probability.tolist() == [1.0] * 10


def test_labels_that_two_treatments_turn_round_are_turned_once() -> None:
    twice = recipe(
        ({"flag": "flipped"}, {"flip": True}), ({"strength_below": -1.5}, {"flip": True})
    )
    found = taught(twice)
    assert found.flipped.tolist() == [True, True] + [False] * 8
    assert (found.direction == np.where(found.flipped, -LABELS, LABELS)).all()


def test_soft_labels_are_right_with_one_minus_alpha() -> None:
    found = taught(PRESETS["soft labels"])
    assert found.probability.tolist() == [0.6] * 3 + [1.0] * 7
    assert (found.direction == LABELS).all()


def test_dropped_pairs_weigh_nothing_and_nothing_more_is_done_to_them() -> None:
    found = taught(
        recipe(({"percentile": [0, 0.2]}, {"drop": True}), ({}, {"weight": 3, "alpha": 0.1}))
    )
    assert found.weight.tolist() == [0.0, 0.0] + [3.0] * 8
    assert found.used.tolist() == [False, False] + [True] * 8


def test_the_later_treatment_has_the_word() -> None:
    found = taught(recipe(({}, {"alpha": 0.1}), ({"strength_from": 1.0}, {"alpha": 0.3})))
    assert found.probability.tolist() == [0.9] * 6 + [0.7] * 4


def test_conditions_hold_together() -> None:
    found = taught(
        recipe(({"flag": "clear", "strength_below": 1.0, "percentile": [0.4, 1]}, {"weight": 2}))
    )
    assert np.flatnonzero(found.weight == 2.0).tolist() == [4, 5]


def test_the_highest_percentile_is_met() -> None:
    found = taught(PRESETS["soft labels + margin on the strongest tenth"])
    assert np.flatnonzero(found.margin).tolist() == [9]
    assert found.probability[9] == 0.9


def test_a_calibrated_label_is_as_probable_as_the_run_found() -> None:
    found = taught(PRESETS["calibrated labels"])
    assert found.probability.tolist() == pytest.approx((1 / (1 + np.exp(-STRENGTHS))).tolist())


def test_a_calibrated_label_that_is_turned_round_is_as_probable_as_its_opposite_is_not() -> None:
    found = taught(
        recipe(({}, {"probability": "calibrated"}), ({"percentile": [0, 0.1]}, {"flip": True}))
    )
    assert found.probability[0] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert found.direction[0] == -LABELS[0]


def test_calibrated_labels_need_an_out_of_bag_run() -> None:
    with pytest.raises(BadRecipe, match="only an out-of-bag run has"):
        taught(PRESETS["calibrated labels"], measured=measured(calibrated=False))


def test_a_recipe_that_goes_by_a_run_needs_one() -> None:
    with pytest.raises(BadRecipe, match="name a run"):
        targets(LABELS, PRESETS["adaptive margin"])


def test_a_flag_that_the_run_lacks_is_refused() -> None:
    without = measured(flags=["clear"] * 10)
    wanted = recipe(({"flag": "strong"}, {"drop": True}))
    with pytest.raises(BadRecipe, match="flagged 'strong', and the run has none: it has clear"):
        taught(wanted, measured=without)


def test_a_part_of_a_run_need_not_have_every_flag_of_it() -> None:
    part = measured(flags=["clear"] * 10)
    whole = Measured(
        part.strengths, part.percentiles, part.flags, None, frozenset({"clear", "strong"})
    )
    assert taught(recipe(({"flag": "strong"}, {"drop": True})), measured=whole).used.all()


def test_pairs_that_were_not_scored_meet_only_what_is_for_all() -> None:
    strengths = np.where(np.arange(10) == 0, np.nan, STRENGTHS)
    found = taught(
        recipe(({"strength_below": 10}, {"margin": 1}), ({}, {"weight": 2})),
        measured=measured(strengths, ["", *FLAGS[1:]]),
    )
    assert found.margin[0] == 0.0
    assert found.weight.tolist() == [2.0] * 10


def test_decisions_have_softened_labels_before_any_treatment() -> None:
    softened = np.full(10, np.nan)
    softened[0] = 0.3
    plain = targets(LABELS, PRESETS["plain"], probabilities=softened)
    assert plain.probability.tolist() == [0.3] + [1.0] * 9
    assert not plain.is_plain
    turned = taught(recipe(({"percentile": [0, 0.1]}, {"flip": True})), probabilities=softened)
    assert turned.probability[0] == pytest.approx(0.7)
    smoothed = taught(PRESETS["soft labels"], probabilities=softened)
    assert smoothed.probability[0] == 0.6


def test_grades_weigh_where_people_gave_some() -> None:
    grades = np.full(10, np.nan)
    grades[:2] = 1.0, 3.0
    found = targets(LABELS, PRESETS["graded"], grades=grades)
    assert found.weight.tolist() == [1.0, 3.0] + [1.0] * 8


@pytest.mark.parametrize("grades", [None, np.full(10, np.nan)])
def test_weights_that_nobody_gave_are_refused(grades: Floats | None) -> None:
    with pytest.raises(BadRecipe, match="of 10 labels nobody has said so"):
        targets(LABELS, PRESETS["graded"], grades=grades)


def test_a_treatment_that_meets_no_pair_is_told() -> None:
    found = taught(
        recipe(({"strength_below": 0}, {"alpha": 0.1}), ({"strength_from": 9}, {"drop": True}))
    )
    assert found.warnings == ("Treatment 2 of the recipe met no pair and does nothing.",)
    assert found.of(found.used).warnings == found.warnings
    assert not taught(PRESETS["flip + margin"]).warnings


TIED = np.array([1.0, 0.0, -1.0])


def test_ties_are_left_out_or_taught_as_halves() -> None:
    assert targets(TIED, PRESETS["plain"]).used.tolist() == [True, False, True]
    kept = targets(TIED, recipe(ties="half"))
    assert kept.used.all()
    assert kept.probability.tolist() == [1.0, 0.5, 1.0]
    assert not kept.is_plain


def test_a_tie_is_neither_flipped_nor_smoothed() -> None:
    found = targets(TIED, recipe(({}, {"flip": True, "alpha": 0.2}), ties="half"))
    assert found.flipped.tolist() == [True, False, True]
    assert found.probability.tolist() == [0.8, 0.5, 0.8]
    assert found.direction[1] == 1.0


def test_a_margin_on_a_tie_is_refused() -> None:
    asks = Recipe("mine", treatments=PRESETS["adaptive margin"].treatments, keeps_ties=True)
    known = measured(np.array([1.0, np.nan, 2.0]), ["clear", "", "clear"])
    with pytest.raises(BadRecipe, match="gives a margin to 1 ties"):
        targets(TIED, asks, measured=known)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.sampled_from(sorted(PRESETS)))
def test_which_response_is_called_a_says_nothing(strengths: list[float], name: str) -> None:
    """With A and B exchanged every direction turns and nothing else does."""
    labels = np.where(np.arange(len(strengths)) % 3 == 0, -1.0, 1.0)
    known = measured(np.array(strengths), ["clear"] * len(strengths))
    grades = np.linspace(1.0, 3.0, len(strengths))
    one, other = (
        targets(way * labels, PRESETS[name], measured=known, grades=grades) for way in (1.0, -1.0)
    )
    assert (one.direction == -other.direction).all()
    for part in ("probability", "margin", "weight", "flipped"):
        assert (getattr(one, part) == getattr(other, part)).all()
