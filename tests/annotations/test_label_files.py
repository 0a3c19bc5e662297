"""Labels as files: what goes out comes in again as it was, once, whichever way round a pair
stands."""

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from annotations import label_files, labelling, tasks
from annotations.formats import labels as rows_of_labels
from annotations.formats.containers import RowReader
from annotations.formats.parsed import RowError
from annotations.models import (
    Annotator,
    Dataset,
    Import,
    Judgement,
    Label,
    Occasion,
    PreferencePair,
)
from curator.lib.tables import TableWriter, unguarded
from tests import factories
from tests.factories import Row, imported, row

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "pairs"
SAID = (
    *("pair__digest", "annotator__name", "annotator__kind", "occasion", "preference", "strength"),
    *("aspects", "rationale", "skip_reason", "spans", "shown_first", "seconds", "created_at"),
    *("supersedes__created_at", "meta"),
)
MARK = {"response": "a", "start": 2, "end": 6, "mark": "good"}


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> None:
    storages = settings.STORAGES
    default = {**storages["default"], "OPTIONS": {"location": tmp_path / "files"}}
    settings.STORAGES = {**storages, "default": default}


def said_in(dataset: Dataset) -> list[Any]:
    """All that anybody said of the dataset, but for keys."""
    labels = Label.objects.filter(pair__dataset=dataset)
    return sorted(map(repr, labels.values_list(*SAID)))


def written(dataset: Dataset, layout: str = "jsonl", **options: Any) -> bytes:
    return b"".join(label_files.WRITERS[layout](dataset, **options))


def lines(dataset: Dataset, **options: Any) -> list[Row]:
    return [json.loads(line) for line in written(dataset, **options).splitlines()]


def reasons(done: Import) -> list[str]:
    with done.report.open("rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        return [refused["reason"] for refused in csv.DictReader(text)]


def turned(of: Row) -> Row:
    """The same pair with its responses exchanged, and nothing said of it."""
    return {**of, "response_a": of["response_b"], "response_b": of["response_a"], "labels": []}


def bare(number: int) -> Row:
    return row(number, labels=[])


def says(into: Dataset, pair: PreferencePair, name: str, preference: str, **more: Any) -> Label:
    annotator, _ = Annotator.objects.get_or_create(
        dataset=into, name=name, kind=more.pop("kind", "human")
    )
    return Label.objects.create(pair=pair, annotator=annotator, preference=preference, **more)


@pytest.fixture
def talked(dataset: Dataset) -> Dataset:
    """A dataset of which people have said everything that can be said."""
    imported(dataset, [bare(0), bare(1), bare(2)])
    one, two, three = dataset.pairs.order_by("pk")
    first = says(dataset, one, "ann", "a", strength=1, shown_first="b", seconds=12.375)
    says(
        dataset,
        one,
        "ann",
        "b",
        strength=3,
        aspects={"helpful": "b", "harmless": "tie"},
        rationale='=1+1 says\nshe, "really"\r\nand \u202e turns',
        spans=[MARK],
        shown_first="b",
        seconds=0.1,
        supersedes=first,
    )
    taken = says(dataset, two, "ann", "tie", shown_first="a")
    says(dataset, two, "ann", "withdrawn", supersedes=taken)
    says(dataset, three, "ann", "skip", skip_reason="language")
    says(dataset, one, "ann", "a", occasion=Occasion.REPEAT, shown_first="a")
    says(dataset, two, "ben", "both_bad", occasion=Occasion.PRACTICE)
    says(dataset, one, "judge", "a", kind="ai", meta={"model": "x", "temperature": 0.5})
    return dataset


# --- Out


def test_what_goes_out_by_default_is_what_holds(talked: Dataset) -> None:
    rows = [(line["annotator"], line["label"], line["occasion"]) for line in lines(talked)]
    assert rows == [("ann", "b", "work"), ("judge", "a", "work"), ("ann", "skip", "work")]


def test_with_history_everything_that_was_said_goes_out_oldest_first(talked: Dataset) -> None:
    everything = lines(talked, with_history=True)
    assert len(everything) == Label.objects.count()
    first, second = [line for line in everything if line["occasion"] == "work"][:2]
    assert (first["superseded"], second["superseded"]) == (True, False)
    assert second["supersedes"] == first["label_id"]


def test_a_line_holds_every_field(talked: Dataset) -> None:
    line = lines(talked)[0]
    pair = talked.pairs.order_by("pk")[0]
    assert line == {
        "id": "pair-0",
        "digest": pair.digest,
        "in_order": pair.is_in_order,
        "annotator": "ann",
        "kind": "human",
        "label": "b",
        "strength": 3,
        "aspects": {"helpful": "b", "harmless": "tie"},
        "rationale": '=1+1 says\nshe, "really"\r\nand \u202e turns',
        "skip_reason": "",
        "spans": [MARK],
        "shown_first": "b",
        "seconds": 0.1,
        "occasion": "work",
        "created_at": line["created_at"],
        "label_id": line["label_id"],
        "supersedes": line["supersedes"],
        "superseded": False,
        "meta": {},
    }
    assert datetime.fromisoformat(line["created_at"]).tzinfo is not None


def test_no_cell_of_the_table_is_run_as_a_formula(talked: Dataset) -> None:
    table = list(csv.DictReader(io.StringIO(written(talked, "csv").decode(), newline="")))
    assert table[0]["rationale"] == '\'=1+1 says\nshe, "really"\r\nand \u202e turns'
    assert list(table[0]) == list(rows_of_labels.COLUMNS)


def test_an_export_costs_no_more_questions_with_more_labels(
    talked: Dataset, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        written(talked, with_history=True)


def test_pages_neither_lose_nor_double_labels(
    talked: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = written(talked, with_history=True)
    for size in (1, 2, 3):
        monkeypatch.setattr(label_files, "PAGE", size)
        monkeypatch.setattr(label_files, "PAIRS", size)
        assert written(talked, with_history=True) == whole


def test_a_dataset_without_labels_is_an_empty_file(dataset: Dataset) -> None:
    assert written(dataset) == b""
    assert written(dataset, "csv").decode() == ",".join(rows_of_labels.COLUMNS) + "\n"


def test_what_curators_download(talked: Dataset, as_casey: Any) -> None:
    address = reverse("annotations:labels-download", args=[talked.slug, "csv"])
    response = as_casey.get(f"{address}?history=1")
    assert response["Content-Disposition"] == 'attachment; filename="pairs-labels-with-history.csv"'
    assert b"".join(response.streaming_content) == written(talked, "csv", with_history=True)
    assert as_casey.get(address.replace(".csv", ".xml")).status_code == 404


# --- Out and in again


@pytest.mark.parametrize("layout", ["jsonl", "csv"])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_in_a_fresh_dataset_the_same_is_said(
    talked: Dataset, layout: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_files, "BATCH", batch)
    fresh = factories.dataset("fresh")
    imported(fresh, [bare(0), bare(1), bare(2)])
    done = imported(fresh, written(talked, layout, with_history=True))
    assert done.status == Import.Status.DONE, done.problem
    assert (done.read, done.labels_created, done.duplicates, done.refused) == (8, 8, 0, 0)
    assert said_in(fresh) == said_in(talked)
    assert done.found_format.startswith("labels of pairs (")


@pytest.mark.parametrize("layout", ["jsonl", "csv"])
@pytest.mark.parametrize("with_history", [False, True])
def test_our_own_export_brought_in_again_changes_nothing(
    talked: Dataset, layout: str, with_history: bool
) -> None:
    before, count = said_in(talked), Label.objects.count()
    done = imported(talked, written(talked, layout, with_history=with_history))
    assert (done.labels_created, done.refused) == (0, 0)
    assert done.duplicates == done.read > 0
    assert (said_in(talked), Label.objects.count()) == (before, count)


def test_a_file_brought_in_twice_says_it_once(talked: Dataset) -> None:
    fresh = factories.dataset("fresh")
    imported(fresh, [bare(0), bare(1), bare(2)])
    file = written(talked, with_history=True)
    imported(fresh, file)
    again = imported(fresh, file)
    assert (again.labels_created, again.duplicates, again.refused) == (0, 8, 0)
    assert said_in(fresh) == said_in(talked)


def test_where_a_pair_stands_the_other_way_round_everything_is_turned(talked: Dataset) -> None:
    other = factories.dataset("other")
    imported(other, [turned(bare(number)) for number in range(3)])
    imported(other, written(talked, with_history=True))
    label = Label.objects.get(
        pair__dataset=other, annotator__name="ann", preference="a", occasion="", strength=3
    )
    assert label.aspects == {"helpful": "a", "harmless": "tie"}
    assert label.spans == [{**MARK, "response": "b"}]
    assert label.shown_first == "a"
    assert written(other, with_history=True) != written(talked, with_history=True)
    back = factories.dataset("back")
    imported(back, [bare(number) for number in range(3)])
    imported(back, written(other, with_history=True))
    assert said_in(back) == said_in(talked)


def test_what_people_say_is_counted_at_the_pair(talked: Dataset) -> None:
    fresh = factories.dataset("fresh")
    imported(fresh, [bare(0), bare(1), bare(2)])
    more = {"id": "pair-0", "annotator": "ben", "kind": "human", "label": "a"}
    imported(fresh, written(talked) + json.dumps(more).encode())
    pair = fresh.pairs.get(source_id="pair-0")
    assert (pair.standing.people_a, pair.standing.people_b, pair.standing.people_tie) == (1, 1, 0)
    assert list(fresh.pairs.in_dispute(fresh)) == [pair]


def test_a_later_change_of_mind_follows_the_label_that_is_there(talked: Dataset) -> None:
    older, newer = [line for line in lines(talked, with_history=True) if line["kind"] == "human"][
        :2
    ]
    fresh = factories.dataset("fresh")
    imported(fresh, [bare(0), bare(1), bare(2)])
    imported(fresh, [older])
    done = imported(fresh, [newer])
    assert (done.labels_created, done.refused) == (1, 0)
    chain = Label.objects.filter(pair__dataset=fresh).order_by("pk")
    assert [label.preference for label in chain] == ["a", "b"]
    assert chain[1].supersedes == chain[0]


# --- What others write


def test_a_line_may_be_short(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    done = imported(dataset, [{"id": "pair-0", "annotator": "ann", "label": "b"}])
    assert done.labels_created == 1
    label = Label.objects.get()
    assert (label.annotator.kind, label.preference, label.occasion) == ("human", "b", "")
    assert label.imported_in == done


def test_columns_that_are_none_of_ours_are_kept_with_the_label(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    imported(dataset, [{"id": "pair-0", "annotator": "ann", "label": "b", "batch": 7}])
    assert Label.objects.get().meta == {"batch": 7}


BASE = {"id": "pair-0", "annotator": "ann", "kind": "human", "label": "a"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "pair-9"}, "there is no pair with the id 'pair-9' in the dataset"),
        ({"id": None}, "it names no pair: it needs the pair's `id` or `digest`"),
        ({"digest": "x"}, "`digest` must be 64 hexadecimal characters"),
        (
            {"digest": "0" * 64},
            "its id is that of a pair of the dataset whose content is another",
        ),
        ({"id": "", "digest": "0" * 64}, "its pair is not in the dataset"),
        (
            {"label": "c"},
            "a label says 'c'; known are a, b, tie, both_bad, skip",
        ),
        ({"label": "withdrawn"}, "a label says 'withdrawn'; known are"),
        ({"annotator": " "}, "a label's `annotator` must be a name of 1 to 200 characters"),
        ({"kind": "robot"}, "a label's `kind` is 'robot'; known are human, ai, gold, source"),
        ({"strength": 4}, "its `strength` is 4; known are 1, 2 and 3"),
        ({"strength": 1.5}, "its `strength` is 1.5; known are 1, 2 and 3"),
        ({"strength": True}, "`strength` must be a number"),
        ({"seconds": -1}, "its `seconds` are -1, which is no time spent on a pair"),
        ({"seconds": "soon"}, "`seconds` must be a number"),
        ({"aspects": {"helpful": "c"}}, "its `aspects` must say `a`, `b` or `tie` of each aspect"),
        ({"aspects": "{"}, "`aspects` is not valid JSON"),
        ({"spans": [{"start": 1}]}, "its `spans` must be a list of `response` (a, b)"),
        ({"spans": [{**MARK, "start": 9}]}, "its `spans` must be a list"),
        ({"shown_first": "left"}, "its `shown_first` is 'left'; known are a, b"),
        ({"occasion": "fun"}, "its `occasion` is 'fun'; known are work, repeat, practice"),
        ({"skip_reason": "tired"}, "its `skip_reason` is 'tired'; known are"),
        ({"created_at": "yesterday"}, "its `created_at` is 'yesterday', which is no time"),
        ({"rationale": "x" * 20_001}, "its `rationale` is longer than 20,000 characters"),
        ({"rationale": "x\x00"}, "`row` contains a NUL character"),
        ({"meta": "{}x"}, "`meta` is not valid JSON"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_reason(
    dataset: Dataset, changes: Row, reason: str
) -> None:
    imported(dataset, [bare(0)])
    good = {**BASE, "annotator": "ben"}
    done = imported(dataset, [good, {**BASE, **changes}])
    assert (done.status, done.labels_created, done.refused) == (Import.Status.DONE, 1, 1)
    [found] = reasons(done)
    assert found.startswith(reason)
    assert list(dataset.annotators.values_list("name", flat=True)) == ["ben"]


def test_who_contradicts_themselves_is_refused(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    rows: list[Row | str] = [BASE, {**BASE, "label": "b"}, {**BASE, "strength": 2}, BASE]
    done = imported(dataset, rows)
    assert (done.labels_created, done.duplicates, done.refused) == (1, 1, 2)
    assert reasons(done) == [
        "ann has labelled the pair already, as “a”",
        "ann has labelled the pair already, with another strength",
    ]


def test_the_same_answer_at_another_time_is_no_contradiction(dataset: Dataset) -> None:
    """As when both datasets have their labels from one file of pairs, imported on two days."""
    said = [{"annotator": "ann", "kind": "human", "label": "a", "strength": 2}]
    imported(dataset, [row(0, labels=said)])
    twin = factories.dataset("twin")
    imported(twin, [row(0, labels=said)])
    before = said_in(twin)
    done = imported(twin, written(dataset))
    assert (done.labels_created, done.duplicates, done.refused) == (0, 1, 0)
    seen: Row = {**BASE, "strength": 2, "seconds": 9.5, "shown_first": "b"}
    done = imported(twin, [seen, {**seen, "supersedes": 7, "created_at": "2026-01-01T00:00Z"}])
    assert (done.labels_created, done.duplicates, done.refused) == (0, 2, 0)
    assert said_in(twin) == before


def test_histories_of_the_same_answers_at_other_times_are_one(talked: Dataset) -> None:
    twin = factories.dataset("twin")
    imported(twin, [bare(0), bare(1), bare(2)])
    for line in lines(talked, with_history=True):  # dated by their imports
        imported(twin, [{**line, "created_at": None}])
    before, count = said_in(twin), Label.objects.filter(pair__dataset=talked).count()
    done = imported(twin, written(talked, with_history=True))
    assert (done.labels_created, done.duplicates, done.refused) == (0, count, 0)
    assert said_in(twin) == before


def test_who_comes_back_to_their_first_answer_has_said_three_things(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    told = [
        {**BASE, "label": label, "supersedes": number or None, "created_at": f"2026-01-0{day}"}
        for number, (day, label) in enumerate([(1, "a"), (2, "b"), (3, "a")])
    ]
    rows: list[Row | str] = [{**one, "created_at": f"{one['created_at']}T00:00Z"} for one in told]
    assert imported(dataset, rows).labels_created == 3
    again = imported(dataset, rows)
    assert (again.labels_created, again.duplicates, again.refused) == (0, 3, 0)


def test_nothing_that_can_be_used_is_a_failed_import_that_leaves_nothing(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    done = imported(dataset, [{**BASE, "id": "x"}])
    assert done.status == Import.Status.FAILED
    assert done.problem.startswith("None of the 1 rows could be read. Line 1: there is no pair")
    assert not Label.objects.exists()
    assert not dataset.annotators.exists()


def test_a_file_that_breaks_off_leaves_nothing(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    rows = [{**BASE, "annotator": f"ann {number}"} for number in range(2000)]
    whole = gzip.compress(factories.file_of(rows).getvalue(), mtime=0)
    done = imported(dataset, whole[:-20])
    assert done.status == Import.Status.FAILED
    assert "cut off" in done.problem
    assert not Label.objects.exists()
    assert imported(dataset, whole).labels_created == 2000


def test_a_label_of_a_dataset_that_is_not_this_one_is_not_touched(
    talked: Dataset, dataset: Dataset
) -> None:
    other = factories.dataset("other")
    imported(other, [bare(9)])
    done = imported(other, written(talked))
    assert done.status == Import.Status.FAILED
    assert "its pair is not in the dataset" in done.problem


def test_an_attempt_repeated_counts_as_one(
    talked: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels are in, but the worker died before it could say so."""
    fresh = factories.dataset("fresh")
    imported(fresh, [bare(0), bare(1), bare(2)])
    real = label_files.finish

    def die(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(label_files, "finish", die)
    started = imported(fresh, written(talked))
    assert started.status == Import.Status.QUEUED
    monkeypatch.setattr(label_files, "finish", real)
    tasks.run_import(import_id=started.pk)
    started.refresh_from_db()
    assert (started.status, started.labels_created, started.duplicates) == ("done", 3, 0)


def test_a_worker_that_dies_between_two_batches_leaves_the_rest_to_the_next(
    talked: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = factories.dataset("fresh")
    imported(fresh, [bare(0), bare(1), bare(2)])
    monkeypatch.setattr(label_files, "BATCH", 2)
    real, added = label_files.Adding.add, []

    def die(adding: Any, batch: Any) -> None:
        added.append(batch)
        if len(added) == 3:
            raise RuntimeError("killed")
        real(adding, batch)

    monkeypatch.setattr(label_files.Adding, "add", die)
    started = imported(fresh, written(talked, with_history=True))
    assert started.status == Import.Status.QUEUED
    assert Label.objects.filter(pair__dataset=fresh).count() == 4
    tasks.run_import(import_id=started.pk)
    started.refresh_from_db()
    assert (started.status, started.labels_created, started.duplicates) == ("done", 8, 0)
    assert said_in(fresh) == said_in(talked)
    people = fresh.pairs.order_by("pk").values_list("standing__people_a", "standing__people_b")
    assert list(people) == [(0, 1), (0, 0), (0, 0)]


# --- Who labels here, and who is called the same in a file


@pytest.fixture
def anna(dataset: Dataset) -> Annotator:
    """Somebody with a login, who has labelled the first of two pairs."""
    imported(dataset, [bare(0), bare(1)])
    factories.opened_round(dataset)
    found = factories.annotator(dataset, "anna")
    factories.labelled(found, "first")
    return found


def test_what_a_file_says_in_the_name_of_a_login_is_not_credited_to_it(
    dataset: Dataset, anna: Annotator
) -> None:
    other = dataset.pairs.exclude(pk=anna.labels.get().pair_id).get()
    line: Row = {"id": other.source_id, "annotator": "anna", "label": "b"}
    first, again = imported(dataset, [line]), imported(dataset, [line])
    assert (first.labels_created, again.labels_created, again.duplicates) == (1, 0, 1)
    assert anna.labels.count() == 1
    namesake = dataset.annotators.get(name="anna (2)")
    assert (namesake.user, namesake.labels.get().pair) == (None, other)


def test_what_a_login_has_said_is_there_when_its_export_comes_back(
    dataset: Dataset, anna: Annotator
) -> None:
    labelling.undo(anna)
    factories.labelled(anna, "second", "tie")
    for with_history in (False, True):
        done = imported(dataset, written(dataset, with_history=with_history))
        assert (done.labels_created, done.refused) == (0, 0)
    assert list(dataset.annotators.values_list("name", flat=True)) == ["anna"]


def test_pairs_bring_no_labels_to_a_login_either(dataset: Dataset, anna: Annotator) -> None:
    said = {"annotator": "anna", "label": "a"}
    imported(dataset, [row(number, labels=[said]) for number in (1, 2)])
    assert anna.labels.filter(imported_in=None).count() == anna.labels.count() == 1
    assert dataset.annotators.get(name="anna (2)").labels.count() >= 1


def test_labels_asked_for_as_pairs_are_refused_as_pairs(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    done = imported(dataset, [BASE], layout="normalised")
    assert done.status == Import.Status.FAILED
    assert not Label.objects.exists()


def test_memory_does_not_grow_with_the_file(dataset: Dataset) -> None:
    imported(dataset, [bare(number) for number in range(20)])

    def peak(count: int, name: str) -> int:
        rows = (
            {**BASE, "id": f"pair-{number % 20}", "annotator": f"{name}{number // 20}"}
            for number in range(count)
        )
        file = factories.file_of(rows)
        tracemalloc.start()
        imported(dataset, file)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000, "warm")
    assert peak(4000, "x") < 1.5 * peak(1000, "y") + 2**20


# --- The words of pairs' own labels


@pytest.mark.parametrize(
    ("given_strength", "kept", "beside"),
    [
        (1, 1, {}),
        (3, 3, {}),
        (0.5, 2, {"strength": 0.5}),
        (1.0, 3, {"strength": 1.0}),
        (0.1111, 1, {"strength": 0.1111}),
        (7, None, {"strength": 7}),
        (0.0, None, {"strength": 0.0}),
        ("much", None, {"strength": "much"}),
        (True, None, {"strength": True}),
    ],
)
def test_the_strength_of_a_pairs_label_is_kept(
    dataset: Dataset, given_strength: object, kept: int | None, beside: Row
) -> None:
    label = {"annotator": "ann", "label": "a", "strength": given_strength}
    imported(dataset, [row(0, labels=[label])])
    found = Label.objects.get()
    assert (found.strength, found.meta) == (kept, beside)


def test_aspects_and_reasons_of_a_pairs_label_are_kept(dataset: Dataset) -> None:
    labels = [
        {"annotator": "ann", "label": "a", "aspects": {"helpful": "b"}, "note": "since"},
        {"annotator": "ben", "label": "b", "aspects": {"helpful": 4}, "rationale": "why not"},
        {"annotator": "cleo", "label": "tie", "strength": 2, "note": 5},
    ]
    done = imported(dataset, [row(0, labels=labels)])
    assert done.labels_created == 3
    found = {
        label.annotator.name: (label.aspects, label.rationale, label.strength, label.meta)
        for label in Label.objects.select_related("annotator")
    }
    assert found == {
        "ann": ({"helpful": "b"}, "since", None, {}),
        "ben": ({}, "why not", None, {"aspects": {"helpful": 4}}),
        "cleo": ({}, "", None, {"note": 5}),
    }


def test_aspects_turn_with_a_pair_that_stands_the_other_way_round(dataset: Dataset) -> None:
    imported(dataset, [bare(0)])
    label = {"annotator": "ann", "label": "a", "aspects": {"helpful": "b", "kind": "tie"}}
    imported(dataset, [{**turned(bare(0)), "labels": [label]}])
    found = Label.objects.get()
    assert (found.preference, found.aspects) == ("b", {"helpful": "a", "kind": "tie"})


def test_our_own_snapshots_bring_the_labels_that_held(dataset: Dataset) -> None:
    labels = [
        {"annotator": "ann", "label": "a", "kind": "human", "superseded": True},
        {"annotator": "ann", "label": "b", "kind": "human", "superseded": False},
        {"annotator": "ben", "label": "withdrawn", "kind": "human", "superseded": False},
    ]
    imported(dataset, [row(0, labels=labels)])
    found = Label.objects.get()
    assert (found.annotator.name, found.preference, found.meta) == ("ann", "b", {})


# --- Laws

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
given_labels = st.fixed_dictionaries(
    {
        "id": st.just("pair-0"),
        "digest": st.just("0" * 64),
        "in_order": st.booleans(),
        "annotator": texts.map(lambda text: f"x{text}x"),
        "kind": st.sampled_from(["human", "ai"]),
        "label": st.sampled_from(["a", "b", "tie", "both_bad", "skip"]),
        "strength": st.none() | st.integers(1, 3),
        "aspects": st.dictionaries(
            texts.map(lambda text: f"x{text}"), st.sampled_from(["a", "b", "tie"]), max_size=3
        ),
        "rationale": texts.map(lambda text: text if text.strip() else ""),
        "skip_reason": st.sampled_from(["", "language"]),
        "spans": st.lists(st.just(MARK), max_size=2),
        "shown_first": st.sampled_from(["", "a", "b"]),
        "seconds": st.none() | st.floats(0, 1000),
        "occasion": st.sampled_from(["work", "repeat", "practice"]),
        "created_at": st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.isoformat()),
        "label_id": st.integers(1, 99),
        "supersedes": st.none() | st.integers(1, 99),
        "superseded": st.booleans(),
        "meta": st.dictionaries(texts.map(lambda text: f"x{text}"), texts, max_size=2),
    }
)


@given(given_labels)
def test_a_table_says_what_json_says(found: Row) -> None:
    file = io.StringIO(newline="")
    table = TableWriter(file, rows_of_labels.COLUMNS)
    table.write(*(label_files._cell(name, found[name]) for name in rows_of_labels.COLUMNS))
    read = list(RowReader(io.BytesIO(file.getvalue().encode()), cap=2**30).rows())
    assert len(read) == 1
    assert label_files._given(read[0], is_table=True) == rows_of_labels.parse(found)


@given(given_labels)
def test_turned_twice_is_as_it_was(found: Row) -> None:
    label = rows_of_labels.parse(found)
    assert label.turned().turned() == label


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_cell_is_guarded_and_read_back(cell: str) -> None:
    file = io.StringIO(newline="")
    TableWriter(file, ["one", "two"]).write(cell, "end")
    kept = list(csv.reader(io.StringIO(file.getvalue(), newline=""), strict=True))[1]
    assert unguarded(kept[0]) == cell
    assert not kept[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@given(st.dictionaries(st.sampled_from(rows_of_labels.COLUMNS), st.none() | st.integers() | texts))
def test_a_row_of_anything_is_a_label_or_a_reason(found: Row) -> None:
    with suppress(RowError):  # anything else would end the whole import
        rows_of_labels.parse(found)


# --- Real files


def shared(name: str) -> bytes:
    path = SHARED / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path.read_bytes()


def without_labels(file: bytes) -> Iterator[Row]:
    for line in gzip.decompress(file).splitlines():
        yield {**json.loads(line), "labels": []}


@pytest.mark.parametrize("name", ["pandalm", "tulu1_human"])
def test_the_labels_of_real_pairs_go_out_and_come_in(dataset: Dataset, name: str) -> None:
    file = shared(name)
    imported(dataset, file)
    fresh = factories.dataset("fresh")
    imported(fresh, factories.file_of(without_labels(file)))
    done = imported(fresh, factories.gzipped(written(dataset)))
    assert done.labels_created == Label.objects.filter(pair__dataset=dataset).count() > 800
    assert said_in(fresh) == said_in(dataset)
    counts = [f"standing__people_{said}" for said in ("a", "b", "tie", "both_bad")]
    for pairs in (dataset.pairs, fresh.pairs):
        assert pairs.filter(standing__people_a__gt=0, standing__people_b__gt=0).exists()
    assert list(fresh.pairs.order_by("digest").values_list(*counts)) == list(
        dataset.pairs.order_by("digest").values_list(*counts)
    )


def test_strength_of_trained_people_is_kept(dataset: Dataset) -> None:
    imported(dataset, shared("tulu1_human"))
    labels = Label.objects.filter(pair__dataset=dataset)
    strengths = set(labels.filter(preference__in=["a", "b"]).values_list("strength", flat=True))
    assert strengths == {2, 3}
    ties = labels.filter(preference=Judgement.TIE)
    assert set(ties.values_list("strength", flat=True)) == {None}
    for label in labels.filter(strength=3)[:5]:
        assert label.meta["strength"] == 1
