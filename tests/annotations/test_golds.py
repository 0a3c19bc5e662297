"""Pairs whose answer is known: marked one by one or by a file, retired, and counted."""

import io
from typing import Any

import pytest

from annotations import golds
from annotations.models import Dataset, GoldPair, Occasion, PreferencePair
from curator.lib.refusals import Forbidden, Refusal
from curator.models import User
from tests import factories
from tests.factories import Row, file_of


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    return factories.pairs(dataset, 4, labels=[])


def brought(dataset: Dataset, rows: list[Row | str], **options: Any) -> golds.Brought:
    return golds.bring_in(dataset=dataset, file=file_of(rows), by=None, **options)


def known(dataset: Dataset) -> dict[str, tuple[str, str, bool]]:
    rows = GoldPair.objects.filter(dataset=dataset, retired_at=None)
    columns = ("pair__source_id", "preference", "explanation", "is_practice")
    return {source_id: (*rest,) for source_id, *rest in rows.values_list(*columns)}


def test_an_answer_is_held_for_right(pairs: list[PreferencePair], casey: User) -> None:
    gold = golds.mark(pair=pairs[0], preference="b", by=casey, explanation=" since ")
    assert (gold.preference, gold.explanation, gold.is_practice) == ("b", "since", False)
    assert (gold.created_by, gold.dataset) == (casey, pairs[0].dataset)


def test_marked_again_it_is_replaced_and_a_retired_pair_is_in_use_again(
    pairs: list[PreferencePair], casey: User
) -> None:
    gold = golds.mark(pair=pairs[0], preference="b", by=casey)
    golds.retire(gold=gold, by=casey)
    gold.refresh_from_db()
    assert gold.retired_at is not None
    golds.mark(pair=pairs[0], preference="tie", by=casey, explanation="x", is_practice=True)
    assert known(pairs[0].dataset) == {"pair-0": ("tie", "x", True)}
    assert GoldPair.objects.count() == 1


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"preference": "skip"}, "Say which answer is right"),
        ({"preference": ""}, "Say which answer is right"),
        ({"preference": "a", "is_practice": True}, "A practice pair teaches"),
        ({"preference": "a", "explanation": "x" * 5001}, "longer than 5,000"),
    ],
)
def test_what_cannot_be_held_for_right_is_refused(
    pairs: list[PreferencePair], casey: User, answer: Row, sentence: str
) -> None:
    with pytest.raises(golds.NotGold, match=sentence):
        golds.mark(pair=pairs[0], by=casey, **answer)
    assert not GoldPair.objects.exists()


def test_who_only_annotates_marks_nothing(dataset: Dataset, pairs: list[PreferencePair]) -> None:
    person = factories.annotator(dataset, "ann").user
    assert person is not None
    with pytest.raises(Forbidden):
        golds.mark(pair=pairs[0], preference="a", by=person)
    with pytest.raises(Forbidden):
        golds.bring_in(dataset=dataset, file=io.BytesIO(b"{}"), by=person)


def test_a_file_marks_what_can_be_used_and_says_what_cannot(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    found = brought(
        dataset,
        [
            {"id": "pair-0", "label": "a"},
            {"digest": pairs[1].digest, "label": "both_bad", "practice": True, "explanation": "y"},
            {"id": "pair-2", "label": "c"},
            {"id": "pair-2", "label": "a", "practice": True},
            {"id": "nowhere", "label": "a"},
            "{",
            {"label": "a"},
        ],
    )
    assert (found.read, found.marked, found.unchanged, found.refused) == (7, 2, 0, 5)
    assert known(dataset) == {"pair-0": ("a", "", False), "pair-1": ("both_bad", "y", True)}
    assert sorted(found.reasons)[:4] == [
        "Line 3: its `label` is 'c'; known are a, b, tie, both_bad.",
        "Line 4: a practice pair teaches: say why its answer is right.",
        "Line 5: there is no pair with the id 'nowhere' in the dataset.",
        "Line 6: not valid JSON: Expecting property name enclosed in double quotes: line 1 column "
        "2 (char 1).",
    ]


def test_the_same_file_again_changes_nothing(dataset: Dataset, pairs: list[PreferencePair]) -> None:
    rows: list[Row | str] = [{"id": "pair-0", "label": "a"}, {"id": "pair-1", "label": "tie"}]
    brought(dataset, rows)
    found = brought(dataset, rows)
    assert (found.marked, found.unchanged, found.refused) == (0, 2, 0)
    changed = brought(dataset, [{"id": "pair-0", "label": "b"}, rows[1]])
    assert (changed.marked, changed.unchanged) == (1, 1)
    assert known(dataset)["pair-0"] == ("b", "", False)


def test_a_file_may_say_once_that_it_is_for_practice(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    rows: list[Row | str] = [
        {"id": "pair-0", "label": "a", "explanation": "x"},
        {"id": "pair-1", "label": "b", "practice": False},
    ]
    brought(dataset, rows, practice=True)
    assert known(dataset) == {"pair-0": ("a", "x", True), "pair-1": ("b", "", False)}


def test_a_table_will_do_and_formulas_in_it_are_text(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    table = b"id,label,explanation,practice\npair-0,b,'=1+1,true\npair-1,a,,false\n"
    golds.bring_in(dataset=dataset, file=io.BytesIO(table), by=None)
    assert known(dataset) == {"pair-0": ("b", "=1+1", True), "pair-1": ("a", "", False)}


def test_where_the_pair_stands_the_other_way_round_the_answer_is_turned(
    dataset: Dataset, pairs: list[PreferencePair]
) -> None:
    pair = pairs[0]
    row = {"digest": pair.digest, "in_order": not pair.is_in_order, "label": "a"}
    brought(dataset, [row])
    assert known(dataset)["pair-0"][0] == "b"


@pytest.mark.parametrize("file", [b"", b"[]", b"PK\x03\x04zip"])
def test_a_file_that_cannot_be_read_is_refused(dataset: Dataset, file: bytes) -> None:
    with pytest.raises(Refusal):
        golds.bring_in(dataset=dataset, file=io.BytesIO(file), by=None)


def test_a_file_that_is_too_long_marks_nothing(
    dataset: Dataset, pairs: list[PreferencePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golds, "MOST_ROWS", 1)
    rows: list[Row | str] = [{"id": "pair-0", "label": "a"}, {"id": "pair-1", "label": "a"}]
    with pytest.raises(Refusal, match="more than 1 rows"):
        brought(dataset, rows)
    assert not GoldPair.objects.exists()


def test_the_list_says_how_often_a_gold_pair_was_answered_rightly(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    golds.mark(pair=pairs[0], preference="a", by=casey)
    golds.mark(pair=pairs[1], preference="tie", by=casey, is_practice=True, explanation="x")
    people = [factories.annotator(dataset, name) for name in ("ann", "ben", "cleo", "dan")]
    for person, said in zip(people, ("a", "b", "skip", "withdrawn"), strict=True):
        factories.put(person, pairs[0], said, is_gold=True)
    factories.put(people[0], pairs[0], "b", occasion=Occasion.REPEAT)
    factories.put(people[0], pairs[1], "tie", occasion=Occasion.PRACTICE)
    assert counted(dataset) == [(True, 1, 1), (False, 2, 1)]


def test_what_was_said_before_or_came_in_a_file_is_no_answer_to_a_gold_pair(
    dataset: Dataset, casey: User
) -> None:
    label = {"annotator": "worker", "kind": "human", "label": "a"}
    first, second = factories.pairs(dataset, 2, labels=[label])
    ann, ben = (factories.annotator(dataset, name) for name in ("ann", "ben"))
    factories.put(ann, first, "a")
    factories.put(ann, second, "b")
    golds.mark(pair=first, preference="a", by=casey)
    golds.mark(pair=second, preference="a", by=casey, is_practice=True, explanation="x")
    assert counted(dataset) == [(True, 0, 0), (False, 0, 0)]
    factories.put(ben, first, "a", is_gold=True)
    assert counted(dataset) == [(True, 0, 0), (False, 1, 1)]


def counted(dataset: Dataset) -> list[tuple[bool, int, int]]:
    """Whether each is for practice, how many answered it, and how many rightly."""
    listed = golds.of_dataset(dataset)
    return [(gold.is_practice, gold.asked, gold.right) for gold in listed]  # type: ignore[attr-defined]
