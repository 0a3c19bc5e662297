"""Labels out of a dataset and into one: a file with one judgement a line, of any number of
annotators.

A row names its pair by the pair's digest or id, and says which way round the pair stood where it
was judged, so that it means the same in a dataset that holds the responses the other way round.
"""

import io
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import count, groupby, islice
from typing import IO, Any, TypeAlias

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotations.formats.containers import BadRow, Row, RowReader, UnreadableFile
from annotations.formats.labels import COLUMNS, LABELS, GivenLabel, Locator, matches, parse
from annotations.formats.layouts import AUTO
from annotations.formats.parsed import RowError, check_storable
from annotations.models import (
    Annotator,
    Dataset,
    Import,
    Label,
    Occasion,
    PairStanding,
    PreferencePair,
)
from annotations.staging import Counts, Report
from curator.lib import work
from curator.lib.batches import batches
from curator.lib.tables import TableWriter, unguarded

PAIRS = 500  # whose labels are looked for at once
PAGE = 1000  # labels that are held at once
BATCH = 500
LONGEST_NAME = 200
LOOKED_AT = 20  # rows, until one says what the file holds
LAYOUT_NAME = "labels of pairs"
TEXT_OF_STRUCTURES = ("aspects", "spans", "meta")
# what two labels have in common that say the same, in the words of the report
ANSWERED = {
    "strength": "strength",
    "aspects": "answers on aspects",
    "rationale": "rationale",
    "skip_reason": "reason for skipping it",
    "spans": "marks",
}
# and what else, where they are one and the same: the date may be that of an import
COMPARED = {
    **ANSWERED,
    "shown_first": "response shown first",
    "seconds": "time",
    "created_at": "date",
}

Chain: TypeAlias = list[Label]
Judge: TypeAlias = tuple[str, str]  # an annotator's kind and name
Place: TypeAlias = tuple[int, int, str]  # pair, annotator, occasion


# --- Out ------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """How many labels were written so far."""

    labels: int = 0


def json_lines(
    dataset: Dataset, *, with_history: bool = False, tally: Tally | None = None
) -> Iterator[bytes]:
    """The labels that hold, a page of lines at a time; with their history also those that were
    replaced or taken back, repeats and practice."""
    for page in _pages(dataset, with_history, tally):
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in page)
        yield "".join(f"{line}\n" for line in lines).encode()


def table(
    dataset: Dataset, *, with_history: bool = False, tally: Tally | None = None
) -> Iterator[bytes]:
    """The same as CSV whose cells no spreadsheet takes for formulas."""
    page_of_text = io.StringIO(newline="")
    rows = TableWriter(page_of_text, COLUMNS)
    yield page_of_text.getvalue().encode()
    for page in _pages(dataset, with_history, tally):
        page_of_text.seek(0)
        page_of_text.truncate()
        for row in page:
            rows.write(*(_cell(name, row[name]) for name in COLUMNS))
        yield page_of_text.getvalue().encode()


WRITERS = {"jsonl": json_lines, "csv": table}
CONTENT_TYPES = {"jsonl": "application/jsonl; charset=utf-8", "csv": "text/csv; charset=utf-8"}


def file_name(dataset: Dataset, layout: str, *, with_history: bool = False) -> str:
    """What the file is called when it is downloaded."""
    return f"{dataset.slug}-labels{'-with-history' if with_history else ''}.{layout}"


def _labels(dataset: Dataset, *, with_history: bool) -> Any:
    of_dataset = Label.objects.filter(pair__dataset=dataset)
    return of_dataset if with_history else of_dataset.current()


def _pages(
    dataset: Dataset, with_history: bool, tally: Tally | None
) -> Iterator[list[dict[str, Any]]]:
    """Rows of the file by pair and age, so that what supersedes follows what it supersedes."""
    columns = (
        *("pk", "pair__source_id", "pair__digest", "pair__is_in_order"),
        *("annotator__name", "annotator__kind", "preference", "strength", "aspects", "rationale"),
        *("skip_reason", "spans", "shown_first", "seconds", "occasion", "created_at"),
        *("supersedes_id", "successor", "meta"),
    )
    labels = _labels(dataset, with_history=with_history).order_by("pair_id", "pk")
    for first, last in _stretches(dataset):
        of_pairs = labels.filter(pair_id__gte=first, pair_id__lte=last).values(*columns)
        for page in batches(of_pairs.iterator(chunk_size=PAGE), PAGE):
            if tally is not None:
                tally.labels += len(page)
            yield [_row(found) for found in page]


def _stretches(dataset: Dataset) -> Iterator[tuple[int, int]]:
    """The first and the last id of so many pairs of the dataset at a time, so that no database
    sorts all labels for every page of them."""
    pair_ids, last = dataset.pairs.order_by("pk").values_list("pk", flat=True), 0
    while page := list(pair_ids.filter(pk__gt=last)[:PAIRS]):
        last = page[-1]
        yield page[0], last


def _row(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": found["pair__source_id"],
        "digest": found["pair__digest"],
        "in_order": found["pair__is_in_order"],
        "annotator": found["annotator__name"],
        "kind": found["annotator__kind"],
        "label": found["preference"],
        "strength": found["strength"],
        "aspects": found["aspects"],
        "rationale": found["rationale"],
        "skip_reason": found["skip_reason"],
        "spans": found["spans"],
        "shown_first": found["shown_first"],
        "seconds": found["seconds"],
        "occasion": found["occasion"] or "work",
        "created_at": found["created_at"].isoformat(),
        "label_id": found["pk"],
        "supersedes": found["supersedes_id"],
        "superseded": found["successor"] is not None,
        "meta": found["meta"],
    }


def _cell(name: str, value: Any) -> Any:
    """What a table can hold: structures as JSON, nothing as an empty cell."""
    if name in TEXT_OF_STRUCTURES:
        return json.dumps(value, ensure_ascii=False, allow_nan=False) if value else ""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value


# --- In -------------------------------------------------------------------------------------------


def holds_labels(row: Import) -> bool:
    """Whether the import's file is one of labels: asked for as such, or by its first rows. What
    cannot be read at all is none."""
    if row.format not in ("", AUTO):
        return row.format == LABELS
    assert row.file.name is not None
    with row.file.storage.open(row.file.name, "rb") as file:
        first = islice(RowReader(file, cap=settings.MAX_IMPORT_BYTES).rows(), LOOKED_AT)
        try:
            found = next((read for read in first if isinstance(read, Row)), None)
        except UnreadableFile:
            return False
    return found is not None and matches(found.columns)


def bring_in(row: Import, file: IO[bytes], counts: Counts, report: Report) -> None:
    """Check the whole file, then add its labels, a batch in a transaction: others label meanwhile,
    and wait no longer than for a batch. Where a worker dies in between, the next attempt finds what
    was added and adds the rest.

    A label that is there already is counted as a duplicate, one that contradicts what the same
    annotator has said of the pair is refused. Bringing the same file in again changes nothing.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as checked:
        _check(row, file, checked, counts, report)
        checked.seek(0)
        before = Label.objects.filter(imported_in=row).values_list("pk", flat=True)
        adding = Adding(row, counts, report, brought_before=set(before))
        for batch in batches((_read_back(line) for line in checked), BATCH):
            with transaction.atomic():
                # nobody else imports meanwhile
                Dataset.objects.select_for_update(no_key=True).get(pk=row.dataset_id)
                adding.add(batch)
                work.renew(row, **asdict(counts))  # who has lost the lease adds nothing more


def finish(row: Import, counts: Counts) -> None:
    added = Label.objects.filter(imported_in=row).count()
    work.finish(row, labels_created=added, **asdict(counts))


def _check(row: Import, file: IO[bytes], checked: IO[str], counts: Counts, report: Report) -> None:
    """Write down the rows that are labels, and report the others. Raises UnreadableFile."""
    reader = RowReader(file, cap=settings.MAX_IMPORT_BYTES)
    for rows in batches(reader.rows(), BATCH):
        for read in rows:
            counts.read += 1
            try:
                given = _given(read, is_table=reader.container.startswith("CSV"))
            except RowError as error:
                _refuse(counts, report, read.line, _id_of(read), str(error))
                continue
            checked.write(json.dumps([read.line, vars(given)]) + "\n")
        found = f"{LAYOUT_NAME} ({reader.container})"
        work.renew(row, bytes_read=reader.bytes_read, found_format=found, **asdict(counts))


def _given(read: Row | BadRow, *, is_table: bool) -> GivenLabel:
    if isinstance(read, BadRow):
        raise RowError(read.reason)
    check_storable(read.columns, name="row")
    columns = read.columns
    if is_table:
        columns = {
            name: unguarded(cell) if isinstance(cell, str) else cell
            for name, cell in columns.items()
        }
    return parse(columns)


def _read_back(line: str) -> tuple[int, GivenLabel]:
    number, fields = json.loads(line)
    return number, GivenLabel(**fields)


def _id_of(read: Row | BadRow) -> str:
    return "" if isinstance(read, BadRow) else str(read.columns.get("id") or "")[:200]


def _refuse(counts: Counts, report: Report, line: int, source_id: str, reason: str) -> None:
    counts.refused += 1
    report.add(line, source_id, reason)


class Refused(Exception):
    """Why a row's label cannot be added, in words for the report."""


@dataclass(frozen=True)
class FoundPair:
    """A pair that a row may mean."""

    pk: int
    source_id: str
    digest: str
    is_in_order: bool


@dataclass
class Adding:
    """Labels on their way in: what is known of pairs and annotators, and what waits to be
    written."""

    row: Import
    counts: Counts
    report: Report
    brought_before: set[int]  # by an attempt at this import that did not come to say so
    annotators: dict[Judge, Annotator] = field(default_factory=dict)
    stand_ins: dict[Judge, Annotator] = field(default_factory=dict)
    chains: dict[Place, Chain] = field(default_factory=dict)
    waiting: list[Label] = field(default_factory=list)
    counted_anew: set[int] = field(default_factory=set)  # pairs of which people say more

    def add(self, batch: list[tuple[int, GivenLabel]]) -> None:
        pairs = Pairs(self.row.dataset_id, [given for _, given in batch])
        self._meet([given for _, given in batch])
        meant: list[tuple[int, GivenLabel, FoundPair]] = []
        for line, given in batch:
            try:
                meant.append((line, given, pairs.meant_by(given)))
            except Refused as refused:
                _refuse(self.counts, self.report, line, given.source_id, str(refused))
        self._recall({pair.pk for _, _, pair in meant})
        for line, given, pair in meant:
            stands_alike = given.is_in_order in (None, pair.is_in_order)
            try:
                self._add_one(given if stands_alike else given.turned(), pair)
            except Refused as refused:
                _refuse(self.counts, self.report, line, given.source_id, str(refused))
        self._write()
        PairStanding.objects.filter(pk__in=self.counted_anew).count_voices()
        self.counted_anew = set()

    def _meet(self, batch: list[GivenLabel]) -> None:
        """Let the annotators of the batch whom the dataset has be known."""
        names = {given.annotator for given in batch}
        there = Annotator.objects.filter(dataset_id=self.row.dataset_id, name__in=names)
        self.annotators = {(found.kind, found.name): found for found in there}
        self.stand_ins = {
            judge: stand_in_for(found)
            for judge, found in self.annotators.items()
            if found.user_id is not None
        }

    def _annotator(self, given: GivenLabel) -> Annotator:
        """Who gave the label, made where they are new. Nothing says that a namesake of somebody who
        labels here is the same person."""
        judge = (given.kind, given.annotator)
        found = self.stand_ins.get(judge) or self.annotators.get(judge)
        if found is None:
            found = Annotator(dataset_id=self.row.dataset_id, kind=given.kind, name=given.annotator)
            self.annotators[judge] = found
        if found._state.adding:
            found.save()
        return found

    def _recall(self, pair_ids: set[int]) -> None:
        """What the batch's annotators have said of its pairs, the oldest first."""
        met = [*self.annotators.values(), *self.stand_ins.values()]
        known = [annotator.pk for annotator in met if not annotator._state.adding]
        labels = Label.objects.filter(pair__in=pair_ids, annotator__in=known)
        ordered = labels.order_by("pair_id", "annotator_id", "occasion", "pk")
        self.chains = {
            place: list(chain)
            for place, chain in groupby(
                ordered, key=lambda said: (said.pair_id, said.annotator_id, said.occasion)
            )
        }

    def _add_one(self, given: GivenLabel, pair: FoundPair) -> None:
        namesake = self.annotators.get((given.kind, given.annotator))
        if namesake is not None and namesake.user_id is not None:
            own = self.chains.get((pair.pk, namesake.pk, given.occasion), [])
            if self._is_there(given, own):
                return
        annotator = self._annotator(given)
        chain = self.chains.setdefault((pair.pk, annotator.pk, given.occasion), [])
        if self._is_there(given, chain):
            return
        if chain and not _follows(given, chain[-1]):
            raise Refused(_contradiction(given, chain[-1]))
        if chain and chain[-1]._state.adding:  # has no id yet to be named by
            self._write()
        label = self._label(given, pair, annotator, chain[-1] if chain else None)
        chain.append(label)
        self.waiting.append(label)
        if annotator.kind == Annotator.Kind.HUMAN:
            self.counted_anew.add(pair.pk)

    def _is_there(self, given: GivenLabel, chain: Chain) -> bool:
        """Whether the chain says it already: a duplicate, unless this import has brought it."""
        same = _said_before(given, chain)
        if same is None:
            return False
        if same.pk in self.brought_before:
            self.brought_before.discard(same.pk)
        else:
            self.counts.duplicates += 1
        return True

    def _label(
        self, given: GivenLabel, pair: FoundPair, annotator: Annotator, before: Label | None
    ) -> Label:
        moment = datetime.fromisoformat(given.created_at) if given.created_at else timezone.now()
        return Label(
            pair_id=pair.pk,
            annotator=annotator,
            occasion=Occasion(given.occasion),
            preference=given.preference,
            strength=given.strength,
            aspects=given.aspects,
            rationale=given.rationale,
            skip_reason=given.skip_reason,
            spans=given.spans,
            shown_first=given.shown_first,
            seconds=given.seconds,
            meta=given.meta,
            imported_in=self.row,
            supersedes=before,
            created_at=moment,
        )

    def _write(self) -> None:
        Label.objects.bulk_create(self.waiting)
        self.waiting = []


def stand_in_for(login: Annotator, *, but: Collection[str] = ()) -> Annotator:
    """Who is credited with what a file says in the name of somebody who labels here: another
    annotator of that name with a number, saved or not, who is nobody's login and none of `but`."""
    for number in count(2):
        ending = f" ({number})"
        name = login.name[: LONGEST_NAME - len(ending)] + ending
        if name in but:
            continue
        known = {"dataset_id": login.dataset_id, "kind": login.kind, "name": name}
        found = Annotator.objects.filter(**known).first() or Annotator(**known)
        if found.user_id is None:
            return found
    raise AssertionError("numbers do not end")


class Pairs:
    """The pairs of a dataset that some rows may mean."""

    def __init__(self, dataset_id: int, given: Iterable[Locator]) -> None:
        rows = list(given)
        digests_given = {row.digest for row in rows if row.digest}
        ids_given = {row.source_id for row in rows if row.source_id}
        there = PreferencePair.objects.filter(dataset_id=dataset_id)
        columns = ("pk", "source_id", "digest", "is_in_order")
        by_digest = there.filter(digest__in=digests_given).values_list(*columns)
        # as the index is: only pairs that have an id
        by_id = there.exclude(source_id="").filter(source_id__in=ids_given).values_list(*columns)
        found = [FoundPair(*values) for values in (*by_digest, *by_id)]
        self._by_digest = {pair.digest: pair for pair in found}
        self._by_id = {pair.source_id: pair for pair in found if pair.source_id}

    def meant_by(self, given: Locator) -> FoundPair:
        """The row's pair. Raises Refused where there is none, or where its id is another's."""
        named = self._by_id.get(given.source_id) if given.source_id else None
        if not given.digest:
            if named is None:
                raise Refused(f"there is no pair with the id {given.source_id!r} in the dataset")
            return named
        found = self._by_digest.get(given.digest)
        if found is not None:
            return found
        if named is not None:
            raise Refused("its id is that of a pair of the dataset whose content is another")
        raise Refused("its pair is not in the dataset")


def _said_before(given: GivenLabel, chain: Chain) -> Label | None:
    """The label of the chain that says what the row says, at another time perhaps; None where the
    row is a change of mind or says something else."""
    same = next((said for said in chain if difference(given, said) is None), None)
    if same is not None:
        return same
    alike = [said for said in chain if difference(given, said, of=ANSWERED) is None]
    if alike and (alike[-1] is chain[-1] or not _follows(given, chain[-1])):
        return alike[-1]
    return None


def difference(given: GivenLabel, said: Label, *, of: Mapping[str, str] = COMPARED) -> str | None:
    """In what the row is another label than the one there is, or None where they are one. What the
    row leaves out is no difference."""
    if given.preference != said.preference:
        return "answer"
    for name, words in of.items():
        value = getattr(given, name)
        if value in ("", None, {}, []):
            continue
        there = getattr(said, name)
        if name == "created_at":
            value = datetime.fromisoformat(value)
        if value != there:
            return words
    return None


def _follows(given: GivenLabel, last: Label) -> bool:
    """Whether the row says that its annotator changed their mind, after what we know of them."""
    if not given.supersedes:
        return False
    return not given.created_at or datetime.fromisoformat(given.created_at) >= last.created_at


def _contradiction(given: GivenLabel, last: Label) -> str:
    if given.preference != last.preference:
        return f"{given.annotator} has labelled the pair already, as “{last.preference}”"
    return (
        f"{given.annotator} has labelled the pair already, with another {difference(given, last)}"
    )
