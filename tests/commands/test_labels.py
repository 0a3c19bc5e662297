"""Labels and gold pairs at the command line: out, in, and in again."""

import json
from pathlib import Path

import pytest

from tests.commands.conftest import Installation
from tests.factories import Row, row

GOLD = {"id": "pair-1", "label": "a", "explanation": "B does not answer.", "practice": True}


def written(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return str(path)


@pytest.mark.worker
def test_labels_go_out_of_one_dataset_and_into_another(
    served: tuple[Installation, str], tmp_path: Path
) -> None:
    installation, _ = served
    said = [
        {"annotator": "ann", "label": "a", "strength": 2, "rationale": "=1+1"},
        {"annotator": "ben", "label": "tie"},
    ]
    with_labels = written(tmp_path / "with.jsonl", [row(n, labels=said) for n in range(3)])
    without = written(tmp_path / "without.jsonl", [row(n, labels=[]) for n in range(3)])
    installation.json("import_pairs", with_labels, "--dataset", "said")
    installation.json("import_pairs", without, "--dataset", "unsaid")
    for layout in ("jsonl", "csv"):
        path = tmp_path / f"labels.{layout}"
        options = ("--output", str(path), "--format", layout)
        found = installation.json("export_labels", "said", *options)
        assert found == {"path": str(path), "format": layout, "labels": 6}
        done = installation.json("import_labels", str(path), "--dataset", "unsaid")
        first = layout == "jsonl"
        assert (done["read"], done["created"], done["refused"]) == (6, 6 if first else 0, 0)
        assert (done["duplicates"], done["report"]) == (0 if first else 6, None)
    again = tmp_path / "again.jsonl"
    everything = ("--output", str(again), "--superseded")
    assert installation.json("export_labels", "unsaid", *everything)["labels"] == 6
    labels = [json.loads(line) for line in again.read_text().splitlines()]
    ann = [label for label in labels if label["annotator"] == "ann"]
    assert [(label["strength"], label["rationale"]) for label in ann] == [(2, "=1+1")] * 3
    gold = written(tmp_path / "gold.jsonl", [GOLD, {**GOLD, "id": "x"}])
    for marked, unchanged in ((1, 0), (0, 1)):
        found = installation.json("gold", "said", gold)
        assert found.pop("dataset") == "said"
        assert found == {"read": 2, "marked": marked, "unchanged": unchanged, "refused": 1}
    nothing = written(tmp_path / "nothing.jsonl", [{**GOLD, "id": "x"}])
    refusal = installation.run("gold", "said", nothing).refusal
    assert "None of the 1 rows could be used. Line 1: there is no pair" in refusal
