"""Pseudo-labels in the browser: begin rounds, watch them, take a round back."""

from typing import Any

import pytest
from django.test import Client

from annotations.models import Dataset
from curator.lib.work import Work
from curator.models import User
from scoring import iterating
from scoring.models import Iteration
from tests import factories
from tests.scoring.test_iterating import go_on

PATH = "/datasets/pairs/iterations/"


@pytest.fixture
def half_labelled(dataset: Dataset) -> Dataset:
    rows = [factories.row(number, label="ab"[number % 4 == 0]) for number in range(30)]
    rows += [factories.row(number, labels=[]) for number in range(30, 50)]
    factories.imported(dataset, rows)
    return dataset


@pytest.fixture
def desk(half_labelled: Dataset, as_casey: Client) -> Client:
    return as_casey


def posted(**changes: Any) -> dict[str, Any]:
    return {
        "name": "pool",
        "rounds": 2,
        "threshold": 0.6,
        "recipe": "plain",
        "members": 4,
        "backbone": "minilm",
        **changes,
    }


def page_of(response: Any) -> str:
    return str(response.content.decode())


def test_only_curators_see_pseudo_labels(client: Client, half_labelled: Dataset) -> None:
    annotator, stranger = factories.user("andy"), factories.user("stranger")
    half_labelled.memberships.create(user=annotator, role="annotator")
    for person, status in (("casey", 200), ("andy", 403), ("stranger", 404)):
        client.force_login(User.objects.get(username=person))
        assert client.get(PATH).status_code == status
    client.force_login(annotator)
    assert client.post(PATH, posted()).status_code == 403
    client.force_login(stranger)
    assert client.post(f"{PATH}1/cancel/").status_code == 404


def test_the_page_says_how_many_pairs_have_no_label(desk: Client) -> None:
    page = page_of(desk.get(PATH))
    assert "<strong>20</strong> pairs without a label" in page
    assert "soft labels" not in page  # goes by a run, which rounds do not have


def test_rounds_begin_from_the_form_and_are_cancelled(desk: Client) -> None:
    response: Any = desk.post(PATH, posted(recipe="label smoothing"))
    row = Iteration.objects.get()
    assert response["Location"] == PATH
    assert (row.rounds_wanted, row.threshold) == (2, 0.6)
    assert row.recipe["name"] == "label smoothing"
    page = page_of(desk.get(PATH))
    assert "No worker" in page
    part = desk.get(PATH, headers={"HX-Request": "true"})
    assert "<html" not in page_of(part)
    desk.post(f"{PATH}{row.pk}/cancel/")
    row.refresh_from_db()
    assert row.status == Work.Status.CANCELLED
    assert "can be cancelled" in page_of(desk.post(f"{PATH}{row.pk}/cancel/"))
    assert f"{PATH}{row.pk}/again/" in page_of(desk.get(PATH))
    over = desk.get(PATH, headers={"HX-Request": "true"})
    assert over["HX-Refresh"] == "true"


def test_an_iteration_that_ended_early_is_started_again(desk: Client) -> None:
    desk.post(PATH, posted())
    row = Iteration.objects.get()
    assert "was cancelled can be started again" in page_of(desk.post(f"{PATH}{row.pk}/again/"))
    desk.post(f"{PATH}{row.pk}/cancel/")
    response: Any = desk.post(f"{PATH}{row.pk}/again/")
    assert response["Location"] == PATH
    row.refresh_from_db()
    assert row.status == Work.Status.QUEUED
    assert "/again/" not in page_of(desk.get(PATH))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "a b/c"}, "cannot be an ensemble"),
        ({"threshold": 0.4}, "greater than or equal to 0.5"),
        ({"threshold": "nan"}, "Enter a number"),
        ({"rounds": 0}, "greater than or equal to 1"),
        ({"recipe": "soft labels"}, "Select a valid choice"),
        ({"members": 3}, "multiple of step size 2"),
    ],
)
def test_what_makes_no_sense_is_refused_beside_the_form(
    desk: Client, changes: dict[str, Any], said: str
) -> None:
    response = desk.post(PATH, posted(**changes))
    assert response.status_code == 422
    assert said in page_of(response)
    assert not Iteration.objects.exists()


def test_a_second_iteration_waits_for_the_end_of_the_first(desk: Client) -> None:
    desk.post(PATH, posted())
    response = desk.post(PATH, posted(name="other"))
    assert response.status_code == 422
    assert "is at work" in page_of(response)


def test_each_round_is_told_with_its_ensemble_run_and_batch(
    desk: Client, half_labelled: Dataset, tiny_backbone: str
) -> None:
    row = go_on(
        iterating.start(
            dataset=half_labelled,
            name="pool",
            by=None,
            rounds=1,
            threshold=0.6,
            members=4,
            backbone=tiny_backbone,
        )
    )
    assert row.status == Work.Status.DONE, row.problem
    first = row.rounds.get()
    page = page_of(desk.get(PATH))
    assert f"/ensembles/{first.ensemble.name}/" in page
    assert f"/runs/{first.run_id}/" in page
    assert f"/batches/{first.batch_id}/undo/" in page
    assert f'<td class="number">{first.figures["labelled"]}</td>' in page
