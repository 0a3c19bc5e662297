"""Recipes and sampled responses in the browser: who sees them, what the editor says, what is
kept."""

import io
import json
from typing import Any

import pytest
from django.test import Client

from annotations.models import Dataset
from curator.models import User
from scoring import launch, recipe_book
from scoring.core import recipes
from scoring.core.recipe_presets import PRESETS
from scoring.models import MemberTraining, ResponseSet, TrainingRecipe
from tests import factories
from tests.scenarios import Scene

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
    assert "/datasets/pairs/ensembles/?recipe=flip%20the%20lowest%20tenth#train" in page
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


# --- Training by a recipe -------------------------------------------------------------------------


@pytest.fixture
def at_scene(scene: Scene, client: Client) -> Client:
    client.force_login(scene.curator)
    return client


def test_the_form_offers_recipes_by_group_and_says_what_the_chosen_one_does(
    scene: Scene, at_scene: Client
) -> None:
    page = page_of(at_scene.get("/datasets/scene/ensembles/", {"recipe": "soft labels"}))
    for group in ("Plain", "By what a run found", "By the loss", "With a hidden layer"):
        assert f'<optgroup label="{group}">' in page
    assert '<option value="soft labels" selected>' in page
    assert "Pairs that the ensemble contradicts: the label is right with probability 0.6." in page
    assert f"/runs/{scene.run.pk}/" in page
    told = page_of(at_scene.get("/datasets/scene/recipes/told/", {"recipe": "MetaRM"}))
    assert "Upload responses" in told
    missing = at_scene.get("/datasets/scene/recipes/told/", {"recipe": "made up"})
    assert "has no recipe" in page_of(missing)
    unknown = at_scene.get("/datasets/scene/ensembles/", {"recipe": "made up"})
    assert '<option value="plain" selected>' in page_of(unknown)


def test_before_any_run_the_form_says_what_is_lacking(desk: Client) -> None:
    page = page_of(desk.get("/datasets/pairs/recipes/told/", {"recipe": "soft labels"}))
    assert "has not been scored: train an ensemble plainly" in page


def trained_by(recipe: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "second",
        "recipe": recipe,
        "members": 4,
        "backbone": "minilm",
        "seed": 0,
        "bag_unit": "pair",
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": "MetaRM"}, "learns from several responses to a prompt"),
        ({"run": "9" * 40, "recipe": "soft labels"}, "Choose from what is there"),
        ({"responses": "9" * 40}, "Choose from what is there"),
    ],
)
def test_what_a_recipe_lacks_is_said_beside_the_form(
    at_scene: Client, changes: dict[str, Any], said: str
) -> None:
    response = at_scene.post("/datasets/scene/ensembles/", {**trained_by("plain"), **changes})
    assert response.status_code == 422
    assert said in page_of(response)


def test_the_ensemble_says_by_which_recipe_and_run_it_was_trained(
    scene: Scene, at_scene: Client, tiny_backbone: str
) -> None:
    recipe = recipe_book.from_text(HALF.replace("flag: ambiguous", "strength_below: 0"))
    factories.trained(scene.dataset, tiny_backbone, name="by-recipe", recipe=recipe)
    row = scene.dataset.recipes.get()
    page = page_of(at_scene.get("/datasets/scene/ensembles/by-recipe/"))
    assert "Pairs that the ensemble contradicts: weighs 0.5." in page
    assert f"/recipes/{row.pk}/" in page
    assert row.digest[:12] in page
    assert f"/runs/{scene.run.pk}/" in page
    assert "weighted" in page
    assert 'data-figure="loss"' not in page  # solved at once
    trained = page_of(at_scene.get(f"/datasets/scene/recipes/{row.pk}/"))
    assert "/ensembles/by-recipe/" in trained


def test_a_hidden_layers_curve_stays_on_its_page(
    scene: Scene, at_scene: Client, tiny_backbone: str
) -> None:
    factories.trained(scene.dataset, tiny_backbone, name="hidden", recipe=PRESETS["hidden layer"])
    response: Any = at_scene.get("/datasets/scene/ensembles/hidden/")
    assert response.context["figures"]["loss"]["data"]
    assert 'data-figure="loss"' in page_of(response)


def test_while_members_are_tuned_each_tells_its_steps_and_what_warns(
    scene: Scene, at_scene: Client
) -> None:
    recipe = recipes.parse({"name": "tuned", "model": {"kind": "lora", "base": "org/model"}})
    run = launch.start_training(
        dataset=scene.dataset, name="tuned", by=None, members=2, recipe=recipe
    )
    points = [{"step": 1, "epoch": 0.1, "loss": 0.7, "accuracy": 0.5, "margin": 0.0}]
    MemberTraining.objects.create(
        run=run,
        position=0,
        status="running",
        steps_done=10,
        steps_total=40,
        curve=points,
        warnings=["Rewards inflate: since step 3 their mean rose."],
    )
    MemberTraining.objects.create(run=run, position=1, status="failed", problem="It diverged.")
    for headers in ({}, {"HX-Request": "true"}):
        response: Any = at_scene.get("/datasets/scene/ensembles/tuned/", headers=headers)
        page = page_of(response)
        assert "10 of 40" in page
        assert "It diverged." in page
        assert "Member 1: Rewards inflate" in page
        assert set(response.context["figures"]) == {"loss", "accuracy", "rewards"}
