"""Recipes and sampled responses in the browser: who sees them, what the editor says, what is
kept."""

import io
import json
from typing import Any

import pytest
from django.test import Client

from annotations.models import Dataset
from curator.models import User
from scoring import recipe_book
from scoring.core import recipes
from scoring.core.recipes import PRESETS
from scoring.models import ResponseSet, TrainingRecipe
from tests import factories

HALF = """
name: halve the doubtful
note: Ambiguous pairs count half.
treatments:
- when: {flag: ambiguous}
  then: {weight: 0.5}
"""
BAD = """
name: bad
loss: {name: bradley-tery}
treatments:
- when: {percentile: [0, 2]}
  then: {alpha: 0.7}
"""


@pytest.fixture
def desk(dataset: Dataset, as_casey: Client) -> Client:
    return as_casey


def page_of(response: Any) -> str:
    return str(response.content.decode())


def kept(dataset: Dataset, text: str = HALF) -> TrainingRecipe:
    return recipe_book.keep(dataset=dataset, recipe=recipe_book.from_text(text), by=None)


PATHS = ("recipes/", "recipes/new/", "recipes/{recipe}/", "responses/")


@pytest.mark.parametrize("path", PATHS)
def test_only_curators_see_recipes(client: Client, dataset: Dataset, path: str) -> None:
    path = f"/datasets/pairs/{path.format(recipe=kept(dataset).pk)}"
    annotator, stranger = factories.user("andy"), factories.user("stranger")
    dataset.memberships.create(user=annotator, role="annotator")
    client.force_login(User.objects.get(username="casey"))
    assert client.get(path).status_code == 200
    client.force_login(annotator)
    assert client.get(path).status_code == 403
    client.force_login(stranger)
    assert client.get(path).status_code == 404


def test_a_recipe_of_another_dataset_is_not_there(desk: Client, casey: User) -> None:
    other = kept(factories.dataset("other", curators=[casey]))
    assert desk.get(f"/datasets/pairs/recipes/{other.pk}/").status_code == 404


def test_every_preset_is_shown_in_words_and_leads_to_a_training(desk: Client) -> None:
    page = page_of(desk.get("/datasets/pairs/recipes/"))
    for preset in PRESETS.values():
        assert preset.note.replace("'", "&#x27;") in page
    assert "Pairs among the weakest 10 %: the label is turned round." in page
    assert "/datasets/pairs/ensembles/?recipe=flip+the+lowest+tenth#train" in page
    assert "Needs a set of sampled responses." in page


@pytest.mark.parametrize("name", PRESETS)
def test_the_editor_begins_with_a_preset_under_another_name(desk: Client, name: str) -> None:
    response: Any = desk.get("/datasets/pairs/recipes/new/", {"recipe": name})
    recipe = recipe_book.from_text(response.context["text"])
    assert recipe.name == f"{name} 2"
    assert recipes.digest(recipe) == recipes.digest(PRESETS[name])
    assert response.context["problems"] == []


def test_a_recipe_is_kept_as_a_version_and_changed_as_another(
    desk: Client, dataset: Dataset
) -> None:
    response: Any = desk.post("/datasets/pairs/recipes/new/", {"text": HALF, "do": "keep"})
    row = dataset.recipes.get()
    assert response["Location"] == f"/datasets/pairs/recipes/{row.pk}/"
    page = page_of(desk.get(response["Location"]))
    assert "Pairs flagged ambiguous: weighs 0.5." in page
    assert row.digest in page
    desk.post("/datasets/pairs/recipes/new/", {"text": HALF, "do": "keep"})
    assert dataset.recipes.count() == 1  # the same again is the same version
    changed = HALF.replace("0.5", "0.25")
    desk.post("/datasets/pairs/recipes/new/", {"text": changed, "do": "keep"})
    assert [each.version for each in recipe_book.versions(dataset, row.name)] == [2, 1]
    assert "There is a newer version" in page_of(desk.get(response["Location"]))


def test_all_that_is_wrong_is_said_at_once_and_nothing_kept(desk: Client, dataset: Dataset) -> None:
    response: Any = desk.post("/datasets/pairs/recipes/new/", {"text": BAD, "do": "keep"})
    page = page_of(response)
    assert response.status_code == 422
    assert len(response.context["problems"]) == 3
    assert "bradley-tery" in page
    assert "name: bad" in page  # the text is still there
    assert not dataset.recipes.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is an object"),
        ("[1, 2", "neither YAML nor JSON"),
        ("{name: x, treatmens: []}", "Is <code>treatments</code> meant?"),
        ('{"name": "<script>alert(1)</script>", "loss": 3}', "is an object"),
    ],
)
def test_the_editor_says_what_cannot_be_followed(desk: Client, text: str, said: str) -> None:
    response = desk.post("/datasets/pairs/recipes/check/", {"text": text})
    page = page_of(response)
    assert response.status_code == 200
    assert "cannot be followed yet" in page
    assert said in page
    assert "<script>" not in page


def test_the_editor_says_what_the_recipe_would_do(desk: Client) -> None:
    page = page_of(desk.post("/datasets/pairs/recipes/check/", {"text": HALF}))
    assert "Pairs flagged ambiguous: weighs 0.5." in page
    assert "becomes version 1" in page
    shadow = HALF.replace("halve the doubtful", "soft labels")
    page = page_of(desk.post("/datasets/pairs/recipes/check/", {"text": shadow}))
    assert "A preset of this name does something else" in page


# --- Sampled responses ----------------------------------------------------------------------------


def upload(rows: list[Any]) -> io.BytesIO:
    file = io.BytesIO("\n".join(map(json.dumps, rows)).encode())
    file.name = "sampled.jsonl"
    return file


def test_responses_are_uploaded_and_counted(desk: Client, dataset: Dataset) -> None:
    rows = [
        {"prompt": "why?", "responses": ["so", "because"], "scores": [0, 1]},
        {"prompt": "how?", "responses": ["thus", "like this", "no"]},
        {"prompt": "who?", "responses": ["only one"]},
    ]
    data = {"name": "policy 1", "file": upload(rows)}
    response: Any = desk.post("/datasets/pairs/responses/", data, follow=True)
    row = ResponseSet.objects.get(dataset=dataset)
    assert (row.prompts, row.responses, row.scored) == (2, 5, 1)
    page = page_of(response)
    assert "2 of 3 rows were kept" in page
    assert "Row 3:" in page
    assert "policy 1" in page


def test_a_file_without_responses_is_refused_beside_the_form(
    desk: Client, dataset: Dataset
) -> None:
    data = {"name": "policy 1", "file": upload([{"prompt": "why?"}])}
    response = desk.post("/datasets/pairs/responses/", data)
    assert response.status_code == 422
    assert "No row of the file holds a prompt with responses" in page_of(response)
    assert not ResponseSet.objects.exists()


def test_a_file_past_the_cap_is_refused_with_its_size(
    desk: Client, dataset: Dataset, settings: Any
) -> None:
    settings.MAX_UPLOAD_BYTES = 1000
    rows = [{"prompt": "why?", "responses": ["a" * 2000, "b"]}]
    response = desk.post("/datasets/pairs/responses/", {"name": "large", "file": upload(rows)})
    assert response.status_code == 422
    assert "The file is larger than" in page_of(response)
