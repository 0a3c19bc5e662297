"""Exports: the same snapshot gives the same bytes, and each format holds what its trainer needs."""

import hashlib
import json
from typing import Any

import pytest

from annotations import decisions, exporting, snapshots
from annotations.models import Dataset, Export, Label, Snapshot, SnapshotPair, Verdict
from curator.models import User
from tests import factories

FORMATS = list(Export.Format.values)


@pytest.fixture
def snapshot(dataset: Dataset, casey: User) -> Snapshot:
    """Six pairs: one flipped, one tied, one dropped, one unlabelled, two as the source has them."""
    rows = [factories.row(number) for number in range(5)]
    factories.imported(dataset, [*rows, factories.row(5, labels=[])])
    for number, verdict in ((0, Verdict.FLIP), (1, Verdict.TIE), (2, Verdict.DROP)):
        pair = dataset.pairs.get(source_id=f"pair-{number}")
        decisions.decide(pair=pair, verdict=verdict, by=casey, based_on=None, reason="seen")
    return snapshots.freeze(dataset=dataset, by=casey)


def bytes_of(export: Export) -> bytes:
    with export.file.open("rb") as file:
        return bytes(file.read())


@pytest.mark.parametrize("layout", FORMATS)
def test_the_same_content_gives_the_same_bytes(casey: User, layout: str) -> None:
    """Imported in another order, in another dataset, written again."""
    rows = [factories.row(number) for number in range(6)]
    found = []
    for slug, order in (("one", 1), ("other", -1)):
        into = factories.dataset(slug, curators=[casey])
        factories.imported(into, rows[::order])
        export = factories.exported(snapshots.freeze(dataset=into, by=casey), layout)
        assert hashlib.sha256(bytes_of(export)).hexdigest() == export.sha256
        found.append(bytes_of(export))
    assert found[0] == found[1]
    assert found[0].count(b"\n") == 6


@pytest.mark.parametrize("layout", [Export.Format.TRL_REWARD, Export.Format.TRL_DPO])
def test_a_trainer_gets_chosen_and_rejected_as_decided(snapshot: Snapshot, layout: str) -> None:
    export = factories.exported(snapshot, layout)
    lines = factories.lines_of(export)
    assert {line["prompt"][0]["content"]: line["chosen"][0]["content"] for line in lines} == {
        "Question 0?": "no 0",
        "Question 3?": "A good and helpful answer, number 3, with its reasons.",
        "Question 4?": "A good and helpful answer, number 4, with its reasons.",
    }
    assert all(line["chosen"] != line["rejected"] for line in lines)
    assert (export.rows, export.left_out) == (3, {"ties": 1, "dropped": 1, "without a label": 1})


def test_reward_rows_all_carry_a_number_as_margin(snapshot: Snapshot) -> None:
    """TRL drops or breaks on a margin that only some rows have."""
    lines = factories.lines_of(factories.exported(snapshot, Export.Format.TRL_REWARD))
    assert all(list(line) == ["prompt", "chosen", "rejected", "margin"] for line in lines)
    assert [type(line["margin"]) for line in lines] == [float] * 3


@pytest.mark.parametrize(
    ("strength", "preference", "margin"),
    [
        (2.0, "a", 1.0),
        (2.0, "b", -1.0),
        (-2.0, "b", 1.0),
        (100.0, "a", 3.0),
        (100.0, "b", -3.0),
        (0.0, "b", 0.0),
        (None, "a", 0.0),
    ],
)
def test_the_margin_is_the_strength_towards_the_chosen_over_the_median(
    strength: float | None, preference: str, margin: float
) -> None:
    frozen = SnapshotPair(
        snapshot=Snapshot(margin_scale=2.0), strength=strength, preference=preference
    )
    assert exporting.margin(frozen) == margin
    assert str(exporting.margin(frozen)) == str(margin)  # no negative zero


def test_the_sidecar_holds_every_pair_with_its_decision_and_labels(snapshot: Snapshot) -> None:
    lines = factories.lines_of(factories.exported(snapshot, Export.Format.JSONL))
    by_id: dict[str, Any] = {line["id"]: line for line in lines}
    assert len(by_id) == snapshot.pairs_count == 6
    flipped = by_id["pair-0"]
    assert (flipped["source_preference"], flipped["preference"]) == ("a", "b")
    assert flipped["decision"]["actor"] == "casey"
    assert flipped["decision"]["reason"] == "seen"
    assert [label["annotator"] for label in flipped["labels"]] == ["anna"]
    assert by_id["pair-5"]["preference"] is None


def test_repeats_and_practice_are_not_labels_of_the_pair(dataset: Dataset, casey: User) -> None:
    [pair] = factories.pairs(dataset, 1)
    anna = dataset.annotators.get(name="anna")
    for occasion in ("repeat", "practice"):
        Label.objects.create(pair=pair, annotator=anna, preference="b", occasion=occasion)
    frozen = snapshots.freeze(dataset=dataset, by=casey)
    [line] = factories.lines_of(factories.exported(frozen, "jsonl"))
    assert [label["label"] for label in line["labels"]] == ["a"]


def test_labels_that_came_after_the_snapshot_are_not_in_it(
    snapshot: Snapshot, dataset: Dataset
) -> None:
    late = {"annotator": "late", "kind": "human", "label": "b"}
    factories.imported(dataset, [factories.row(3, labels=[late])])
    lines = factories.lines_of(factories.exported(snapshot, Export.Format.JSONL))
    names = {label["annotator"] for line in lines for label in line["labels"]}
    assert names == {"anna"}


def test_an_export_is_written_once_and_then_found(snapshot: Snapshot) -> None:
    first = factories.exported(snapshot, Export.Format.TRL_DPO)
    again = factories.exported(snapshot, Export.Format.TRL_DPO)
    assert (again.pk, again.file.name) == (first.pk, first.file.name)


def test_text_survives_as_it_is(dataset: Dataset, casey: User) -> None:
    odd = "naïve \u2028 😀 “quoted” \t tab </script>"
    factories.imported(dataset, [factories.row(1, response_a=odd)])
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    export = factories.exported(snapshot, Export.Format.TRL_DPO)
    lines = bytes_of(export).decode().split("\n")
    assert json.loads(lines[0])["chosen"][0]["content"] == odd


def test_the_bytes_are_the_same_on_every_database(dataset: Dataset, casey: User) -> None:
    """PostgreSQL orders JSON's keys by length and rewrites numbers; names sort by collation."""
    meta = {"zz_long": 1, "a": 2.0, "bbb": 1e22, "nested": {"y": 1.5, "x": [1e3]}, "n": -0.0}
    labels = [
        {"annotator": name, "kind": "human", "label": "a"} for name in ("b", "Ä", "a", "Z", "_")
    ]
    factories.imported(dataset, [factories.row(1, meta=meta, labels=labels)])
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    export = factories.exported(snapshot, Export.Format.JSONL)
    assert export.sha256 == "b0d3db72dc536235c6e8ef5d5b8edbb1bf712055ba7d8430c30fd36ab4f7e674"


def test_a_label_that_was_taken_back_says_so(dataset: Dataset, casey: User) -> None:
    pair = factories.pairs(dataset, 1)[0]
    first = pair.labels.get()
    Label.objects.create(pair=pair, annotator=first.annotator, preference="b", supersedes=first)
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    [line] = factories.lines_of(factories.exported(snapshot, Export.Format.JSONL))
    assert [(label["label"], label["superseded"]) for label in line["labels"]] == [
        ("a", True),
        ("b", False),
    ]


def test_the_sidecar_stands_in_the_order_of_the_trainers_files(snapshot: Snapshot) -> None:
    sidecar = factories.lines_of(factories.exported(snapshot, Export.Format.JSONL))
    trainer = factories.lines_of(factories.exported(snapshot, Export.Format.TRL_DPO))
    usable = [line["prompt"] for line in sidecar if line["preference"] in ("a", "b")]
    assert usable == [line["prompt"] for line in trainer]
