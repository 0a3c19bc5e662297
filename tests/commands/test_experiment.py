"""Experiments at the command line: designed, run on real workers, and refused in a sentence."""

import json
from pathlib import Path

import pytest

from tests import factories
from tests.commands.conftest import Installation

COUNT = 60


@pytest.fixture(scope="session")
def compared(
    served: tuple[Installation, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Installation, Path]:
    """Sixty pairs of which every fourth label is wrong, a snapshot of them, and who knows which
    are."""
    folder = tmp_path_factory.mktemp("experiment")
    pairs, truth = folder / "pairs.jsonl", folder / "truth.jsonl"
    labels = ["b" if number % 4 == 0 else "a" for number in range(COUNT)]
    rows = [factories.row(number, label=label) for number, label in enumerate(labels)]
    pairs.write_bytes(factories.file_of(rows).getvalue())
    truth.write_text(
        "".join(
            json.dumps({"id": f"pair-{number}", "flipped": label == "b"}) + "\n"
            for number, label in enumerate(labels)
        )
    )
    served[0].json("import_pairs", str(pairs), "--dataset", "compared")
    served[0].json("snapshot", "compared")
    return served[0], truth


@pytest.mark.worker
def test_an_experiment_runs_on_workers_and_is_shown_again(
    compared: tuple[Installation, Path],
) -> None:
    at, truth = compared
    small = ("--seeds", "2", "--folds", "2", "--members", "2", "--truth", str(truth))
    arms = ("--arm", "raw labels=source", "--arm", "softer=snapshot:1@soft labels")
    found = at.json("experiment", "compared", *arms, *small, "--name", "first")
    assert [arm["name"] for arm in found["arms"]] == ["raw labels", "softer"]
    assert (found["status"], found["failed"]) == ("done", [])
    assert found["pairs"] == {"raw": COUNT, "trusted": COUNT, "agreeing": COUNT * 3 // 4}
    for arm in found["arms"]:
        for on in ("raw", "trusted", "agreeing"):
            of = arm["accuracy"][on]
            assert 0.0 <= of["low"] <= of["estimate"] <= of["high"] <= 1.0
        assert arm["seconds"] > 0.0
        assert {"brier", "ece", "auroc"} <= set(arm)
    assert {(each["arm"], each["against"]) for each in found["differences"]} == {
        ("softer", "raw labels")
    }
    assert found["verdict"].startswith("On trusted labels, ")
    assert at.json("experiment", "compared", "--show", "--name", "first") == found
    told = at.run("experiment", "compared", "--show").out
    assert found["verdict"] in told
    assert "Note: Accuracy on raw labels rewards fitting their noise" in told


@pytest.mark.worker
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Say which snapshot comes after the cleaning"),
        (["--before", "1"], "Say which snapshot comes after the cleaning"),
        (["--after", "7"], "compared has no snapshot '7'; there are: 1."),
        (["--after", "1"], "has 0 trusted pairs in the folds that are held out"),
        (["--arm", "raw"], "An arm is written NAME=source, NAME=now or NAME=snapshot:N"),
        (["--arm", "x=source@no such"], "no such"),
        (["--after", "1", "--truth", "nowhere.jsonl"], "There is no file nowhere.jsonl"),
        (["--after", "1", "--evaluate-on", "nowhere"], "There is no dataset 'nowhere'"),
        (["--show", "--name", "lost"], "compared has no experiment 'lost'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    compared: tuple[Installation, Path], options: list[str], sentence: str
) -> None:
    assert sentence in compared[0].run("experiment", "compared", *options).refusal
