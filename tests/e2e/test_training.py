"""A curator writes a recipe, trains by it, and proves by an experiment what it is worth."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scoring import device_tasks, tasks
from scoring.models import Experiment, TrainingRun, Trial
from tests import factories
from tests.e2e.conftest import sign_in
from tests.scenarios import Scene

COUNT = 60


@pytest.fixture
def desk(
    page: Page, context: BrowserContext, live_server: Any, scene: Scene, troubles: list[str]
) -> Page:
    sign_in(context, live_server, scene.curator)
    return page


@pytest.fixture
def known(scene: Scene, tmp_path: Path) -> Path:
    """Sixty pairs more, and a file that says which of their labels are wrong."""
    numbers = range(100, 100 + COUNT)
    rows = [
        factories.row(number, id=f"pair-{number}", label="b" if number % 4 == 0 else "a")
        for number in numbers
    ]
    factories.imported(scene.dataset, rows)
    path = tmp_path / "truth.jsonl"
    lines = [{"id": f"pair-{number}", "flipped": number % 4 == 0} for number in numbers]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_recipe_is_judged_as_it_is_written_kept_and_trained_by(
    desk: Page, live_server: Any, scene: Scene, accessible: Callable[[Page], None]
) -> None:
    page = desk
    page.goto(f"{live_server.url}/datasets/scene/recipes/")
    accessible(page)
    page.get_by_role("link", name="New from this hidden layer").click()
    editor = page.get_by_label("The recipe, as YAML or JSON")
    text = editor.input_value()
    editor.fill(text.replace("hidden: 64", "hidden: many"))
    expect(page.locator("#recipe-judged")).to_contain_text("is a whole number")
    accessible(page)
    editor.fill(text.replace("hidden: 64", "hidden: 8").replace("hidden layer 2", "small"))
    expect(page.locator("#recipe-judged")).to_contain_text("a hidden layer of 8 units")
    page.get_by_role("button", name="Keep as a new version").click()
    expect(page.get_by_role("heading", name="small version 1")).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="Train with this").click()
    expect(page.get_by_label("Recipe")).to_have_value("small")
    page.get_by_label("Recipe").select_option("MetaRM")
    expect(page.locator("#recipe-told")).to_contain_text("Upload responses")
    page.get_by_label("Recipe").select_option("small")
    expect(page.locator("#recipe-told")).to_contain_text("a hidden layer of 8 units")
    accessible(page)
    page.locator("#id_name").fill("by-recipe")
    page.locator("#id_members").fill("2")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator(".state.queued")).to_be_visible()
    trained(scene)
    expect(page.locator('[data-figure="loss"] .scatterlayer .trace').first).to_be_attached()
    expect(page.get_by_role("heading", name="Trained by small")).to_be_visible()
    accessible(page)


def trained(scene: Scene) -> None:
    """What the workers do, on the backbone of the scene in place of the large one."""
    run = TrainingRun.objects.get(ensemble__name="by-recipe")
    run.ensemble.backbone = scene.ensemble.backbone
    run.ensemble.save()
    tasks.plan_training(run_id=run.pk)
    for shard in run.shards.all():
        device_tasks.embed_shard(shard_id=shard.pk)
    device_tasks.fit_ensemble(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == TrainingRun.Status.DONE, run.problem


def test_an_experiment_is_composed_watched_and_read(
    desk: Page,
    live_server: Any,
    scene: Scene,
    known: Path,
    accessible: Callable[[Page], None],
) -> None:
    page = desk
    page.goto(f"{live_server.url}/datasets/scene/experiments/")
    accessible(page)
    page.get_by_role("link", name="New experiment").click()
    page.get_by_label("a file that says").check()
    page.get_by_label("The file").set_input_files(known)
    page.get_by_role("button", name="Add an arm").click()
    page.get_by_label("Name of arm 3").fill("soft labels")
    page.get_by_label("Recipe of arm 3").select_option("soft labels")
    page.get_by_role("button", name="Remove arm 2").click()
    expect(page.get_by_label("Name of arm 2")).to_have_value("soft labels")
    page.get_by_label("Seeds").fill("2")
    page.get_by_label("Folds").fill("3")
    page.get_by_label("Members").fill("2")
    accessible(page)
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.locator("#arm-progress")).to_contain_text("0 of 2")
    accessible(page)
    experiment = Experiment.objects.get()
    Experiment.objects.filter(pk=experiment.pk).update(backbone=scene.ensemble.backbone)
    for trial in Trial.objects.filter(arm__experiment=experiment):
        device_tasks.run_trial(trial_id=trial.pk)
    tasks.finish_experiment(experiment_id=experiment.pk)
    expect(page.locator(".verdict-sentence")).to_contain_text("On trusted labels")
    expect(page.locator('[data-figure="accuracy"] .barlayer .point').first).to_be_attached()
    whiskers = page.locator('[data-figure="differences"] .errorbar')
    expect(whiskers.first).to_be_attached()
    expect(page.locator("#differences")).to_contain_text("soft labels")
    accessible(page)


def test_rounds_of_pseudo_labels_begin_are_cancelled_and_start_again(
    desk: Page, live_server: Any, scene: Scene, accessible: Callable[[Page], None]
) -> None:
    rows = [factories.row(number, labels=[]) for number in range(200, 220)]
    factories.imported(scene.dataset, rows)
    page = desk
    page.goto(f"{live_server.url}/datasets/scene/iterations/")
    accessible(page)
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name="pool")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Cancel pool").click()
    expect(page.locator(".state.cancelled")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Start again pool").click()
    expect(page.locator(".state.queued")).to_be_visible()
