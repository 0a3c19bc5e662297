"""The commands about snapshots: tags, what changed, and the card beside the file. In this process,
as they need no worker."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotations import decisions
from annotations.models import Dataset, Verdict
from curator.models import User
from tests import factories


def run(*arguments: str) -> dict[str, Any]:
    """The JSON object that the command prints last."""
    out = io.StringIO()
    call_command(*arguments, "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue().strip().splitlines()[-1])
    return found


@pytest.fixture
def two(dataset: Dataset, casey: User) -> Dataset:
    """Two snapshots, v1 and v2; in between a pair was flipped."""
    pair = factories.pairs(dataset, 3)[0]
    assert run("snapshot", "pairs", "--tag", "v1")["number"] == 1
    decisions.decide(pair=pair, verdict=Verdict.FLIP, by=casey, based_on=None, reason="B is right")
    assert run("snapshot", "pairs", "--tag", "v2")["number"] == 2
    return dataset


@pytest.mark.parametrize(
    "arguments", [["pairs@v2"], ["pairs@2", "--since", "pairs@v1"], ["pairs@1", "--now"]]
)
def test_what_changed_is_told(two: Dataset, arguments: list[str]) -> None:
    found = run("snapshot_diff", *arguments)
    assert found["verdicts"] == [{"before": "", "after": "flip", "pairs": 1}]
    assert found["by"] == [
        {"actor": "casey", "how": "decided one by one", "batch": None, "verdicts": 1}
    ]
    assert found["reasons"] == [{"reason": "B is right", "verdicts": 1}]
    assert (
        found["training_rows"] | {"before": 3, "after": 3, "flipped": 1} == found["training_rows"]
    )


def test_a_tag_is_moved_and_taken_away(two: Dataset) -> None:
    assert run("tag", "pairs@1", "v2")["tags"] == ["v1", "v2"]
    assert run("tag", "pairs@v2", "v2", "--remove")["tags"] == ["v1"]
    with pytest.raises(CommandError, match="There is no snapshot pairs@v2"):
        run("tag", "pairs@v2", "v3")


def test_the_card_is_written_beside_the_file(two: Dataset, tmp_path: Path) -> None:
    export = factories.exported(two.snapshots.get(number=2), "trl-dpo")
    file, card = tmp_path / "train.jsonl", tmp_path / "README.md"
    options = ("--format", "trl-dpo", "--output", str(file), "--card", str(card))
    found = run("export", "pairs@v2", *options)
    assert (found["card"], found["sha256"]) == (str(card), export.sha256)
    assert export.sha256 in card.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["snapshot_diff", "pairs@v1"], "no snapshot before this one"),
        (["snapshot_diff", "pairs@v1", "--since", "pairs@v2"], "the other way round"),
        (["snapshot_diff", "nowhere@1"], "There is no snapshot nowhere@1"),
        (["export", "pairs@v9", "--output", "x.jsonl"], "There is no snapshot pairs@v9"),
        (["tag", "pairs@v1", "two words"], "A tag has up to 60 letters"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    two: Dataset, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        run(*arguments)
