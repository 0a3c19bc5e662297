"""Recipes by name and in files: versions are kept, files are read without trust."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from annotations.models import Dataset
from curator.lib.refusals import Forbidden
from scoring import recipe_book
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import BadRecipe, Recipe, parse
from scoring.recipe_book import NoSuchRecipe
from tests import factories

WRITTEN = """
name: careful
note: half as many as the paper
treatments:
  - when: {percentile: [0, 0.05]}
    then: {drop: true}
"""


def careful(**changes: object) -> Recipe:
    return parse({"name": "careful", "loss": {"name": "unbiased"}, **changes})


def test_a_recipe_that_did_not_change_is_one_version(dataset: Dataset) -> None:
    first = recipe_book.keep(dataset=dataset, recipe=careful(), by=None)
    again = recipe_book.keep(dataset=dataset, recipe=careful(), by=None)
    changed = recipe_book.keep(dataset=dataset, recipe=careful(note="why"), by=None)
    assert (first.pk, first.version) == (again.pk, 1)
    assert changed.version == 2
    assert first.digest == changed.digest
    assert [row.version for row in recipe_book.versions(dataset, "careful")] == [2, 1]
    assert recipe_book.called(dataset, "careful") == careful(note="why")


def test_presets_are_there_until_a_version_takes_their_name(dataset: Dataset) -> None:
    names = [entry.name for entry in recipe_book.entries(dataset)]
    assert names == list(PRESETS)
    mine = parse({"name": "robust", "loss": {"name": "robust", "beta": 3}})
    assert recipe_book.version_of(dataset=dataset, recipe=PRESETS["robust"], by=None) is None
    assert recipe_book.version_of(dataset=dataset, recipe=mine, by=None) == 1
    entries = recipe_book.entries(dataset)
    assert [entry.name for entry in entries].count("robust") == 1
    assert (entries[0].name, entries[0].is_preset) == ("robust", False)
    assert recipe_book.called(dataset, "robust") == mine


def test_a_name_that_is_not_known_is_answered_with_those_that_are(dataset: Dataset) -> None:
    with pytest.raises(NoSuchRecipe, match="no recipe “plian”; there are: plain, flip"):
        recipe_book.called(dataset, "plian")


def test_who_may_not_curate_may_not_keep_a_recipe(dataset: Dataset) -> None:
    with pytest.raises(Forbidden):
        recipe_book.keep(dataset=dataset, recipe=careful(), by=factories.user("stranger"))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_written_to_a_file_and_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_book.as_text(PRESETS[name]))
    assert recipe_book.from_file(path) == PRESETS[name]


def test_files_are_yaml_or_json(dataset: Dataset, tmp_path: Path) -> None:
    yaml, json = tmp_path / "one.yml", tmp_path / "one.json"
    yaml.write_text(WRITTEN)
    json.write_text(
        '{"name": "careful", "note": "half as many as the paper", "treatments": '
        '[{"when": {"percentile": [0, 0.05]}, "then": {"drop": true}}]}'
    )
    assert recipe_book.named(dataset, str(yaml)) == recipe_book.named(dataset, str(json))


def test_words_and_numbers_are_read_as_people_mean_them() -> None:
    """`on` is a key and no truth value, 1e-4 a number and no text."""
    found = recipe_book.from_text(
        "name: x\n"
        "model: {kind: hidden}\n"
        "contrastive: {method: swav, on: differences}\n"
        "optimiser: {learning_rate: 1e-4}\n"
    )
    assert found.contrastive is not None
    assert found.contrastive.on == "differences"
    assert found.optimiser.learning_rate == 1e-4


def test_whole_numbers_are_decimal_whatever_they_begin_with() -> None:
    found = recipe_book.from_text("name: x\nmodel: {kind: hidden}\noptimiser: {epochs: 010}\n")
    assert found.optimiser.epochs == 10


@given(st.text(min_size=1, max_size=12) | st.from_regex(r"\A[-+.0-9eEx_:]{1,8}\Z"))
@example("1e5")
@example("010")
@example("on")
@example("null")
@example("=")
def test_whatever_a_recipe_is_called_it_is_read_back_as_it_was_written(name: str) -> None:
    try:
        recipe = parse({"name": name})
    except BadRecipe:
        return
    assert recipe_book.from_text(recipe_book.as_text(recipe)) == recipe


def test_small_numbers_are_read_back_as_they_were_written() -> None:
    tuned = {"model": {"kind": "hidden"}, "optimiser": {"learning_rate": 1e-5, "warm_up": 1e-22}}
    recipe = parse({"name": "slow", **tuned})
    assert recipe_book.from_text(recipe_book.as_text(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "This is no recipe: A recipe is an object"),
        ("name: [", "This is neither YAML nor JSON"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("name: x\nname: y", "`name` is said twice"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("[" * 5000, "This is neither YAML nor JSON"),
        ("name: " + "9" * 5000, "This is neither YAML nor JSON"),
        ("name: x\nloss: {nois: 0.1}", "Is `noise` meant?"),
        ("x" * 30_000, "at most 20,000 characters"),
        ("name: x\n? [a]\n: 1", "This is neither YAML nor JSON"),
    ],
)
def test_what_is_no_recipe_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(NoSuchRecipe) as refused:
        recipe_book.from_text(text)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRecipe, match="cannot be read: No such file"):
        recipe_book.from_file(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NoSuchRecipe, match="is not text in UTF-8"):
        recipe_book.from_file(binary)
