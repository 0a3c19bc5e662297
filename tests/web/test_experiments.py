"""Experiments in the browser: the form with its rows of arms, what is refused beside it, and the
report."""

import io
import json
from typing import Any

import pytest
from django.test import Client

from annotations.models import Dataset, GoldPair, Snapshot
from curator.lib.work import Work
from curator.models import User
from scoring import device_tasks, freezing, tasks
from scoring.experiments import launching
from scoring.experiments.planning import ArmPlan, Design
from scoring.models import Arm, Experiment, Trial
from tests import factories

COUNT = 60
WRONG = {number for number in range(COUNT) if number % 3 == 0}
NEW = "/datasets/pairs/experiments/new/"


@pytest.fixture
def noisy(dataset: Dataset) -> Dataset:
    """Good answers are long; a third of the labels are wrong."""
    rows = [
        factories.row(
            number,
            id=f"pair-{number}",
            prompt=f"question {number}?",
            label="b" if number in WRONG else "a",
        )
        for number in range(COUNT)
    ]
    factories.imported(dataset, rows)
    return dataset


@pytest.fixture
def snapshot(noisy: Dataset, casey: User) -> Snapshot:
    return freezing.freeze(dataset=noisy, by=casey)


@pytest.fixture
def desk(noisy: Dataset, as_casey: Client) -> Client:
    return as_casey


def truth_file(text: str = "") -> io.BytesIO:
    rows = [{"id": f"pair-{number}", "flipped": number in WRONG} for number in range(COUNT)]
    file = io.BytesIO((text or "\n".join(map(json.dumps, rows))).encode())
    file.name = "truth.jsonl"
    return file


def posted(**changes: Any) -> dict[str, Any]:
    """What a browser sends of two arms, raw labels and those that hold now."""
    return {
        "name": "cleaning",
        "arms": 2,
        "arm-0-name": "raw labels",
        "arm-0-labels": "source",
        "arm-0-recipe": "plain",
        "arm-1-name": "now",
        "arm-1-labels": "now",
        "arm-1-recipe": "soft labels",
        "seeds": 2,
        "folds": 3,
        "members": 2,
        "backbone": "minilm",
        "trusted": "file",
        "do": "start",
        **changes,
    }


def page_of(response: Any) -> str:
    return str(response.content.decode())


def finished(dataset: Dataset, backbone: str) -> Experiment:
    design = Design(
        dataset,
        "cleaning",
        [ArmPlan("raw labels", Arm.Labels.SOURCE), ArmPlan("<b>now</b>", Arm.Labels.NOW)],
        backbone,
        seeds=2,
        folds=3,
        members=2,
        truth={f"pair-{number}": number in WRONG for number in range(COUNT)},
    )
    experiment = launching.start(design, by=None)
    for trial in Trial.objects.filter(arm__experiment=experiment):
        device_tasks.run_trial(trial_id=trial.pk)
    tasks.finish_experiment(experiment_id=experiment.pk)
    experiment.refresh_from_db()
    assert experiment.status == Work.Status.DONE, experiment.problem
    return experiment


def waiting(dataset: Dataset) -> Experiment:
    design = Design(
        dataset,
        "waiting",
        [ArmPlan("raw labels", Arm.Labels.SOURCE), ArmPlan("now", Arm.Labels.NOW)],
        "minilm",
        seeds=2,
        folds=2,
        truth={f"pair-{number}": number in WRONG for number in range(COUNT)},
    )
    return launching.start(design, by=None)


PATHS = ("", "new/", "{experiment}/", "{experiment}/report.json")


@pytest.mark.parametrize("path", PATHS)
def test_only_curators_see_experiments(client: Client, noisy: Dataset, path: str) -> None:
    path = f"/datasets/pairs/experiments/{path.format(experiment=waiting(noisy).pk)}"
    annotator, stranger = factories.user("andy"), factories.user("stranger")
    noisy.memberships.create(user=annotator, role="annotator")
    client.force_login(User.objects.get(username="casey"))
    assert client.get(path).status_code == 200
    client.force_login(annotator)
    assert client.get(path).status_code == 403
    client.force_login(stranger)
    assert client.get(path).status_code == 404


def test_an_experiment_of_another_dataset_is_not_there(
    desk: Client, noisy: Dataset, casey: User
) -> None:
    factories.dataset("other", curators=[casey])
    row = waiting(noisy)
    assert desk.get(f"/datasets/other/experiments/{row.pk}/").status_code == 404
    assert desk.post(f"/datasets/other/experiments/{row.pk}/cancel/").status_code == 404


def test_without_any_the_page_names_the_next_step(desk: Client, snapshot: Snapshot) -> None:
    page = page_of(desk.get("/datasets/pairs/experiments/"))
    assert "No experiment yet" in page
    assert f"new/?after={snapshot.number}" in page


# --- The form -------------------------------------------------------------------------------------


def arms_of(response: Any) -> list[dict[str, Any]]:
    return [dict(arm.initial) for arm in response.context["form"].arms]


def test_the_form_begins_with_raw_labels_and_the_last_snapshot(
    desk: Client, snapshot: Snapshot
) -> None:
    raw, after = arms_of(desk.get(NEW))
    assert (raw["labels"], after["labels"]) == ("source", f"snapshot:{snapshot.number}")
    by_recipe = arms_of(desk.get(NEW, {"recipe": "soft labels"}))[1]
    assert (by_recipe["labels"], by_recipe["recipe"]) == ("source", "soft labels")


def test_the_form_says_how_many_trusted_pairs_there_are_and_what_is_lacking(
    desk: Client, noisy: Dataset, casey: User
) -> None:
    page = page_of(desk.get(NEW))
    assert "At least 30 are needed" in page
    for pair in noisy.pairs.all()[:40]:
        GoldPair.objects.create(pair=pair, dataset=noisy, preference="a", created_by=casey)
    response: Any = desk.get(NEW)
    assert response.context["trusted_count"] == 40
    assert "40 gold answers" in page_of(response)
    assert "At least 30 are needed" not in page_of(response)


def test_rows_are_added_and_taken_away_without_losing_what_was_typed(desk: Client) -> None:
    response = desk.post(NEW, posted(do="add", name="mine", seeds="7"))
    assert response.status_code == 200
    names = [arm.get("name") for arm in arms_of(response)]
    assert names == ["raw labels", "now", ""]
    page = page_of(response)
    assert 'value="mine"' in page
    assert 'value="7"' in page
    three = posted(arms=3, **{"arm-2-name": "third", "arm-2-labels": "now", "do": "remove:1"})
    names = [arm.get("name") for arm in arms_of(desk.post(NEW, three))]
    assert names == ["raw labels", "third"]
    assert not Experiment.objects.exists()


def test_with_scripts_only_the_rows_are_exchanged(desk: Client) -> None:
    response = desk.post(NEW, posted(do="add"), headers={"HX-Request": "true"})
    page = page_of(response)
    assert page.count('class="arm"') == 3
    assert "<html" not in page


@pytest.mark.parametrize("button", ["remove:9", "remove:-1", "remove:x", "remove:", "what"])
def test_a_button_that_is_none_changes_nothing(desk: Client, button: str) -> None:
    assert len(arms_of(desk.post(NEW, posted(do=button)))) == 2


@pytest.mark.parametrize("count", ["", "-3", "x", "99999999999999999999", "500"])
def test_rows_are_never_fewer_than_two_or_more_than_there_may_be(desk: Client, count: str) -> None:
    response: Any = desk.post(NEW, posted(arms=count, do="add"))
    assert 2 <= len(response.context["form"].arms) <= 12


def test_an_experiment_is_started_from_its_form(desk: Client, noisy: Dataset) -> None:
    response: Any = desk.post(NEW, posted(truth=truth_file()))
    experiment = Experiment.objects.get(dataset=noisy)
    assert response["Location"] == f"/datasets/pairs/experiments/{experiment.pk}/"
    assert experiment.trusted == Experiment.Trusted.FILE
    assert [arm.labels for arm in experiment.arms.all()] == ["source", "now"]
    assert experiment.arms.last().recipe["name"] == "soft labels"  # type: ignore[union-attr]
    assert Trial.objects.filter(arm__experiment=experiment).count() == 4
    page = page_of(desk.get(response["Location"]))
    assert "No worker" in page
    assert "0 of 2" in page
    part = page_of(desk.get(response["Location"], headers={"HX-Request": "true"}))
    assert "<html" not in part


def test_an_arm_of_a_snapshot_takes_its_labels(desk: Client, snapshot: Snapshot) -> None:
    labels = {"arm-1-labels": f"snapshot:{snapshot.number}"}
    desk.post(NEW, posted(truth=truth_file(), **labels))
    arm = Experiment.objects.get().arms.last()
    assert arm is not None
    assert (arm.labels, arm.snapshot) == (Arm.Labels.SNAPSHOT, snapshot)


REFUSED = [
    ({"trusted": "people"}, "an experiment needs at least 30"),
    ({}, "Choose the file"),
    ({"arm-1-name": "raw labels", "truth": True}, "Two arms are called"),
    ({"name": "", "truth": True}, "This field is required"),
    ({"arm-1-name": "", "truth": True}, "This field is required"),
    ({"arm-1-labels": "snapshot:77", "truth": True}, "Select a valid choice"),
    ({"arm-1-recipe": "made up", "truth": True}, "Select a valid choice"),
    ({"arm-1-recipe": "MetaRM", "truth": True}, "name a set of responses"),
    ({"members": "3", "truth": True}, "multiple of step size 2"),
    ({"seeds": "0", "truth": True}, "greater than or equal to 1"),
    ({"responses": "9" * 30, "truth": True}, "Choose from what is there"),
    ({"evaluate_on": "elsewhere", "truth": True}, "Select a valid choice"),
    ({"trusted": "file", "text": '{"id": 1}'}, "Line 1 of truth.jsonl"),
    ({"trusted": "file", "text": '{"id": "no", "flipped": true}'}, "None of the ids"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_what_makes_no_sense_is_refused_beside_the_form(
    desk: Client, changes: dict[str, Any], said: str
) -> None:
    data = posted(**changes)
    if data.pop("truth", None) or "text" in data:
        data["truth"] = truth_file(data.pop("text", ""))
    response = desk.post(NEW, data)
    page = page_of(response)
    assert response.status_code == 422
    assert said in page
    assert 'value="raw labels"' in page  # what was typed is still there
    assert not Experiment.objects.exists()


def test_pairs_that_were_learnt_from_cannot_judge(
    desk: Client, noisy: Dataset, casey: User
) -> None:
    other = factories.dataset("other", curators=[casey])
    factories.imported(other, [factories.row(1, prompt="question 1?")])
    response = desk.post(NEW, posted(truth=truth_file(), evaluate_on="other"))
    assert response.status_code == 422
    assert "they share 1 prompt" in page_of(response)


def test_another_persons_dataset_is_not_offered_to_judge_on(desk: Client) -> None:
    factories.dataset("secret", curators=[factories.user("sam")])
    assert "secret" not in page_of(desk.get(NEW))


# --- The report -----------------------------------------------------------------------------------


def test_the_report_says_everything_in_words_and_tables(
    desk: Client, noisy: Dataset, tiny_backbone: str
) -> None:
    experiment = finished(noisy, tiny_backbone)
    response: Any = desk.get(f"/datasets/pairs/experiments/{experiment.pk}/")
    page = page_of(response)
    assert "On trusted labels" in page
    assert "rewards fitting their noise" in page
    assert "<b>now</b>" not in page
    assert f"{experiment.result['pairs']['trusted']} pairs with trusted labels" in page
    figures = response.context["figures"]
    assert {"accuracy", "differences", "calibration"} <= set(figures)
    shown = json.dumps(figures)
    assert "<b>" not in shown
    accuracy = {trace["name"]: trace for trace in figures["accuracy"]["data"]}
    report = json.loads(
        desk.get(f"/datasets/pairs/experiments/{experiment.pk}/report.json").content
    )
    wanted = [100 * arm["accuracy"]["trusted"]["estimate"] for arm in report["arms"]]
    assert accuracy["trusted labels"]["y"] == pytest.approx(wanted, abs=0.01)
    assert report["verdict"] == experiment.result["verdict"]
    part = desk.get(f"/datasets/pairs/experiments/{experiment.pk}/", headers={"HX-Request": "true"})
    assert part["HX-Refresh"] == "true"
    assert experiment.name in page_of(desk.get("/datasets/pairs/experiments/"))


def test_the_differences_of_the_same_labels_are_nought_and_drawn_so(
    desk: Client, noisy: Dataset, tiny_backbone: str
) -> None:
    """Nothing was decided, so that both arms have the same labels."""
    experiment = finished(noisy, tiny_backbone)
    response: Any = desk.get(f"/datasets/pairs/experiments/{experiment.pk}/")
    for trace in response.context["figures"]["differences"]["data"]:
        assert trace["x"] == [0.0]
        assert trace["error_x"]["array"] == [0.0]
    assert "+0.0 (+0.0 to +0.0)" in page_of(response)


def test_an_experiment_is_cancelled_and_started_again(desk: Client, noisy: Dataset) -> None:
    row = waiting(noisy)
    address = f"/datasets/pairs/experiments/{row.pk}/"
    assert desk.get(f"{address}cancel/").status_code == 405
    desk.post(f"{address}cancel/")
    row.refresh_from_db()
    assert row.status == Work.Status.CANCELLED
    assert "Run lost trials again" in page_of(desk.get(address))
    again = desk.post(f"{address}cancel/")
    assert "can be cancelled" in page_of(again)
    desk.post(f"{address}retry/")
    row.refresh_from_db()
    assert row.status == Work.Status.QUEUED


def test_a_failed_trial_is_told_with_its_reason(
    desk: Client, noisy: Dataset, tiny_backbone: str
) -> None:
    experiment = finished(noisy, tiny_backbone)
    failed = [{"arm": "raw labels", "seed": 1, "problem": "The disk is full."}]
    Experiment.objects.filter(pk=experiment.pk).update(
        result={**experiment.result, "failed": failed, "left_out": ["third"]}
    )
    page = page_of(desk.get(f"/datasets/pairs/experiments/{experiment.pk}/"))
    assert "The disk is full." in page
    assert "No trial of third ended" in page
