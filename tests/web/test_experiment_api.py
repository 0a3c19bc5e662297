"""Experiments in the REST API: started, watched, stopped, by whom they concern."""

from typing import Any

import pytest

from annotations import decisions
from annotations.models import Dataset, Verdict
from curator.models import User
from scoring import freezing
from scoring.models import Experiment, Trial
from tests import factories
from tests.web.test_api import NOT_HERE, Program, program_of

COUNT = 120
AT = "/datasets/pairs/experiments"


@pytest.fixture
def noisy(dataset: Dataset, casey: User) -> Dataset:
    """Labels of which one was turned by hand, and a snapshot of that."""
    factories.pairs(dataset, COUNT)
    first = dataset.pairs.order_by("pk")[0]
    decisions.decide(pair=first, verdict=Verdict.FLIP, by=casey, based_on=None)
    freezing.freeze(dataset=dataset, by=casey)
    return dataset


@pytest.fixture
def program(noisy: Dataset, casey: User) -> Program:
    return program_of(casey)


def wanted(**changes: Any) -> dict[str, Any]:
    return {
        "name": "cleaning",
        "arms": [
            {"name": "raw labels", "labels": "source"},
            {"name": "cleaned", "labels": "snapshot", "snapshot": "1"},
            {"name": "softened", "labels": "source", "recipe": "soft labels"},
        ],
        "truth": {f"pair-{number}": number == 0 for number in range(COUNT)},
        **changes,
    }


def test_an_experiment_is_started_watched_and_stopped(program: Program) -> None:
    started = program.post(AT, **wanted(seeds=2))
    assert started.status == 202, started.found
    assert (started.found["status"], started.found["share_done"]) == ("queued", 0.0)
    design = started.found["report"]["design"]
    assert [(arm["labels"], arm["snapshot"], arm["recipe"]) for arm in design] == [
        ("source", None, "plain"),
        ("snapshot", 1, "plain"),
        ("source", None, "soft labels"),
    ]
    assert Trial.objects.count() == 6
    one = f"{AT}/{started.found['id']}"
    assert program.get(one).found == started.found
    assert program.get(AT).found == [
        {"id": started.found["id"], "name": "cleaning", "status": "queued", "verdict": ""}
    ]
    assert program.post(f"{one}/cancel").found["status"] == "cancelled"
    assert program.post(f"{one}/cancel").status == 422
    assert program.post(f"{one}/retry").found["status"] == "queued"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arms": [{"name": "raw", "labels": "source"}]}, "compares 2 to 12 arms"),
        (
            {"arms": [{"name": "a", "labels": "source"}, {"name": "b", "labels": "snapshot"}]},
            "Say which snapshot",
        ),
        ({"truth": None}, "has 1 trusted pairs"),
        ({"backbone": "org/unknown"}, "The backbone 'org/unknown' is not known"),
        ({"responses": "none"}, "has no responses “none”"),
        ({"evaluate_on": "pairs"}, "is what the arms learn from"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(
    program: Program, changes: dict[str, Any], sentence: str
) -> None:
    answer = program.post(AT, **wanted(**changes))
    assert answer.status == 422
    assert sentence in answer.sentence
    assert not Experiment.objects.exists()


def test_a_snapshot_or_recipe_that_is_not_there_is_named(program: Program) -> None:
    arms = wanted()["arms"]
    lost = program.post(AT, **wanted(arms=[arms[0], {**arms[1], "snapshot": "7"}]))
    assert "has no snapshot '7'" in lost.sentence
    unknown = program.post(AT, **wanted(arms=[arms[0], {**arms[2], "recipe": "soft lables"}]))
    assert "soft lables" in unknown.sentence


def test_a_name_is_taken_once(program: Program) -> None:
    program.post(AT, **wanted())
    assert program.post(AT, **wanted()).status == 409


def test_strangers_and_annotators_see_no_experiments(program: Program, noisy: Dataset) -> None:
    made = program.post(AT, **wanted()).found["id"]
    anna = factories.annotator(noisy, "anna").user
    assert anna is not None
    stranger, annotator = program_of(factories.user("stranger")), program_of(anna)
    for path in (AT, f"{AT}/{made}"):
        assert (stranger.get(path).status, stranger.get(path).sentence) == (404, NOT_HERE)
        assert annotator.get(path).status == 403
    assert annotator.post(AT, **wanted(name="other")).status == 403


def test_another_datasets_pairs_judge_only_for_who_curates_them(
    program: Program, noisy: Dataset
) -> None:
    factories.dataset("foreign")
    answer = program.post(AT, **wanted(evaluate_on="foreign"))
    assert (answer.status, answer.sentence) == (404, NOT_HERE)
