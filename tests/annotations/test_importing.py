"""Imports: all of a file's usable rows or nothing, and every refused row with its reason."""

import csv
import errno
import gzip
import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotations import importing, launch, staging, tasks
from annotations.models import (
    Annotator,
    Dataset,
    Import,
    Label,
    PreferencePair,
    StagedLabel,
    StagedPair,
)
from curator.lib import work
from curator.lib.batches import batches as real_batches
from curator.lib.refusals import Refusal
from curator.models import User
from tests import factories
from tests.factories import Row, imported, row, start_import

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> Path:
    """Where this test's files are kept."""
    storages = settings.STORAGES
    default = {**storages["default"], "OPTIONS": {"location": tmp_path / "files"}}
    settings.STORAGES = {**storages, "default": default}
    return tmp_path / "files"


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep asks the broker whether its queue is quiet, which takes a while when it is away."""
    monkeypatch.setattr(tasks, "is_quiet", lambda _queue: False)


def run(started: Import) -> Import:
    tasks.run_import(import_id=started.pk)
    started.refresh_from_db()
    return started


def counts_of(done: Import) -> dict[str, int]:
    names = ("read", "created", "duplicates", "refused", "labels_created")
    return {name: getattr(done, name) for name in names}


def report_of(done: Import) -> list[dict[str, str]]:
    with done.report.open("rb") as file:
        return list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")))


def reasons_of(done: Import) -> list[str]:
    return [refused["reason"] for refused in report_of(done)]


def says(annotator: str, label: str, kind: str = "human") -> Row:
    return {"annotator": annotator, "kind": kind, "label": label}


def turned(of: Row, **changes: Any) -> Row:
    """The same pair with its responses exchanged."""
    return {**of, "response_a": of["response_b"], "response_b": of["response_a"], **changes}


def labels_of(pair: PreferencePair) -> dict[str, str]:
    return dict(pair.labels.values_list("annotator__name", "preference"))


def content_of(into: Dataset) -> list[Any]:
    """All that a dataset holds, but for keys and times."""
    pairs = into.pairs.order_by("source_line").values_list(
        "source_line", "source_id", "digest", "prompt", "response_a", "source_preference", "meta"
    )
    said = Label.objects.filter(pair__dataset=into).order_by("pair__digest", "annotator__name")
    return [
        *pairs,
        *said.values_list("pair__digest", "annotator__name", "annotator__kind", "preference"),
        *into.annotators.order_by("name", "kind").values_list("name", "kind"),
    ]


def assert_nothing_is_left(into: Dataset) -> None:
    """Neither published nor, once the sweep has passed, staged."""
    tasks.sweep()
    for kind in (PreferencePair, Label, Annotator, StagedPair, StagedLabel):
        assert not kind._default_manager.exists(), kind
    assert not into.pairs.exists()


def stored(files: Path) -> int:
    return sum(path.is_file() for path in files.rglob("*"))


# --- What becomes of the rows


def test_an_import_counts_what_became_of_its_rows(dataset: Dataset) -> None:
    bad = row(3, response_a="")
    done = imported(dataset, [row(0), row(1), row(2), turned(row(0), labels=[]), bad, "nonsense"])
    assert done.status == Import.Status.DONE
    assert counts_of(done) == {
        "read": 6,
        "created": 3,
        "duplicates": 1,
        "refused": 2,
        "labels_created": 3,
    }
    assert done.found_format == "pairs with labels (JSON lines)"
    assert done.bytes_read == done.file_bytes
    assert done.share_done == 1


def test_a_pair_is_stored_as_its_row_has_it(dataset: Dataset) -> None:
    labels = [says("anna", "b"), {**says("gpt", "a", "ai"), "strength": 2}]
    imported(dataset, [row(5, labels=labels, meta={"lang": "en"}, source="web")])
    pair = dataset.pairs.get()
    assert (pair.source_id, pair.source_line, pair.source_preference) == ("pair-5", 1, "b")
    assert pair.prompt == [{"role": "user", "content": "Question 5?"}]
    assert pair.response_b == [{"role": "assistant", "content": "no 5"}]
    assert pair.meta == {"lang": "en", "source": "web"}
    assert labels_of(pair) == {"anna": "b", "gpt": "a"}
    assert pair.labels.get(annotator__name="gpt").strength == 2
    assert set(dataset.annotators.values_list("name", "kind")) == {("anna", "human"), ("gpt", "ai")}


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_transcripts_are_imported_with_the_sources_choice(
    dataset: Dataset, compress: Callable[[bytes], bytes]
) -> None:
    rows: list[Row | str] = [
        {
            "chosen": f"\n\nHuman: Why {number}?\n\nAssistant: So.",
            "rejected": f"\n\nHuman: Why {number}?\n\nAssistant: No.",
        }
        for number in range(3)
    ]
    done = imported(dataset, compress(factories.file_of(rows).getvalue()))
    assert (done.created, done.labels_created) == (3, 3)
    for pair in dataset.pairs.all():
        chosen = pair.response_a if pair.source_preference == "a" else pair.response_b
        assert chosen[0]["content"] == "So."
        assert labels_of(pair) == {"source": pair.source_preference}


def test_each_refused_row_is_in_the_report_with_line_id_and_reason(dataset: Dataset) -> None:
    bad = row(3, prompt="Why?", labels="a")
    rows: list[Row | str] = [row(0), row(1, response_b=""), "{broken", bad]
    done = imported(dataset, rows)
    report = report_of(done)
    assert [(each["line"], each["id"]) for each in report] == [
        ("2", "pair-1"),
        ("3", ""),
        ("4", "pair-3"),
    ]
    assert report[0]["reason"] == "a response is empty"
    assert report[1]["reason"].startswith("not valid JSON")
    assert report[1]["text"] == "{broken"
    assert report[2]["reason"] == "`labels` must be a list, not text"
    assert report[2]["text"] == "Why?"


def test_the_report_is_downloaded_as_a_table(dataset: Dataset, as_casey: Any) -> None:
    done = imported(dataset, [row(0), row(1, response_b="")])
    page = as_casey.get(reverse("annotations:import-report", args=[dataset.slug, done.pk]))
    assert "attachment" in page["Content-Disposition"]
    assert b"2,pair-1,a response is empty" in b"".join(page.streaming_content)
    page.close()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n"])
def test_no_cell_of_the_report_is_run_as_a_formula(dataset: Dataset, start: str) -> None:
    formula = f'{start}HYPERLINK("http://evil.example")'
    bad = row(1, id=formula, prompt=formula, response_a="")
    done = imported(dataset, [row(0), bad])
    [refused] = report_of(done)
    assert (refused["id"], refused["text"]) == (f"'{formula}", f"'{formula}")


def test_an_import_without_refusals_has_no_report(dataset: Dataset) -> None:
    assert not imported(dataset, [row(0)]).report


# --- The same pair again


def test_the_same_content_is_one_pair_whichever_way_round_and_all_labels_are_kept(
    dataset: Dataset,
) -> None:
    again = row(0, id="other", labels=[says("ben", "a")])
    back_to_front = turned(row(0), id="third", labels=[says("cleo", "a"), says("dan", "tie")])
    done = imported(dataset, [row(0), again, back_to_front])
    assert (done.created, done.duplicates, done.refused) == (1, 2, 0)
    pair = dataset.pairs.get()
    assert labels_of(pair) == {"anna": "a", "ben": "a", "cleo": "b", "dan": "tie"}
    assert pair.source_preference == "a"


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_the_preference_follows_from_the_labels_of_all_rows(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(importing, "BATCH", batch)
    others = [turned(row(0), labels=[says(name, "a")]) for name in ("ben", "cleo")]
    imported(dataset, [row(0), *others])
    assert dataset.pairs.get().source_preference == "b"


@pytest.mark.parametrize("batch", [1, 500])
def test_rows_of_a_published_pair_bring_their_labels_the_right_way_round(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(importing, "BATCH", batch)
    [pair] = factories.pairs(dataset, 1)
    rows: list[Row | str] = [
        turned(row(0), labels=[says("ben", "b")]),
        turned(row(0), labels=[says("cleo", "b")]),
        row(0, labels=[says("dan", "a")]),
    ]
    done = imported(dataset, rows)
    assert counts_of(done) == {
        "read": 3,
        "created": 0,
        "duplicates": 3,
        "refused": 0,
        "labels_created": 3,
    }
    assert labels_of(pair) == {"anna": "a", "ben": "a", "cleo": "a", "dan": "a"}


@pytest.mark.parametrize("batch", [1, 500])
def test_an_annotator_who_contradicts_himself_is_refused(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(importing, "BATCH", batch)
    same_again, otherwise = turned(row(0, label="b")), turned(row(0, label="a"))
    done = imported(dataset, [row(0), same_again, otherwise])
    assert (done.created, done.duplicates, done.refused) == (1, 1, 1)
    assert reasons_of(done) == ["anna judges the same pair otherwise in line 1"]
    assert labels_of(dataset.pairs.get()) == {"anna": "a"}


def test_an_annotator_who_contradicts_an_earlier_import_is_refused(dataset: Dataset) -> None:
    factories.pairs(dataset, 2)
    done = imported(dataset, [row(0), row(1, label="b")])
    assert reasons_of(done) == [
        "anna judges the same pair otherwise in a pair of the dataset (its line 2)"
    ]


@pytest.mark.parametrize("batch", [1, 500])
def test_an_id_that_names_another_pair_is_refused(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(importing, "BATCH", batch)
    done = imported(dataset, [row(0), row(1, id="pair-0")])
    assert (done.created, done.refused) == (1, 1)
    assert reasons_of(done) == ["its id is that of line 1, but its content is another"]
    assert report_of(done)[0]["id"] == "pair-0"


def test_an_id_that_names_another_pair_of_the_dataset_is_refused(dataset: Dataset) -> None:
    factories.pairs(dataset, 1)
    done = imported(dataset, [row(1, id="pair-0"), row(2)])
    assert (done.created, done.refused) == (1, 1)
    assert reasons_of(done) == [
        "its id is that of a pair of the dataset (its line 1), but its content is another"
    ]


def test_the_same_id_may_be_used_in_two_datasets(dataset: Dataset) -> None:
    factories.pairs(dataset, 2)
    other = factories.dataset("other")
    assert imported(other, [row(0), row(9, id="pair-1")]).created == 2


def test_rows_without_ids_are_all_imported(dataset: Dataset) -> None:
    assert imported(dataset, [row(number, id=None) for number in range(3)]).created == 3


def test_importing_the_same_file_again_creates_nothing(dataset: Dataset) -> None:
    rows = [row(number) for number in range(5)]
    imported(dataset, rows)
    before = content_of(dataset)
    done = imported(dataset, rows)
    assert counts_of(done) == {
        "read": 5,
        "created": 0,
        "duplicates": 5,
        "refused": 0,
        "labels_created": 0,
    }
    assert content_of(dataset) == before
    assert not StagedPair.objects.exists()


# --- Files that cannot be imported


TRUNCATED = gzip.compress(
    factories.file_of([row(number) for number in range(1000)]).getvalue(), mtime=0
)[:-20]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (b"", "The file is empty."),
        (b" \n\n", "The file is empty."),
        (b"[]", "The file holds no rows."),
        (b"PK\x03\x04", "zip archive"),
        (TRUNCATED, "cut off: it ends before its end mark"),
        (f"[{json.dumps(row(0))},".encode(), "The JSON breaks off after row 1."),
        (json.dumps(row(0)).encode("utf-16"), "save it as UTF-8"),
        (b"hello\n", "neither JSON nor Parquet"),
        (
            json.dumps(row(0, response_a="")).encode(),
            "None of the 1 rows could be read. Line 1: a response is empty.",
        ),
        (b'{"text": "x"}\n', "Line 1: it needs `chosen` and `rejected`, or"),
    ],
)
def test_a_file_that_cannot_be_read_fails_with_a_sentence_and_leaves_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, file: bytes, problem: str
) -> None:
    monkeypatch.setattr(importing, "BATCH", 100)
    done = imported(dataset, file)
    assert done.status == Import.Status.FAILED
    assert problem in done.problem
    assert "\n" not in done.problem
    assert (done.created, done.labels_created) == (0, 0)
    assert_nothing_is_left(dataset)


def test_a_failed_import_keeps_its_report(dataset: Dataset) -> None:
    good_then_bad = [json.dumps(row(0)), json.dumps(row(1, response_a=""))]
    done = imported(dataset, f"[{','.join(good_then_bad)},{{".encode())
    assert done.status == Import.Status.FAILED
    assert done.problem == "The JSON breaks off after row 2."
    assert (done.read, done.refused) == (0, 0)  # not a whole batch came
    assert_nothing_is_left(dataset)


def test_a_failed_import_keeps_the_report_of_the_batches_before(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    rows = [json.dumps(row(0)), json.dumps(row(1, response_a=""))]
    done = imported(dataset, f"[{','.join(rows)},{{".encode())
    assert done.status == Import.Status.FAILED
    assert (done.read, done.refused) == (2, 1)
    assert reasons_of(done) == ["a response is empty"]
    assert_nothing_is_left(dataset)


def test_a_named_layout_is_not_guessed(dataset: Dataset) -> None:
    done = imported(dataset, [row(0)], layout="hh")
    assert done.status == Import.Status.FAILED
    assert "`chosen` must be text, not missing" in done.problem


def test_an_unknown_layout_is_refused_before_anything_is_kept(
    dataset: Dataset, files: Path
) -> None:
    with pytest.raises(Refusal, match="'parket' is not known: choose auto, normalised, hh, trl"):
        start_import(dataset, b"{}", layout="parket")
    assert not Import.objects.exists()
    assert stored(files) == 0


def test_only_who_may_curate_starts_an_import(dataset: Dataset, casey: User) -> None:
    def start(by: User) -> Import:
        return launch.start_import(
            dataset=dataset, file=io.BytesIO(b"{}"), name="x", layout="auto", by=by
        )

    assert start(casey).created_by == casey
    with pytest.raises(Refusal):
        start(factories.user("stranger"))


# --- Workers that die, people who cancel, disks that fill


class Died(BaseException):
    """The worker is gone: no handler of ours runs on."""


def before_batch(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], object]) -> None:
    """Let something happen once that many batches have been staged and the next is read."""

    def batches(*arguments: Any, **options: Any) -> Iterator[Any]:
        for count, batch in enumerate(real_batches(*arguments, **options)):
            if count == number:
                do()
            yield batch

    monkeypatch.setattr(importing, "batches", batches)


def while_staging_batch(
    monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], object]
) -> None:
    """Let something happen when that batch is staged but not committed."""
    real, calls = staging.stage, iter(range(1000))

    def stage(*arguments: Any) -> None:
        real(*arguments)
        if next(calls) == number:
            do()

    monkeypatch.setattr(staging, "stage", stage)


def die() -> None:
    raise Died


def expire(started: Import) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Import.objects.filter(pk=started.pk).update(lease_expires_at=past)


ROWS: list[Row | str] = [
    row(0),
    row(1, response_a=""),
    row(2),
    turned(row(0), id="again", labels=[says("ben", "b")]),
    row(3),
    row(4),
    row(5, id="pair-2"),
    row(6),
]


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("moment", [before_batch, while_staging_batch])
def test_an_attempt_after_a_worker_died_gives_what_one_attempt_gives(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, files: Path, batch: int, moment: Any
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    undisturbed = factories.dataset("undisturbed")
    expected = imported(undisturbed, ROWS)

    with monkeypatch.context() as dying:
        moment(dying, batch, die)
        started = start_import(dataset, factories.file_of(ROWS))
        with pytest.raises(Died):
            tasks.run_import(import_id=started.pk)
    assert not dataset.pairs.exists()
    before = Import.objects.get(pk=started.pk)
    assert before.status == Import.Status.RUNNING

    run(started)
    started.refresh_from_db()
    assert started.fence == before.fence, "its lease has not run out"
    expire(started)
    run(started)
    assert started.status == Import.Status.DONE
    assert counts_of(started) == counts_of(expected)
    assert content_of(dataset) == content_of(undisturbed)
    assert report_of(started) == report_of(expected)
    assert not StagedPair.objects.exists()
    assert stored(files / "reports") == 2


def test_a_worker_that_dies_while_publishing_has_published_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start_import(dataset, factories.file_of(ROWS))
    with monkeypatch.context() as dying:
        dying.setattr(importing, "_publish_labels", lambda _row: die())
        with pytest.raises(Died):
            tasks.run_import(import_id=started.pk)
    assert not dataset.pairs.exists()
    assert not dataset.annotators.exists()
    expire(started)
    run(started)
    assert (started.status, dataset.pairs.count()) == (Import.Status.DONE, started.created)


@pytest.mark.parametrize("place", ["_count_voices", "_finish"])
def test_a_worker_that_dies_after_publishing_is_followed_by_one_that_counts(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    undisturbed = factories.dataset("undisturbed")
    expected = imported(undisturbed, ROWS)
    started = start_import(dataset, factories.file_of(ROWS))
    with monkeypatch.context() as dying:
        dying.setattr(importing, place, lambda *_: die())
        with pytest.raises(Died):
            tasks.run_import(import_id=started.pk)
    expire(started)
    run(started)
    assert (started.status, counts_of(started)) == (Import.Status.DONE, counts_of(expected))
    said = [
        list(
            into.pairs.order_by("digest").values_list(
                "standing__people_a", "standing__people_b", "standing__people_tie"
            )
        )
        for into in (dataset, undisturbed)
    ]
    assert said[0] == said[1]
    assert any(map(any, said[0]))


def test_an_import_whose_worker_dies_again_and_again_is_given_up(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    started = start_import(dataset, factories.file_of(ROWS))
    for _ in range(work.MOST_ATTEMPTS):
        with monkeypatch.context() as dying:
            before_batch(dying, 1, die)
            with pytest.raises(Died):
                tasks.run_import(import_id=started.pk)
        expire(started)
    run(started)
    assert started.status == Import.Status.FAILED
    assert "Given up after 3 attempts" in started.problem
    assert_nothing_is_left(dataset)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_an_import_that_is_cancelled_leaves_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, files: Path, batch: int
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    started = start_import(dataset, factories.file_of(ROWS))
    before_batch(monkeypatch, batch, lambda: work.cancel(started))
    run(started)
    assert started.status == Import.Status.CANCELLED
    assert_nothing_is_left(dataset)
    assert stored(files) == 1, "only the file itself is kept"


def test_an_import_that_is_cancelled_before_publishing_publishes_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start_import(dataset, factories.file_of([row(0)]))
    real = importing._publish_labels

    def cancel_first(of: Import) -> int:
        work.cancel(started)
        return real(of)

    monkeypatch.setattr(importing, "_publish_labels", cancel_first)
    run(started)
    assert not dataset.pairs.exists()
    assert not Label.objects.exists()


def test_a_worker_believed_dead_stages_nothing_beside_its_successor(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker hangs at its second batch, another begins anew, and the first wakes."""
    monkeypatch.setattr(importing, "BATCH", 2)
    started = start_import(dataset, factories.file_of(ROWS))
    successors: list[Import | None] = []

    def another_begins() -> None:
        expire(started)
        successors.append(work.claim(Import, started.pk))
        staging.discard(started)

    before_batch(monkeypatch, 1, another_begins)
    run(started)
    assert successors == [started]
    assert started.status == Import.Status.RUNNING
    assert not StagedPair.objects.exists()


def test_what_was_staged_is_discarded_in_steps_and_all_of_it(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write between two steps; what another import has staged stays."""
    monkeypatch.setattr(staging, "DISCARDED_AT_ONCE", 2)
    waiting = start_import(dataset, factories.file_of(ROWS))
    staged: dict[str, Any] = {"prompt": [], "response_a": [], "response_b": []}
    staged |= {"is_in_order": True, "turns": 1, "characters": 0, "longer_a": 0, "checks": 0}
    for number in range(3):
        StagedPair.objects.create(
            imported_in=waiting, source_line=number, digest=str(number), **staged
        )
    done = factories.imported(dataset, [factories.row(number) for number in range(5)])
    assert done.created == 5
    assert StagedPair.objects.count() == 3
    with CaptureQueriesContext(connection) as asked:
        staging.discard(waiting)
    assert not StagedPair.objects.exists()
    assert sum(query["sql"].startswith("DELETE") for query in asked) == 4  # labels and pairs, twice


@pytest.mark.parametrize(
    "error", [NO_SPACE, OperationalError("database or disk is full")], ids=["files", "database"]
)
@pytest.mark.parametrize("place", ["stage", "_publish_pairs", "_publish_labels"])
def test_a_full_disk_fails_the_import_with_a_sentence_and_leaves_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)

    def full(*_arguments: Any) -> None:
        raise error

    if place == "stage":
        while_staging_batch(monkeypatch, 1, full)
    else:
        monkeypatch.setattr(importing, place, full)
    done = imported(dataset, ROWS)
    assert done.status == Import.Status.FAILED
    assert "free some" in done.problem
    assert "Nothing was half-written." in done.problem
    assert_nothing_is_left(dataset)


def test_a_full_disk_while_the_report_is_kept_fails_the_import(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start_import(dataset, factories.file_of(ROWS))

    def full(*_arguments: Any) -> str:
        raise NO_SPACE

    monkeypatch.setattr(FileSystemStorage, "_save", full)
    run(started)
    assert (started.status, started.report.name) == (Import.Status.FAILED, "")
    assert "No space is left on the disk" in started.problem
    assert_nothing_is_left(dataset)


def test_a_full_disk_while_the_upload_is_kept_starts_no_import(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> str:
        raise NO_SPACE

    monkeypatch.setattr(FileSystemStorage, "_save", full)
    with pytest.raises(OSError, match="No space left"):
        start_import(dataset, factories.file_of(ROWS))
    assert not Import.objects.exists()


# --- Two imports at once


def imported_while(
    monkeypatch: pytest.MonkeyPatch, into: Dataset, rows: list[Row | str], do: Callable[[], object]
) -> Import:
    """An import that stages, then lets something happen, then publishes."""
    real = importing._publish

    def publish(*arguments: Any) -> None:
        monkeypatch.setattr(importing, "_publish", real)
        do()
        real(*arguments)

    monkeypatch.setattr(importing, "_publish", publish)
    return imported(into, rows)


@pytest.mark.parametrize("is_turned", [False, True])
def test_two_imports_of_the_same_content_publish_it_once_with_the_labels_of_both(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, is_turned: bool
) -> None:
    mine: list[Row | str] = [
        (turned if is_turned else dict)(
            row(number), labels=[says("ben", "b" if is_turned else "a")]
        )
        for number in range(3)
    ]
    theirs = [row(number) for number in range(4)]
    done = imported_while(monkeypatch, dataset, mine, lambda: imported(dataset, theirs))
    assert done.status == Import.Status.DONE, done.problem
    assert counts_of(done) == {
        "read": 3,
        "created": 0,
        "duplicates": 3,
        "refused": 0,
        "labels_created": 3,
    }
    assert dataset.pairs.count() == 4
    for pair in dataset.pairs.order_by("pk")[:3]:
        assert labels_of(pair) == {"anna": "a", "ben": "a"}


def test_an_id_that_another_import_took_meanwhile_fails_the_import(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine: list[Row | str] = [row(0), row(1, id="mine")]
    theirs = [row(7, id="pair-0")]
    done = imported_while(monkeypatch, dataset, mine, lambda: imported(dataset, theirs))
    assert done.status == Import.Status.FAILED
    assert "Another import brought pairs with the same ids meanwhile" in done.problem
    assert [pair.source_id for pair in dataset.pairs.all()] == ["pair-0"]
    assert dataset.pairs.get().prompt[0]["content"] == "Question 7?"


# --- Size


def test_memory_does_not_grow_with_the_file(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 100)

    def peak_of(count: int) -> int:
        rows = [row(count + number, prompt=f"{count} {number} " * 20) for number in range(count)]
        started = start_import(dataset, factories.file_of([*rows, "broken"]))
        del rows
        tracemalloc.start()
        try:
            run(started)
            assert started.created == count, started.problem
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_of(100)  # what is loaded once
    small, large = peak_of(300), peak_of(1200)
    assert large < 1.5 * small


# --- Real files


@pytest.mark.parametrize(
    ("name", "pairs"),
    [("vicuna80", 1920), ("hhh_alignment", 221), ("judgebench", 270)],
)
def test_a_real_file_imports_to_its_last_row(dataset: Dataset, name: str, pairs: int) -> None:
    path = SHARED / "pairs" / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the real data is not at hand: {path}")
    done = imported(dataset, path.read_bytes(), name=path.name)
    assert (done.status, done.read) == (Import.Status.DONE, pairs)
    assert done.created + done.duplicates + done.refused == done.read
    assert dataset.pairs.count() == done.created
    rows = [json.loads(line) for line in gzip.open(path)]
    assert done.labels_created <= sum(len(each["labels"]) for each in rows)
    assert done.refused == (len(report_of(done)) if done.report else 0)
    if name in ("vicuna80", "hhh_alignment"):
        assert (done.created, done.duplicates, done.refused) == (pairs, 0, 0)
        assert done.labels_created == sum(len(each["labels"]) for each in rows)


def test_real_refusals_are_what_their_description_says(dataset: Dataset) -> None:
    path = SHARED / "pairs" / "llmfao.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the real data is not at hand: {path}")
    rows = [json.loads(line) for line in gzip.open(path)]
    empty = sum(not each["response_a"].strip() or not each["response_b"].strip() for each in rows)
    reasons = Counter(reasons_of(imported(dataset, path.read_bytes())))
    assert reasons["a response is empty"] == empty > 0


@pytest.mark.parametrize("name", ["helpful-base", "harmless-base"])
def test_real_transcripts_import_as_their_authors_published_them(
    dataset: Dataset, name: str
) -> None:
    path = SHARED / "raw" / "hh-rlhf" / f"{name}.test.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the real data is not at hand: {path}")
    rows = [json.loads(line) for line in gzip.open(path)]
    done = imported(dataset, path.read_bytes(), name=path.name)
    assert done.found_format == "HH-RLHF transcripts (JSON lines, gzip)"
    assert done.read == len(rows)
    assert done.created > 0.97 * len(rows)
    line_of = {pair.source_line: pair for pair in dataset.pairs.all()}
    for line, pair in list(line_of.items())[:200]:
        chosen = pair.response_a if pair.source_preference == "a" else pair.response_b
        last = chosen[-1]["content"]
        assert rows[line - 1]["chosen"].rstrip().endswith(last)
