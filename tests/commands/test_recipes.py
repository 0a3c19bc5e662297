"""Recipes and sampled responses at the command line: listed, shown, kept, followed."""

from pathlib import Path

import pytest

from scoring.core.recipe_presets import PRESETS
from tests import factories
from tests.commands.conftest import Installation

WRITTEN = """
name: careful
note: half as many as the paper
treatments:
  - when: {percentile: [0, 0.05]}
    then: {drop: true}
"""


@pytest.fixture(scope="session")
def trainable(
    served: tuple[Installation, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Installation, str]:
    """Thirty pairs, a third of them labelled b."""
    path = tmp_path_factory.mktemp("recipes") / "pairs.jsonl"
    rows = [factories.row(n, label="b" if n % 3 == 0 else "a") for n in range(30)]
    path.write_bytes(factories.file_of(rows).getvalue())
    served[0].json("import_pairs", str(path), "--dataset", "recipes")
    return served[0], "recipes"


@pytest.mark.worker
def test_recipes_are_listed_shown_kept_and_followed(
    trainable: tuple[Installation, str], tmp_path: Path
) -> None:
    at, slug = trainable
    listed = at.json("recipes", slug)["recipes"]
    assert [each["name"] for each in listed] == list(PRESETS)
    shown = at.json("recipes", slug, "--show", "label smoothing")["recipe"]
    assert shown["treatments"] == [{"when": {}, "then": {"alpha": 0.1}}]
    path = tmp_path / "careful.yaml"
    path.write_text(WRITTEN)
    kept = at.json("recipes", slug, "--keep", str(path))["recipe"]
    assert (kept["name"], kept["version"], kept["is_preset"]) == ("careful", 1, False)
    assert "# version 1" in at.run("recipes", slug, "--show", "careful").out
    trained = at.json(
        *("train_ensemble", slug, "--name", "smooth", "--members", "2"),
        *("--recipe", "label smoothing"),
    )
    assert (trained["recipe"], trained["recipe_version"]) == ("label smoothing", None)
    assert trained["treated"]["softened"] == trained["labelled"] == 30


@pytest.mark.worker
def test_responses_are_imported_and_what_is_wrong_is_told(
    trainable: tuple[Installation, str], tmp_path: Path
) -> None:
    at, slug = trainable
    path = tmp_path / "samples.jsonl"
    path.write_text(
        '{"prompt": "Why?", "responses": ["a", "b"], "scores": [1, 2]}\n{"prompt": 3}\n'
    )
    done = at.run("import_responses", slug, str(path), "--name", "samples", "--json")
    assert done.found["prompts"] == done.found["scored"] == done.found["refused"] == 1
    assert "Row 2: `prompt`" in done.err
    again = at.run("import_responses", slug, str(path), "--name", "samples")
    assert "choose another name" in again.refusal


@pytest.mark.worker
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--recipe", "none such"], "recipes has no recipe “none such”; there are:"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml cannot be read: No such file"),
        (["--recipe", "adaptive margin"], "has not been scored"),
        (["--recipe", "adaptive margin", "--run", "99"], "recipes has no run 99"),
        (["--recipe", "MetaRM"], "import_responses recipes FILE"),
        (["--run", "1"], "name one with --recipe"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_before_anything_is_made(
    trainable: tuple[Installation, str], arguments: list[str], sentence: str
) -> None:
    at, slug = trainable
    refused = at.run("train_ensemble", slug, "--name", "never", *arguments)
    assert sentence in refused.refusal
