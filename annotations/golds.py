"""Pairs whose right answer is known: put to annotators unannounced as gold pairs, or before their
first work as practice with feedback."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from annotations import permissions
from annotations.formats.containers import BadRow, Row, RowReader, UnreadableFile
from annotations.formats.golds import ANSWERS, LONGEST_EXPLANATION, GivenGold, parse
from annotations.formats.parsed import RowError, check_storable
from annotations.label_files import FoundPair, Pairs, Refused
from annotations.models import Dataset, GoldPair, Occasion, PreferencePair
from curator.lib.refusals import Refusal
from curator.lib.tables import unguarded
from curator.lib.texts import storable_text
from curator.models import User

LARGEST_FILE = 64 * 1024**2  # bytes of text after unpacking
MOST_ROWS = 10_000
MOST_REPORTED = 20
PLAIN_COLUMNS = ("preference", "explanation", "is_practice")


class NotGold(Refusal):
    """It cannot be a gold pair as it was described."""

    status = 422


@dataclass
class Brought:
    """What became of a file's rows, and why the first that were refused were."""

    read: int = 0
    marked: int = 0
    unchanged: int = 0
    refused: int = 0
    reasons: list[str] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        self.refused += 1
        if len(self.reasons) < MOST_REPORTED:
            self.reasons.append(f"Line {line}: {reason}.")


@transaction.atomic
def mark(
    *,
    pair: PreferencePair,
    preference: str,
    by: User | None,
    explanation: str = "",
    is_practice: bool = False,
) -> GoldPair:
    """Hold this answer to the pair for right; what was held before is replaced. `by` is None on the
    command line of the machine."""
    if by is not None:
        permissions.check_can_curate(by, pair.dataset)
    text = storable_text(explanation).strip()
    problem = _problem(preference, text, is_practice)
    if problem:
        raise NotGold(problem)
    known = {"preference": preference, "explanation": text, "is_practice": is_practice}
    gold, _ = GoldPair.objects.update_or_create(
        pair=pair,
        defaults={**known, "retired_at": None, "changed_at": timezone.now()},
        create_defaults={**known, "dataset": pair.dataset, "created_by": by},
    )
    return gold


def retire(*, gold: GoldPair, by: User) -> None:
    """Ask nobody the pair as gold or practice any more; what was answered stays."""
    permissions.check_can_curate(by, gold.dataset)
    now = timezone.now()
    in_use = GoldPair.objects.filter(pk=gold.pk, retired_at=None)
    in_use.update(retired_at=now, changed_at=now)


def use_again(*, gold: GoldPair, by: User) -> None:
    """Ask a pair again that was retired, with the answer that it had."""
    permissions.check_can_curate(by, gold.dataset)
    retired = GoldPair.objects.filter(pk=gold.pk, retired_at__isnull=False)
    retired.update(retired_at=None, changed_at=timezone.now())


def known_of(pair: PreferencePair) -> GoldPair | None:
    """What is held for right of the pair, retired or not."""
    return GoldPair.objects.filter(pair=pair).first()


def of_dataset(dataset: Dataset) -> QuerySet[GoldPair]:
    """The dataset's gold pairs, those in use first, each with how many people answered it when it
    was put to them as gold or practice, and how many of those rightly (`asked`, `right`).

    Other labels of the pair may be what its answer was made from, so they are no test of anybody.
    """
    put = Q(pair__leases__is_gold=True) | Q(pair__leases__occasion=Occasion.PRACTICE)
    said = put & Q(pair__leases__label__preference__in=ANSWERS)
    right = said & Q(pair__leases__label__preference=F("preference"))
    rows = dataset.gold_pairs.select_related("pair").defer("pair__meta")
    counted = rows.annotate(
        asked=Count("pair__leases", filter=said), right=Count("pair__leases", filter=right)
    )
    return counted.order_by(F("retired_at").asc(nulls_first=True), "-is_practice", "pk")


@transaction.atomic
def bring_in(
    *, dataset: Dataset, file: IO[bytes], by: User | None, practice: bool = False
) -> Brought:
    """Mark the pairs that a file names, those that can be used. `practice` holds where a row does
    not say. Raises Refusal for a file that cannot be read.

    The same file brought in again changes nothing.
    """
    if by is not None:
        permissions.check_can_curate(by, dataset)
    brought = Brought()
    try:
        given = list(_given(file, brought))
    except UnreadableFile as error:
        raise Refusal(str(error)) from error
    if not brought.read:
        raise Refusal("The file holds no rows.")
    pairs = Pairs(dataset.pk, [gold.pair for _, gold in given])
    wanted = {}
    for line, gold in given:
        is_practice = practice if gold.is_practice is None else gold.is_practice
        try:
            pair = pairs.meant_by(gold.pair)
            wanted[pair.pk] = _row_of(dataset, pair, gold, by, is_practice)
        except Refused as refused:
            brought.refuse(line, str(refused))
    _keep(dataset, wanted, brought)
    return brought


def _given(file: IO[bytes], brought: Brought) -> Iterator[tuple[int, GivenGold]]:
    """The rows that can be read, with their line numbers."""
    reader = RowReader(file, cap=LARGEST_FILE)
    for read in reader.rows():
        brought.read += 1
        if brought.read > MOST_ROWS:
            raise UnreadableFile(f"The file holds more than {MOST_ROWS:,} rows: split it.")
        try:
            yield read.line, _parsed(read, is_table=reader.container.startswith("CSV"))
        except RowError as error:
            brought.refuse(read.line, str(error))


def _parsed(read: Row | BadRow, *, is_table: bool) -> GivenGold:
    if isinstance(read, BadRow):
        raise RowError(read.reason)
    check_storable(read.columns, name="row")
    if not is_table:
        return parse(read.columns)
    cells = read.columns.items()
    return parse({name: unguarded(x) if isinstance(x, str) else x for name, x in cells})


def _row_of(
    dataset: Dataset, pair: FoundPair, gold: GivenGold, by: User | None, is_practice: bool
) -> GoldPair:
    problem = _problem(gold.preference, gold.explanation, is_practice)
    if problem:
        raise Refused(problem[0].lower() + problem[1:].rstrip("."))
    return GoldPair(
        pair_id=pair.pk,
        dataset=dataset,
        preference=gold.preference_where(pair.is_in_order),
        explanation=gold.explanation,
        is_practice=is_practice,
        created_by=by,
    )


def _keep(dataset: Dataset, wanted: dict[int, GoldPair], brought: Brought) -> None:
    """Write what is new or says something else than before; a retired pair is in use again."""
    there = {gold.pair_id: gold for gold in GoldPair.objects.filter(dataset=dataset)}
    new = [gold for pair_id, gold in wanted.items() if pair_id not in there]
    changed = []
    for pair_id, gold in wanted.items():
        before = there.get(pair_id)
        if before is not None and _says(before) != _says(gold):
            before.preference, before.explanation = gold.preference, gold.explanation
            before.is_practice, before.retired_at = gold.is_practice, None
            before.changed_at = gold.changed_at
            changed.append(before)
    GoldPair.objects.bulk_create(new)
    GoldPair.objects.bulk_update(changed, [*PLAIN_COLUMNS, "retired_at", "changed_at"])
    brought.marked = len(new) + len(changed)
    brought.unchanged = brought.read - brought.refused - brought.marked


def _says(gold: GoldPair) -> tuple[Any, ...]:
    return (*(getattr(gold, name) for name in PLAIN_COLUMNS), gold.retired_at is None)


def _problem(preference: str, explanation: str, is_practice: bool) -> str:
    """Why this cannot be held for right, or nothing."""
    if preference not in ANSWERS:
        return "Say which answer is right: A, B, tie or both bad."
    if len(explanation) > LONGEST_EXPLANATION:
        return f"The explanation is longer than {LONGEST_EXPLANATION:,} characters."
    if is_practice and not explanation:
        return "A practice pair teaches: say why its answer is right."
    return ""
