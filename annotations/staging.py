"""Stage the rows of an import: each is a new pair, one that is there already, or refused with the
reason.

The same content in two rows is one pair, whichever way round its responses stand; the labels of
both rows are kept, unless one annotator says two things of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import transaction

from annotations import checks
from annotations.formats.parsed import (
    Message,
    ParsedLabel,
    ParsedPair,
    other_way_round,
    source_preference,
)
from annotations.formats.reading import ReadPair, Refused
from annotations.models import Import, Label, PreferencePair, StagedLabel, StagedPair
from annotations.words import words_of
from curator.lib.bulk import refresh_statistics
from curator.lib.refusals import Refusal

ORIGINS = ("source", "subset")  # of what the source says beside the pair
LONGEST_ORIGIN = 80
DISCARDED_AT_ONCE = 5_000
COLUMNS = ("pk", "digest", "source_id", "source_line", "response_a", "response_b")

Judge = tuple[str, str]  # an annotator's kind and name


@dataclass
class Counts:
    """What has become of the rows so far; the names are those of the Import row."""

    read: int = 0
    duplicates: int = 0
    refused: int = 0

    def check(self, first_reason: str) -> None:
        """Raises Refusal where the file held nothing that could be used."""
        if self.read == 0:
            raise Refusal("The file holds no rows.")
        if self.read == self.refused:
            raise Refusal(f"None of the {self.read:,} rows could be read. {first_reason}")


class Report(Protocol):
    """Where refusals are written down."""

    def add(self, line: int, source_id: str, reason: str, excerpt: str = "") -> None: ...


@dataclass
class Known:
    """A pair that the dataset or the earlier part of the file holds."""

    where: str
    is_in_order: bool
    source_id: str
    digest: str
    labels: dict[Judge, ParsedLabel] = field(default_factory=dict)
    staged: StagedPair | None = None


@dataclass
class Batch:
    """Rows that are staged together."""

    row: Import
    by_digest: dict[str, Known] = field(default_factory=dict)
    by_source_id: dict[str, Known] = field(default_factory=dict)
    new_pairs: list[StagedPair] = field(default_factory=list)
    new_labels: list[StagedLabel] = field(default_factory=list)
    changed_pairs: dict[int, StagedPair] = field(default_factory=dict)


def stage(row: Import, reads: list[ReadPair | Refused], counts: Counts, report: Report) -> None:
    """Check rows against the dataset and the file so far, and stage what is new, in one
    transaction."""
    counts.read += len(reads)
    batch = _batch_for(row, [read.pair for read in reads if isinstance(read, ReadPair)])
    for read in reads:
        refusal = read if isinstance(read, Refused) else _stage_one(batch, read, counts)
        if refusal is not None:
            counts.refused += 1
            report.add(refusal.line, refusal.source_id, refusal.reason, refusal.excerpt)
    with transaction.atomic():
        StagedPair.objects.bulk_create(batch.new_pairs)
        StagedPair.objects.bulk_update(batch.changed_pairs.values(), ["source_preference"])
        StagedLabel.objects.bulk_create(batch.new_labels)


def weight(read: ReadPair | Refused) -> int:
    """How many characters of text a row holds in memory."""
    return len(read.pair.search_text) if isinstance(read, ReadPair) else 0


def discard(row: Import) -> None:
    """Delete what was staged for the import, inside the database: the ordinary delete of pairs
    would first load them all, to look for labels. In steps, as whoever writes waits for each of
    them; what a killed worker leaves, the next discards."""
    pairs = StagedPair.objects.filter(imported_in=row)
    if not pairs.exists():
        return
    refresh_statistics(StagedPair, StagedLabel)
    ends = pairs.order_by("pk").values_list("pk", flat=True)
    while some := list(ends[:DISCARDED_AT_ONCE]):
        step = {"pk__gte": some[0], "pk__lte": some[-1]}
        gone = pairs.filter(**step)
        with transaction.atomic():
            for rows in (StagedLabel.objects.filter(pair__in=gone.values("pk")), gone):
                rows.order_by()._raw_delete(rows.db)


def _stage_one(batch: Batch, read: ReadPair, counts: Counts) -> Refused | None:
    pair = read.pair
    same = batch.by_digest.get(pair.digest)
    namesake = batch.by_source_id.get(pair.source_id) if pair.source_id else None
    if namesake is not None and namesake.digest != pair.digest:
        return Refused(
            read.line,
            f"its id is that of {namesake.where}, but its content is another",
            pair.source_id,
        )
    if same is None:
        _add_pair(batch, read)
        return None
    labels = (
        pair.labels
        if pair.is_in_order == same.is_in_order
        else [other_way_round(x) for x in pair.labels]
    )
    for label in labels:
        before = same.labels.get((label.kind, label.annotator))
        if before is not None and before.preference != label.preference:
            reason = f"{label.annotator} judges the same pair otherwise in {same.where}"
            return Refused(read.line, reason, pair.source_id)
    counts.duplicates += 1
    _add_labels(batch, same, read, labels)
    return None


def _add_pair(batch: Batch, read: ReadPair) -> None:
    staged = _staged(batch.row, read)
    batch.new_pairs.append(staged)
    pair = read.pair
    known = Known(f"line {read.line}", pair.is_in_order, pair.source_id, pair.digest, staged=staged)
    batch.by_digest[pair.digest] = known
    if pair.source_id:
        batch.by_source_id[pair.source_id] = known
    _keep_labels(batch, known, staged, pair.labels)


def _add_labels(batch: Batch, same: Known, read: ReadPair, labels: Iterable[ParsedLabel]) -> None:
    """Keep what the row adds to a pair that is there: labels by annotators who had not yet
    spoken of it."""
    new = [label for label in labels if (label.kind, label.annotator) not in same.labels]
    if not new:
        return
    if same.staged is None:
        # published: stage the pair again to carry the labels; it is not published twice
        same.staged = _staged(batch.row, read)
        same.staged.source_id = ""
        if read.pair.is_in_order != same.is_in_order:
            _exchange_responses(same.staged)  # stands as the published one does, and its labels
        batch.new_pairs.append(same.staged)
    _keep_labels(batch, same, same.staged, new)
    same.staged.source_preference = source_preference(same.labels.values())
    if same.staged.pk is not None:
        batch.changed_pairs[same.staged.pk] = same.staged


def _exchange_responses(staged: StagedPair) -> None:
    staged.response_a, staged.response_b = staged.response_b, staged.response_a


def _keep_labels(
    batch: Batch, known: Known, staged: StagedPair, labels: Iterable[ParsedLabel]
) -> None:
    for label in labels:
        known.labels[label.kind, label.annotator] = label
        batch.new_labels.append(
            StagedLabel(
                pair=staged,
                annotator_name=label.annotator,
                annotator_kind=label.kind,
                preference=label.preference,
                strength=label.strength,
                aspects=dict(label.aspects),
                rationale=label.rationale,
                meta=dict(label.meta),
            )
        )


def _staged(row: Import, read: ReadPair) -> StagedPair:
    pair = read.pair
    characters = [_characters(side) for side in (pair.prompt, pair.response_a, pair.response_b)]
    return StagedPair(
        imported_in=row,
        source_id=pair.source_id,
        source_line=read.line,
        digest=pair.digest,
        group=pair.group,
        is_in_order=pair.is_in_order,
        prompt=pair.prompt,
        response_a=pair.response_a,
        response_b=pair.response_b,
        source_preference=pair.source_preference,
        meta=dict(pair.meta),
        origin=_origin(row, pair),
        turns=len(pair.prompt),
        characters=sum(characters),
        longer_a=characters[1] - characters[2],
        checks=int(checks.of_pair(pair.prompt, pair.response_a, pair.response_b)),
        search_text=words_of(pair.search_text),
    )


def _origin(row: Import, pair: ParsedPair) -> str:
    """Where the pair's own source says that it is from; else the file that it came in."""
    said = [
        str(pair.meta[name]).strip() for name in ORIGINS if isinstance(pair.meta.get(name), str)
    ]
    return " / ".join(filter(None, said))[:LONGEST_ORIGIN] or row.file_name[:LONGEST_ORIGIN]


def _characters(messages: list[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


def _batch_for(row: Import, pairs: list[ParsedPair]) -> Batch:
    """A batch that knows what the dataset and the earlier part of the file hold of these pairs
    and their ids."""
    batch = Batch(row)
    digests = [pair.digest for pair in pairs]
    source_ids = [pair.source_id for pair in pairs if pair.source_id]
    published = PreferencePair.objects.filter(dataset_id=row.dataset_id)
    staged = StagedPair.objects.filter(imported_in=row)
    same: Any
    for rows, where in ((published, "a pair of the dataset (its line {})"), (staged, "line {}")):
        for same in rows.filter(digest__in=digests).only(*COLUMNS):
            known = _known(same, where)
            known.staged = same if isinstance(same, StagedPair) else None
            batch.by_digest[same.digest] = known
        named = rows.exclude(source_id="")  # as the index is: only pairs that have an id
        for same in named.filter(source_id__in=source_ids).only(*COLUMNS):
            batch.by_source_id[same.source_id] = _known(same, where)
    _recall_labels(batch, published, digests)
    return batch


def _known(pair: PreferencePair | StagedPair, where: str) -> Known:
    order = ParsedPair(pair.source_id, [], pair.response_a, pair.response_b, ()).is_in_order
    return Known(where.format(pair.source_line), order, pair.source_id, pair.digest)


def _recall_labels(batch: Batch, published: Any, digests: list[str]) -> None:
    """Let the batch know what was said of its pairs before."""
    said_of: Any = Label.objects.filter(
        pair__in=published.filter(digest__in=digests), successor__isnull=True, occasion=""
    ).exclude(preference="withdrawn")
    for digest, kind, name, preference in said_of.values_list(
        "pair__digest", "annotator__kind", "annotator__name", "preference"
    ):
        batch.by_digest[digest].labels[kind, name] = ParsedLabel(name, kind, preference)
    staged: Any = StagedLabel.objects.filter(pair__imported_in=batch.row, pair__digest__in=digests)
    for digest, kind, name, preference in staged.values_list(
        "pair__digest", "annotator_kind", "annotator_name", "preference"
    ):
        batch.by_digest[digest].labels[kind, name] = ParsedLabel(name, kind, preference)
