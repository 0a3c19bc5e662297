"""Policies and bulk decisions through the REST API: seen first, then done as seen, and undone."""

from typing import Any

import pytest

from annotations import snapshots, tasks
from annotations.models import Dataset, DecisionBatch, PairStanding, PreferencePair, Verdict
from annotations.policies import PRESETS
from curator.models import User
from tests import factories
from tests.annotations.test_batches import decide
from tests.web.test_api import Program, program_of

pytestmark = pytest.mark.django_db

AT = "/datasets/pairs"
FLIPPED = {"field": "flag", "is": ["flipped"]}
DROP = {"name": "drop", "rules": [{"when": [FLIPPED], "then": {"action": "drop"}}]}


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    found = factories.pairs(dataset, 4)
    for pair in found[:3]:
        PairStanding.objects.filter(pk=pair.pk).update(flag="flipped", strength=-1.0, run_id=1)
    return found


@pytest.fixture
def program(pairs: list[PreferencePair], casey: User) -> Program:
    return program_of(casey)


def worked_off() -> None:
    for row in DecisionBatch.objects.filter(status="queued"):
        tasks.decide_batch(batch_id=row.pk)


def test_policies_are_listed_with_the_presets(program: Program) -> None:
    assert program.post(f"{AT}/policies/apply", policy=DROP).status == 202
    found = program.get(f"{AT}/policies").found
    assert [each["name"] for each in found] == ["drop", *PRESETS]
    assert [each["is_preset"] for each in found] == [False] + [True] * len(PRESETS)
    assert found[0]["rules"][0]["then"] == {"action": "drop"}


def test_a_policy_is_applied_as_it_was_shown_and_taken_back(
    program: Program, dataset: Dataset
) -> None:
    shown = program.post(f"{AT}/policies/preview", policy="remove-suspects").found
    assert (shown["counts"], shown["left"]) == ({"drop": 3}, 1)
    order = {"policy": "remove-suspects", "expected": shown["expected"], "reason": "spam"}
    started = program.post(f"{AT}/policies/apply", **order)
    assert (started.status, started.found["status"]) == (202, "queued")
    worked_off()
    address = f"{AT}/batches/{started.found['id']}"
    done = program.get(address).found
    assert (done["status"], done["counts"], done["actor"]) == ("done", {"drop": 3}, "casey")
    assert (done["kind"], done["reason"], done["undone_by"]) == ("policy", "spam", None)
    back = program.post(f"{address}/undo")
    assert back.status == 202
    worked_off()
    assert not dataset.standings.decided().exists()
    listed = program.get(f"{AT}/batches").found
    assert [each["kind"] for each in listed] == ["undo", "policy"]
    assert listed[1]["undone_by"] == back.found["id"] == listed[0]["id"]
    assert "was undone by casey" in program.post(f"{address}/undo").sentence


def test_all_pairs_of_a_filter_are_given_one_verdict(program: Program, dataset: Dataset) -> None:
    wanted: dict[str, Any] = {"where": [FLIPPED], "verdict": "soften", "probability": 0.3}
    shown = program.post(f"{AT}/decide/preview", **wanted).found
    assert shown["counts"] == {"soften": 3}
    assert program.post(f"{AT}/decide", **wanted, expected=shown["expected"]).status == 202
    worked_off()
    softened = dataset.standings.filter(verdict=Verdict.SOFTEN, decided_by="person")
    assert softened.count() == 3
    assert {row.decision.label_probability for row in softened if row.decision} == {0.3}


def test_what_has_changed_meanwhile_fails_with_a_sentence_and_changes_nothing(
    program: Program, dataset: Dataset
) -> None:
    wanted: dict[str, Any] = {"where": [FLIPPED], "verdict": "flip"}
    shown = program.post(f"{AT}/decide/preview", **wanted).found
    dataset.standings.update(flag="flipped")
    started = program.post(f"{AT}/decide", **wanted, expected=shown["expected"]).found
    worked_off()
    found = program.get(f"{AT}/batches/{started['id']}").found
    assert found["status"] == "failed"
    assert found["problem"].startswith("The filter matched 3 pairs when you looked and 4 now")
    assert not dataset.standings.decided().exists()


def test_a_snapshot_is_restored(
    program: Program, dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    snapshots.freeze(dataset=dataset, by=casey)
    decide(pairs[0], Verdict.DROP, casey)
    started = program.post(f"{AT}/snapshots/1/restore")
    assert (started.status, started.found["kind"]) == (202, "restore")
    worked_off()
    assert not dataset.standings.decided().exists()


def test_a_restore_leaves_what_people_decide_after_the_program_has_looked(
    program: Program, dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    snapshots.freeze(dataset=dataset, by=casey)
    for pair in pairs[:2]:
        decide(pair, Verdict.DROP, casey)
    expected = program.get(f"{AT}/changes?since=1").found["expected"]
    decide(pairs[0], Verdict.KEEP, casey)
    program.post(f"{AT}/snapshots/1/restore", expected=expected)
    worked_off()
    assert [row.pk for row in dataset.standings.decided()] == [pairs[0].pk]


@pytest.mark.parametrize(
    ("path", "wanted", "sentence"),
    [
        ("policies/preview", {"policy": "x"}, "has no policy “x”"),
        ("policies/preview", {"policy": {"name": "x"}}, "the policy has no rules"),
        ("policies/apply", {"policy": DROP, "polcy": 1}, "polcy: Extra inputs"),
        ("policies/apply", {"policy": DROP, "expected": {"counts": 3}}, "cannot be read"),
        ("decide", {"where": [{"field": "x", "is": 1}], "verdict": "flip"}, "no field “x”"),
        ("decide", {"where": [], "verdict": "fix"}, "“fix” is no verdict"),
        ("decide/preview", {"where": [], "verdict": "soften"}, "needs the probability"),
        ("batches/99/undo", {}, "There is nothing here"),
        ("policies/preview", {"policy": "x\0"}, "no NUL"),
        ("policies/apply", {"policy": DROP, "reason": "\0"}, "no NUL"),
        ("policies/apply", {"policy": DROP, "expected": {"counts": {"\0": 1}}}, "cannot be read"),
        ("policies/apply", {"policy": DROP, "expected": {"counts": {"fix": 1}}}, "cannot be read"),
        ("decide", {"where": [], "verdict": "drop", "reason": "a\0"}, "no NUL"),
        ("snapshots/1/restore", {"reason": "a\0"}, "no NUL"),
        ("snapshots/1/tags", {"name": "a\0"}, "no NUL"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    program: Program, path: str, wanted: dict[str, Any], sentence: str
) -> None:
    assert sentence in program.post(f"{AT}/{path}", **wanted).sentence
    assert not DecisionBatch.objects.exists()


def test_a_second_batch_is_told_of_the_first(program: Program) -> None:
    first = program.post(f"{AT}/decide", where=[FLIPPED], verdict="flip").found["id"]
    again = program.post(f"{AT}/decide", where=[FLIPPED], verdict="drop")
    assert again.status == 409
    assert f"casey is having batch {first} done" in again.sentence
