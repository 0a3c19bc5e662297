"""Import a file of pairs: everything is staged and checked first, then published in one
transaction, and then counted.

A file that cannot be read, or a worker that dies before it has published, leaves nothing in the
dataset. Staging begins anew with each attempt, so that an attempt repeated is an attempt made once.
"""

import csv
import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.db import models, transaction
from django.db.models import Case, Exists, OuterRef, Q, Subquery, Value, When
from django.utils import timezone

from annotations import checking, label_files, searching, staging
from annotations.formats.labels import other_side
from annotations.formats.layouts import AUTO
from annotations.formats.reading import PairReader, UnreadableFile
from annotations.models import (
    CONTENT_FIELDS,
    TRAITS,
    Annotator,
    Dataset,
    Import,
    Label,
    PairStanding,
    PreferencePair,
    StagedLabel,
    StagedPair,
)
from annotations.staging import Counts
from curator.lib import work
from curator.lib.batches import batches
from curator.lib.bulk import insert_from_select, refresh_statistics
from curator.lib.refusals import Refusal
from curator.lib.tables import TableWriter

logger = logging.getLogger(__name__)

BATCH = 500
HEAVIEST = 16 * 1024**2  # characters of text that are staged at once


def run(row: Import) -> None:
    """Bring the import's file into its dataset: pairs, or labels of pairs that are there. Raises
    Refusal when it cannot be read or holds nothing that can be used."""
    staging.discard(row)
    counts = Counts()
    holds_labels = label_files.holds_labels(row)
    bring_in = label_files.bring_in if holds_labels else _stage_pairs
    with _report(row, counts) as report, row.file.open("rb") as file:
        try:
            bring_in(row, file, counts, report)
        except UnreadableFile as error:
            raise Refusal(str(error)) from error
        counts.check(report.first_reason)
    if holds_labels:
        label_files.finish(row, counts)
        return
    _publish(row)
    _count_voices(row)
    _check_prompts(row)
    _finish(row, counts)
    staging.discard(row)


def _stage_pairs(row: Import, file: IO[bytes], counts: Counts, report: staging.Report) -> None:
    reader = PairReader(file, layout=row.format or AUTO, cap=settings.MAX_IMPORT_BYTES)
    for rows in batches(reader.pairs(), BATCH, weight=staging.weight, heaviest=HEAVIEST):
        with transaction.atomic():  # who has lost the lease stages nothing more
            staging.stage(row, rows, counts, report)
            work.renew(
                row,
                bytes_read=reader.bytes_read,
                found_format=reader.found_format,
                **asdict(counts),
            )


@transaction.atomic
def _publish(row: Import) -> None:
    """Copy what was staged into the dataset, all or nothing. Where an earlier attempt has done so,
    nothing is left to copy."""
    dataset = Dataset.objects.select_for_update(no_key=True).get(pk=row.dataset_id)
    refresh_statistics(StagedPair, StagedLabel)
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
    _publish_pairs(row, fresh)
    _part_from_namesakes(row, dataset)
    _publish_annotators(row, dataset)
    _publish_labels(row)
    work.renew(row)  # who has lost the lease publishes nothing


def _count_voices(row: Import) -> None:
    """Let the pairs say what people and AI judges hold of them, a batch at a time: others label
    them by now, and wait for each."""
    voices = [Annotator.Kind.HUMAN, Annotator.Kind.AI]
    labelled = Label.objects.filter(imported_in=row, annotator__kind__in=voices)
    pair_ids = list(labelled.order_by("pair_id").values_list("pair_id", flat=True).distinct())
    for batch in batches(pair_ids, BATCH):
        PairStanding.objects.filter(pk__in=batch).count_voices()


def _check_prompts(row: Import) -> None:
    """Find what the new pairs contradict, and what contradicts them."""
    for _ in checking.prompts_of_import(row):
        work.renew(row)


def _finish(row: Import, counts: Counts) -> None:
    """Mark the import done, by what it has brought: an attempt repeated brings nothing more."""
    created = PreferencePair.objects.filter(imported_in=row).count()
    labels_created = Label.objects.filter(imported_in=row).count()
    # also those that another import published while this one was staging
    counts.duplicates = counts.read - counts.refused - created
    work.finish(row, created=created, labels_created=labels_created, **asdict(counts))
    logger.info("import published import=%s created=%d", row.pk, created)


def _publish_pairs(row: Import, fresh: "models.QuerySet[StagedPair]") -> int:
    constants = {"dataset": _number(row.dataset_id), "created_at": _now()}
    rows = fresh.annotate(**{f"new_{name}": value for name, value in constants.items()}).order_by(
        "pk"
    )
    columns = [*CONTENT_FIELDS, "source_preference", "imported_in"]
    chosen = rows.values_list(*columns, *(f"new_{name}" for name in constants))
    count = insert_from_select(PreferencePair, [*columns, *constants], chosen)
    _publish_standings(row)
    return count


def _publish_standings(row: Import) -> None:
    """Where the new pairs stand, and their words for the search."""
    pair = PreferencePair.objects.filter(imported_in=row, digest=OuterRef("digest"))
    staged = StagedPair.objects.filter(imported_in=row).annotate(
        new_pair=Subquery(pair.values("pk")[:1]),
        new_dataset=_number(row.dataset_id),
        undecided=_text(""),
    )
    fresh = staged.filter(new_pair__isnull=False).order_by("new_pair")
    columns = ["pair", "dataset", "verdict", "imported_in", *TRAITS]
    chosen = fresh.values_list("new_pair", "new_dataset", "undecided", "imported_in", *TRAITS)
    insert_from_select(PairStanding, columns, chosen)
    searching.add(fresh.values_list("new_pair", "search_text"))


def _part_from_namesakes(row: Import, dataset: Dataset) -> None:
    """What is said in the name of somebody who labels here is either there already, or another
    annotator's: nothing says that it is the same person."""
    staged = StagedLabel.objects.filter(pair__imported_in=row, annotator_kind=Annotator.Kind.HUMAN)
    logins = dataset.annotators.filter(user__isnull=False, kind=Annotator.Kind.HUMAN)
    for login in logins.filter(name__in=staged.values("annotator_name")):
        theirs = staged.filter(annotator_name=login.name)
        said = login.labels.filter(occasion="").values("pair__digest")
        theirs.filter(pair__digest__in=said).delete()
        alike = staged.filter(annotator_name__startswith=login.name[:100])
        names = set(alike.values_list("annotator_name", flat=True))
        theirs.update(annotator_name=label_files.stand_in_for(login, but=names).name)


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
        dataset=into,
        user=None,  # nobody who came to label here just now
        name=OuterRef("annotator_name"),
        kind=OuterRef("annotator_kind"),
    )
    said = Label.objects.filter(
        pair=OuterRef("new_pair"), annotator=OuterRef("new_annotator"), occasion=""
    )
    rows = StagedLabel.objects.filter(pair__imported_in=row).annotate(
        new_pair=Subquery(published.values("pk")[:1]),
        new_annotator=Subquery(annotator.values("pk")[:1]),
        stands_alike=Exists(published.filter(response_a=OuterRef("pair__response_a"))),
        said_here=Case(
            When(stands_alike=True, then="preference"),
            When(preference="a", then=Value("b")),
            When(preference="b", then=Value("a")),
            default="preference",
        ),
        new_import=_number(row.pk),
        no_spans=Value([], output_field=models.JSONField()),
        now=_now(),
    )
    fresh = rows.filter(~Exists(said)).order_by("pk")
    as_they_are = Q(stands_alike=True) | Q(aspects={})
    columns = ["pair", "annotator", "preference", "strength", "aspects", "rationale", "meta"]
    columns += ["imported_in", "spans", "created_at"]
    chosen = fresh.filter(as_they_are).values_list(
        *("new_pair", "new_annotator", "said_here", "strength", "aspects", "rationale", "meta"),
        *("new_import", "no_spans", "now"),
    )
    return _publish_turned(row, fresh.exclude(as_they_are)) + insert_from_select(
        Label, columns, chosen
    )


def _publish_turned(row: Import, fresh: Any) -> int:
    """Labels with aspects of pairs that stand the other way round: rare, so that they may pass
    through Python, which can turn aspects round."""
    now = timezone.now()
    names = ("new_pair", "new_annotator", "said_here", "strength", "aspects", "rationale", "meta")
    labels = [
        Label(
            pair_id=pair,
            annotator_id=annotator,
            preference=said,
            strength=strength,
            aspects={name: other_side(answer) for name, answer in aspects.items()},
            rationale=rationale,
            meta=meta,
            imported_in=row,
            created_at=now,
        )
        for pair, annotator, said, strength, aspects, rationale, meta in fresh.values_list(*names)
    ]
    return len(Label.objects.bulk_create(labels, batch_size=BATCH))


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
