"""Import a file of pairs: everything is staged and checked first, then published in one
transaction.

A file that cannot be read, or a worker that dies, leaves nothing in the dataset. Staging begins
anew with each attempt, so that an attempt repeated is an attempt made once.
"""

import csv
import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import IO

from django.conf import settings
from django.core.files import File
from django.db import models, transaction
from django.db.models import Case, Exists, OuterRef, Subquery, Value, When
from django.utils import timezone

from annotations import staging
from annotations.formats.layouts import AUTO
from annotations.formats.reading import PairReader, UnreadableFile
from annotations.models import (
    CONTENT_FIELDS,
    Annotator,
    Dataset,
    Import,
    Label,
    PreferencePair,
    StagedLabel,
    StagedPair,
)
from annotations.staging import Counts
from curator.lib import work
from curator.lib.batches import batches
from curator.lib.bulk import insert_from_select
from curator.lib.refusals import Refusal
from curator.lib.tables import TableWriter

logger = logging.getLogger(__name__)

BATCH = 500
HEAVIEST = 16 * 1024**2  # characters of text that are staged at once


def run(row: Import) -> None:
    """Bring the import's file into its dataset. Raises Refusal when it cannot be read or holds
    no usable pair."""
    staging.discard(row)
    counts = Counts()
    with _report(row, counts) as report, row.file.open("rb") as file:
        reader = PairReader(file, layout=row.format or AUTO, cap=settings.MAX_IMPORT_BYTES)
        try:
            for rows in batches(reader.pairs(), BATCH, weight=staging.weight, heaviest=HEAVIEST):
                with transaction.atomic():  # who has lost the lease stages nothing more
                    staging.stage(row, rows, counts, report)
                    work.renew(
                        row,
                        bytes_read=reader.bytes_read,
                        found_format=reader.found_format,
                        **asdict(counts),
                    )
        except UnreadableFile as error:
            raise Refusal(str(error)) from error
        if counts.read == 0:
            raise Refusal("The file holds no rows.")
        if counts.read == counts.refused:
            raise Refusal(f"None of the {counts.read:,} rows could be read. {report.first_reason}")
    _publish(row, counts)
    staging.discard(row)


@transaction.atomic
def _publish(row: Import, counts: Counts) -> None:
    """Copy what was staged into the dataset, all or nothing, and mark the import done."""
    dataset = Dataset.objects.select_for_update().get(pk=row.dataset_id)
    there = PreferencePair.objects.filter(dataset=dataset)
    staged = StagedPair.objects.filter(imported_in=row)
    # not published before, nor beside this
    fresh = staged.filter(~Exists(there.filter(digest=OuterRef("digest"))))
    if (
        fresh.exclude(source_id="")
        .filter(Exists(there.filter(source_id=OuterRef("source_id"))))
        .exists()
    ):
        raise Refusal(
            "Another import brought pairs with the same ids meanwhile: import the file again to "
            "see which."
        )
    created = _publish_pairs(row, fresh)
    _publish_annotators(row, dataset)
    labels_created = _publish_labels(row)
    # also those that another import published while this one was staging
    counts.duplicates = counts.read - counts.refused - created
    work.finish(row, created=created, labels_created=labels_created, **asdict(counts))
    logger.info("import published import=%s dataset=%s created=%d", row.pk, dataset.slug, created)


def _publish_pairs(row: Import, fresh: "models.QuerySet[StagedPair]") -> int:
    constants = {"dataset": _number(row.dataset_id), "verdict": _text(""), "created_at": _now()}
    rows = fresh.annotate(**{f"new_{name}": value for name, value in constants.items()}).order_by(
        "pk"
    )
    chosen = rows.values_list(
        *CONTENT_FIELDS, "imported_in", *(f"new_{name}" for name in constants)
    )
    return insert_from_select(PreferencePair, [*CONTENT_FIELDS, "imported_in", *constants], chosen)


def _publish_annotators(row: Import, dataset: Dataset) -> None:
    there = Annotator.objects.filter(
        dataset=dataset, name=OuterRef("annotator_name"), kind=OuterRef("annotator_kind")
    )
    rows = StagedLabel.objects.filter(~Exists(there), pair__imported_in=row).annotate(
        new_dataset=_number(dataset.pk)
    )
    chosen = (
        rows.order_by("annotator_name")
        .values_list("annotator_name", "annotator_kind", "new_dataset")
        .distinct()
    )
    insert_from_select(Annotator, ["name", "kind", "dataset"], chosen)


def _publish_labels(row: Import) -> int:
    """Labels of the pairs that this import staged, unless their annotator has spoken of the pair
    before. A pair that another import published meanwhile may stand the other way round."""
    into = row.dataset_id
    published = PreferencePair.objects.filter(dataset=into, digest=OuterRef("pair__digest"))
    annotator = Annotator.objects.filter(
        dataset=into, name=OuterRef("annotator_name"), kind=OuterRef("annotator_kind")
    )
    said = Label.objects.filter(pair=OuterRef("new_pair"), annotator=OuterRef("new_annotator"))
    rows = StagedLabel.objects.filter(pair__imported_in=row).annotate(
        new_pair=Subquery(published.values("pk")[:1]),
        new_annotator=Subquery(annotator.values("pk")[:1]),
        said_here=Case(
            When(Exists(published.filter(response_a=OuterRef("pair__response_a"))), "preference"),
            When(preference="a", then=Value("b")),
            When(preference="b", then=Value("a")),
            default="preference",
        ),
        new_import=_number(row.pk),
        no_aspects=Value({}, output_field=models.JSONField()),
        now=_now(),
    )
    chosen = (
        rows.filter(~Exists(said))
        .order_by("pk")
        .values_list(
            "new_pair", "new_annotator", "said_here", "meta", "new_import", "no_aspects", "now"
        )
    )
    columns = ["pair", "annotator", "preference", "meta", "imported_in", "aspects", "created_at"]
    return insert_from_select(Label, columns, chosen)


def _number(value: int) -> Value:
    return Value(value, output_field=models.BigIntegerField())


def _text(value: str) -> Value:
    return Value(value, output_field=models.CharField())


def _now() -> Value:
    return Value(timezone.now(), output_field=models.DateTimeField())


def first_refused(row: Import, count: int = 5) -> list[dict[str, str]]:
    """The first rows of the import's report: line, id, reason, text."""
    if not row.report:
        return []
    with row.report.open("rb") as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        return list(islice(csv.DictReader(text), count))


class Report:
    """The refused rows as a table: line, id, reason and the beginning of the text."""

    def __init__(self, file: IO[str]) -> None:
        self._table = TableWriter(file, ("line", "id", "reason", "text"))
        self.first_reason = ""

    def add(self, line: int, source_id: str, reason: str, excerpt: str = "") -> None:
        self._table.write(line, source_id, reason, excerpt)
        self.first_reason = self.first_reason or f"Line {line}: {reason}."


@contextmanager
def _report(row: Import, counts: Counts) -> Iterator[Report]:
    """A report to write to; it is kept with the import however the reading ends, if it says
    anything."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="", errors="replace") as file:
        try:
            yield Report(file)
        finally:
            if counts.refused:
                file.flush()
                _keep_report(row, file, counts)


def _keep_report(row: Import, file: IO[str], counts: Counts) -> None:
    work.renew(row, **asdict(counts))  # who has lost the lease leaves no file behind
    storage = row.report.storage
    if row.report.name:
        storage.delete(row.report.name)
    file.seek(0)
    name = storage.save(f"reports/import-{row.pk}-refused.csv", File(file.buffer))  # type: ignore[attr-defined]  # a text file has one
    work.renew(row, report=name)
