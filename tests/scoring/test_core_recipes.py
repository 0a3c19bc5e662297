"""Recipes: what is written is read, what makes no sense is refused in a sentence."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.core import recipes
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import BadRecipe, Recipe, parse


def written(**parts: Any) -> dict[str, Any]:
    return {"name": "mine", **parts}


def treating(then: dict[str, Any], when: dict[str, Any] | None = None) -> dict[str, Any]:
    return written(treatments=[{"when": when or {}, "then": then}])


def problems_of(recipe: object) -> list[str]:
    with pytest.raises(BadRecipe) as refused:
        parse(recipe)
    return refused.value.problems


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_read_back_as_it_was_written(name: str) -> None:
    preset = PRESETS[name]
    again = parse(recipes.as_json(preset))
    assert again == preset
    assert recipes.digest(again) == recipes.digest(preset)


def test_presets_differ_in_what_they_do() -> None:
    assert len({recipes.digest(preset) for preset in PRESETS.values()}) == len(PRESETS)


def test_every_treatment_of_the_paper_is_a_preset() -> None:
    done = [treatment.then for preset in PRESETS.values() for treatment in preset.treatments]
    assert any(then.flip for then in done)
    assert any(then.drop for then in done)
    assert any(then.alpha for then in done)
    assert any(then.margin for then in done)
    methods = {
        (preset.contrastive.method, preset.contrastive.on, preset.contrastive.weight)
        for preset in PRESETS.values()
        if preset.contrastive
    }
    assert methods == {
        ("simcse", "pairs", 1.0),
        ("simcse", "differences", 1.0),
        ("swav", "pairs", 0.1),
        ("swav", "differences", 0.5),
    }
    assert any(preset.meta for preset in PRESETS.values())


def test_what_is_left_out_has_a_default() -> None:
    assert parse({"name": "mine"}) == Recipe("mine")
    assert parse({"name": "mine"}).is_plain
    assert not PRESETS["label smoothing"].is_plain


def test_the_digest_names_what_a_recipe_does_and_not_what_it_is_called() -> None:
    one, other = parse(written(note="a note")), parse({"name": "yours"})
    assert recipes.digest(one) == recipes.digest(other)
    assert recipes.digest(one) != recipes.digest(PRESETS["unbiased"])


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ([], "A recipe is an object with names and values, not []."),
        ({}, "A recipe needs a `name`."),
        ({"name": 3}, "The name is text, not 3."),
        ({"name": "x" * 101}, "The name is at most 100 characters long."),
        ({"name": "a\0b"}, "signs that cannot be shown or stored"),
        (written(los={}), "A recipe has no `los`"),
        (written(los={}), "Is `loss` meant?"),
        (written(loss={"alpha": 0.1}), "A loss has no `alpha`"),
        (written(loss={"name": "hinge"}), "The loss is `bradley-terry`, `unbiased` or `robust`"),
        (written(loss={"name": "unbiased", "noise": 0.5}), "from 0 and below 0.5, not 0.5."),
        (written(loss={"name": "robust", "beta": 0}), "`beta` is a number from 0.01, not 0."),
        (written(loss={"name": "robust", "beta": 1e-40}), "a number from 0.01, not 1e-40."),
        (written(loss={"name": "robust", "beta": math.inf}), "`beta` is a number from 0.01"),
        (treating({"alpha": 0.5}), "Treatment 1: `alpha` is a number from 0 and below 0.5"),
        (treating({"alpha": -0.1}), "`alpha` is a number from 0 and below 0.5, not -0.1."),
        (treating({"alpha": True}), "`alpha` is a number from 0 and below 0.5, not True."),
        (treating({"alpha": math.nan}), "`alpha` is a number from 0 and below 0.5, not nan."),
        (treating({}), "Treatment 1 does nothing"),
        (treating({"flip": False}), "Treatment 1 does nothing"),
        (treating({"probability": None}), "Treatment 1 does nothing"),
        (treating({"drop": True}, {"flag": []}), "Treatment 1 is for no flag at all: name one"),
        (treating({"drop": True}, {"flag": None}), "a flag is `flipped`"),
        (treating({"drop": True}, {"percentile": None}), "two shares from 0 to 1"),
        (treating({"drop": True}, {"strength_from": None}), "is a number, not nothing."),
        (treating({"drop": True, "flip": True}), "who drops pairs does nothing else"),
        (treating({"drop": "yes"}), "`drop` is true or false."),
        (treating({"alpha": 0.1, "probability": "calibrated"}), "by `alpha` or by `probability`"),
        (treating({"probability": 0.8}), "for a number give `alpha`"),
        (treating({"margin": "large"}), "`margin` is a number from 0 to 100, not 'large'."),
        (treating({"weight": -1}), "`weight` is a number from 0 to 1000, not -1."),
        (treating({"soften": 1}), "Treatment 1: `then` has no `soften`"),
        (treating({"drop": True}, {"flag": "wrong"}), "a flag is `flipped`, `ambiguous`, `clear`"),
        (treating({"drop": True}, {"percentile": [0.2, 0.1]}), "two shares from 0 to 1"),
        (treating({"drop": True}, {"percentile": 0.1}), "two shares from 0 to 1"),
        (treating({"drop": True}, {"strength_below": "0"}), "`strength_below` is a number"),
        (
            treating({"drop": True}, {"strength_below": 0, "strength_from": 1}),
            "no strength is from 1 and below 0.",
        ),
        (written(treatments={"when": {}}), "`treatments` is a list"),
        (written(treatments=[{}] * 51), "at most 50 treatments"),
        (written(model={"kind": "forest"}), "The model's `kind` is"),
        (written(model={"kind": "linear", "hidden": 3}), "A linear model has no `hidden`"),
        (written(model={"kind": "hidden", "hidden": 0}), "a whole number from 1 to 4,096, not 0."),
        (written(model={"kind": "lora"}), "A lora model needs a `base`"),
        (written(optimiser={"epochs": 3}), "Linear heads are solved exactly"),
        (written(contrastive={}), "contrastive learning needs a model of kind"),
        (written(meta={}), "meta-learning needs a model of kind"),
        (written(loss={"centring": 0.1}), "centring needs a model of kind"),
        (
            written(model={"kind": "hidden", "dropout": 0}, contrastive={}),
            "Without dropout both views of a text are the same",
        ),
        (
            written(model={"kind": "hidden"}, contrastive={"method": "goals"}),
            "it needs a model of kind `lora` or `full`",
        ),
        (written(model={"kind": "hidden"}, meta={"responses": 1}), "from 2 to 64, not 1."),
        (
            {**treating({"margin": "strength"}), "ties": "half"},
            "Treatment 1 gives a margin to ties",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(recipe: object, sentence: str) -> None:
    said = " ".join(problems_of(recipe))
    assert sentence in said


def test_all_that_is_wrong_is_said_at_once() -> None:
    recipe = written(los={}, loss={"noise": 2}, treatments=[{"then": {"alpha": 3}}])
    assert len(problems_of(recipe)) == 3


def test_of_very_many_problems_the_first_are_told() -> None:
    found = problems_of(written(**{f"los{number}": 1 for number in range(2000)}))
    assert len(found) == 21
    assert "Is `loss` meant?" in found[0]
    assert found[-1] == "And 1,980 more."


def test_only_the_words_of_problems_that_are_told_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []

    def near(word: str, possibilities: object, n: int) -> list[str]:
        compared.append(word)
        return []

    monkeypatch.setattr("difflib.get_close_matches", near)
    problems_of(written(**{f"{number:0>5}" * 100: 1 for number in range(2000)}))
    assert len(compared) == 20
    assert max(map(len, compared)) == 60


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*recipes.KEYS, "when", "then", "alpha", "flag", "kind"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_is_written_is_a_recipe_or_is_refused(anything: object) -> None:
    try:
        recipe = parse(anything)
    except BadRecipe:
        return
    assert parse(recipes.as_json(recipe)) == recipe


def test_what_a_recipe_needs_is_told() -> None:
    assert not PRESETS["label smoothing"].needs_run
    assert PRESETS["adaptive margin"].needs_run
    assert PRESETS["calibrated labels"].needs_calibration
    assert PRESETS["graded"].needs_grades
    flagged = parse(treating({"drop": True}, {"flag": ["flipped", "ambiguous"]}))
    assert flagged.flags == ("flipped", "ambiguous")
    assert flagged.needs_run
