"""Recipes told in sentences: every part that does something is said, and nothing else."""

import re
from typing import Any

import pytest

from scoring.core import recipe_words, recipes
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe


def made(**parts: object) -> Recipe:
    return recipes.parse({"name": "made", **parts})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_told_in_sentences_and_stands_in_one_group(name: str) -> None:
    preset = PRESETS[name]
    said = recipe_words.in_words(preset)
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in said)
    assert len(set(said)) == len(said)
    assert recipe_words.group_of(preset) in recipe_words.GROUPS


def test_recipes_that_do_different_things_are_told_differently() -> None:
    told = [tuple(recipe_words.in_words(preset)) for preset in PRESETS.values()]
    assert len(set(told)) == len(told)


def test_a_treatment_says_which_pairs_and_what_becomes_of_them() -> None:
    recipe = made(
        treatments=[
            {"when": {"percentile": [0, 0.1]}, "then": {"flip": True}},
            {"when": {"flag": ["ambiguous", "clear"]}, "then": {"alpha": 0.4, "weight": 0.5}},
            {"when": {"strength_below": 0}, "then": {"drop": True}},
            {"when": {"percentile": [0.9, 1]}, "then": {"margin": 2}},
            {"when": {"strength_from": -0.5, "strength_below": 1}, "then": {"alpha": 0.1}},
        ]
    )
    said = recipe_words.in_words(recipe)
    assert "Pairs among the weakest 10 %: the label is turned round." in said
    assert (
        "Pairs flagged ambiguous or clear: the label is right with probability 0.6, weighs 0.5."
        in said
    )
    assert "Pairs that the ensemble contradicts: left out." in said
    assert "Pairs among the strongest 10 %: a margin of 2 times its strength is asked for." in said
    assert "Pairs of strength −0.5 to +1: the label is right with probability 0.9." in said
    assert said[-1].startswith("A pair takes every treatment that it meets")


def test_what_a_recipe_needs_is_said_before_it_is_followed() -> None:
    assert recipe_words.needs(PRESETS["plain"]) == []
    assert recipe_words.needs(PRESETS["soft labels"]) == ["a run that has scored the dataset"]
    assert "out-of-bag" in recipe_words.needs(PRESETS["calibrated labels"])[0]
    assert recipe_words.needs(PRESETS["MetaRM"]) == ["a set of sampled responses"]
    assert recipe_words.needs(PRESETS["graded"]) == ["labels that say how strongly"]
    tuned = made(model={"kind": "lora", "base": "org/model"})
    assert "org/model" in recipe_words.needs(tuned)[0]
    flagged = made(treatments=[{"when": {"flag": "flipped"}, "then": {"flip": True}}])
    assert recipe_words.needs(flagged)[1] == "pairs that the run flagged likely flipped"


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("plain", recipe_words.PLAIN_GROUP),
        ("flip + margin", recipe_words.RUN_GROUP),
        ("label smoothing", recipe_words.LOSS_GROUP),
        ("robust", recipe_words.LOSS_GROUP),
        ("SwAV on pairs", recipe_words.HIDDEN_GROUP),
        ("MetaRM", recipe_words.HIDDEN_GROUP),
    ],
)
def test_presets_are_grouped_by_what_they_ask_for(name: str, group: str) -> None:
    assert recipe_words.group_of(PRESETS[name]) == group


@pytest.mark.parametrize(
    ("model", "optimiser", "words"),
    [
        (
            {"kind": "hidden"},
            {"epochs": 9, "patience": 1},
            "At most 9 epochs .* stops after 1 look without a lower loss .* looked at each epoch",
        ),
        ({"kind": "hidden"}, {"epochs": 9, "patience": 0}, r"^9 epochs .* warm-up\.$"),
        (
            {"kind": "lora", "base": "org/base"},
            {"epochs": 1, "patience": 3},
            "At most 1 epoch in .* stops after 3 looks .* about twenty times in all",
        ),
    ],
    ids=["heads", "no-stop", "one-epoch-of-a-whole-model"],
)
def test_a_recipe_says_after_how_many_looks_it_stops(
    model: dict[str, Any], optimiser: dict[str, Any], words: str
) -> None:
    found = made(model=model, optimiser=optimiser)
    assert re.search(words, recipe_words.in_words(found)[-1])
