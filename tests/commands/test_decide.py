"""Policies at the command line: seen, applied, taken back, brought back, and restored."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.commands.conftest import Installation

COUNT = 12
DROP_B = {
    "name": "drop-b",
    "rules": [
        {"when": [{"field": "source_preference", "is": ["b"]}], "then": {"action": "drop"}},
        {"when": [{"field": "characters", "above": 0}], "then": {"action": "keep"}},
    ],
}


@pytest.fixture(scope="session")
def dataset(
    served: tuple[Installation, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Installation, str]:
    """Twelve pairs, four of them labelled b."""
    path = tmp_path_factory.mktemp("decide") / "pairs.jsonl"
    rows = [factories.row(n, label="b" if n % 3 == 0 else "a") for n in range(COUNT)]
    path.write_bytes(factories.file_of(rows).getvalue())
    served[0].json("import_pairs", str(path), "--dataset", "deciding")
    return served[0], "deciding"


def written(folder: Path, policy: dict[str, Any]) -> str:
    path = folder / "policy.json"
    path.write_text(json.dumps(policy))
    return str(path)


@pytest.mark.worker
def test_a_policy_is_seen_applied_and_taken_back(
    dataset: tuple[Installation, str], tmp_path: Path
) -> None:
    at, slug = dataset
    before = at.json("snapshot", slug)
    asked = ("decide", slug, "--policy", written(tmp_path, DROP_B))
    seen = at.json(*asked, "--dry-run")
    assert (seen["dry_run"], seen["counts"]) == (True, {"drop": 4, "keep": 8})
    assert seen["trained_on"] == {"before": COUNT, "after": COUNT - 4}
    done = at.json(*asked)
    assert (done["policy"], done["digest"]) == ("drop-b", seen["digest"])
    assert (done["status"], done["decided"], done["counts"]) == ("done", COUNT, seen["counts"])
    by_name = at.json("decide", slug, "--policy", "drop-b")
    assert (by_name["counts"], by_name["passed_over"]) == ({}, {"same": COUNT})
    back = at.json("undo", str(done["batch"]))
    assert (back["undone"], back["counts"]) == (done["batch"], {"undecided": COUNT})
    assert at.json("snapshot", slug)["digest"] == before["digest"]
    assert "was undone by the command line" in at.run("undo", str(done["batch"])).refusal
    assert at.json("undo", str(back["batch"]))["counts"] == {"drop": 4, "keep": 8}
    restored = at.json("restore", f"{slug}@{before['number']}")
    assert (restored["restored"], restored["decided"]) == (f"{slug}@{before['number']}", COUNT)
    assert at.json("snapshot", slug)["digest"] == before["digest"]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["decide", "nowhere", "--policy", "conservative"], "There is no dataset 'nowhere'"),
        (["undo", "99"], "There is no batch 99; the last are: none yet."),
        (["restore", "99"], "There is no snapshot 99"),
    ],
)
def test_what_is_not_there_is_named(
    installation: Installation, command: list[str], sentence: str
) -> None:
    assert installation.run(*command).refusal.startswith(f"Refused: {sentence}")


@pytest.mark.worker
@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("conservativ", "deciding has no policy “conservativ”; there are: "),
        ("nowhere.json", "nowhere.json cannot be read: No such file or directory."),
        ("[", "is not JSON"),
        ({"name": "x", "rules": []}, "This is no policy: the policy has no rules"),
        (
            {
                "name": "x",
                "rules": [
                    {"when": [{"field": "strenght", "below": 0}], "then": {"action": "flip"}}
                ],
            },
            "did you mean “strength”?",
        ),
    ],
)
def test_a_policy_that_is_none_is_refused_with_the_place(
    dataset: tuple[Installation, str], tmp_path: Path, policy: Any, sentence: str
) -> None:
    at, slug = dataset
    named = policy
    if policy == "[" or isinstance(policy, dict):
        named = str(tmp_path / "policy.json")
        Path(named).write_text(policy if policy == "[" else json.dumps(policy))
    assert sentence in at.run("decide", slug, "--policy", named, "--dry-run").refusal
