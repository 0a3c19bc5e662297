"""The labels of a dataset as arrays: what annotators answered, and how each answer came about.

Only judgements that hold now are read: neither what was superseded or withdrawn, nor practice, nor
what was skipped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.core.cache import cache
from django.db.models import Case, Exists, IntegerField, OuterRef, QuerySet, TextField, When
from django.db.models import Value as Constant
from django.db.models.functions import Cast, Coalesce, Length

from annotations.judgements import Judgements, Value
from annotations.models import Annotator, Dataset, Label, Lease, Occasion, PreferencePair
from curator.lib.batches import batches

Floats = npt.NDArray[np.float64]
Int8s = npt.NDArray[np.int8]
Int64s = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Pairs = QuerySet[PreferencePair]

PEOPLE = (Annotator.Kind.HUMAN,)
WITH_AI = (Annotator.Kind.HUMAN, Annotator.Kind.AI)
EVERYBODY = tuple(Annotator.Kind)

VALUES = {"a": Value.A, "b": Value.B, "tie": Value.TIE, "both_bad": Value.BOTH_BAD}
SIDES = {"a": Value.A, "b": Value.B}
UNKNOWN = -1
CHUNK = 20_000
LONGER = 1.1  # times as long as the other: what counts as the longer response
DAY = 24 * 3600


@dataclass(frozen=True)
class Voter:
    """An annotator, as the figures know them."""

    pk: int
    name: str
    kind: str
    user_id: int | None
    full_name: str = ""  # of the login, where there is one that has it

    @property
    def shown_name(self) -> str:
        return self.full_name or self.name

    @property
    def is_person(self) -> bool:
        return self.kind == Annotator.Kind.HUMAN

    @property
    def kind_name(self) -> str:
        return str(Annotator.Kind(self.kind).label)


@dataclass(frozen=True, eq=False)
class Answers:
    """N judgements of U pairs by V voters, oldest first, and how each came about."""

    pair_ids: Int64s  # (U,) ascending: the units of the judgements
    voters: tuple[Voter, ...]  # (V,)
    judgements: Judgements
    label_ids: Int64s  # (N,) ascending
    shown_first: Int8s  # (N,): Value.A, Value.B, or UNKNOWN
    seconds: Floats  # (N,): NaN where nobody measured

    def __len__(self) -> int:
        return len(self.judgements)

    @property
    def prefers_first(self) -> Booleans:
        """Whether the response that was shown first is preferred, (N,)."""
        return np.asarray(self.judgements.values == self.shown_first)

    @property
    def takes_a_side(self) -> Booleans:
        """Whether one response is preferred, (N,)."""
        return np.asarray(self.judgements.values <= Value.B)


def load(
    dataset: Dataset,
    *,
    pairs: Pairs | None = None,
    kinds: Sequence[str] = PEOPLE,
    by: Annotator | None = None,
) -> Answers:
    """The judgements that hold now, by annotators of these kinds or by one of them alone, of these
    pairs or of all."""
    labels = Label.objects.judgements().filter(
        annotator__dataset=dataset, annotator__kind__in=kinds
    )
    if by is not None:
        labels = labels.filter(annotator=by)
    if pairs is not None:
        labels = labels.filter(pair__in=pairs.order_by().values("pk"))
    rows = _columns(
        labels.order_by("pk").values_list(
            "pk",
            "pair_id",
            "annotator_id",
            _coded("preference", VALUES),
            Coalesce("strength", 0),
            _coded("shown_first", SIDES),
            Coalesce("seconds", -1.0),
        )
    )
    voters = _voters(dataset, kinds)
    pair_ids, units = np.unique(rows[:, 1].astype(np.int64), return_inverse=True)
    seconds = rows[:, 6]
    return Answers(
        pair_ids=pair_ids,
        voters=voters,
        judgements=Judgements.of(
            units,
            np.searchsorted([voter.pk for voter in voters], rows[:, 2]),
            rows[:, 3],
            rows[:, 4],
            unit_count=len(pair_ids),
            voter_count=len(voters),
        ),
        label_ids=rows[:, 0].astype(np.int64),
        shown_first=rows[:, 5].astype(np.int8),
        seconds=np.where(seconds < 0, np.nan, seconds),
    )


def among(given: Answers, pair_ids: Iterable[int]) -> Answers:
    """The answers of these pairs alone."""
    wanted = np.isin(given.pair_ids, np.fromiter(pair_ids, dtype=np.int64))
    kept = wanted[given.judgements.units]
    number = np.cumsum(wanted) - 1  # of a pair among those that are wanted
    return Answers(
        pair_ids=given.pair_ids[wanted],
        voters=given.voters,
        judgements=Judgements.of(
            number[given.judgements.units[kept]],
            given.judgements.voters[kept],
            given.judgements.values[kept],
            given.judgements.strengths[kept],
            unit_count=int(wanted.sum()),
            voter_count=len(given.voters),
        ),
        label_ids=given.label_ids[kept],
        shown_first=given.shown_first[kept],
        seconds=given.seconds[kept],
    )


def gold_of(dataset: Dataset, given: Answers) -> Int8s:
    """What is known to be right of each judgement's pair, (N,), where it was asked for as a gold
    pair; UNKNOWN of most.

    A label that was there before, or came in a file, may be what the gold answer was made from, and
    would only agree with itself.
    """
    asked = Lease.objects.filter(
        is_gold=True,
        label__isnull=False,
        pair__gold__dataset=dataset,
        pair__gold__is_practice=False,
        pair__gold__retired_at=None,
    )
    codes = np.full(len(given), UNKNOWN, dtype=np.int8)
    for label_id, preference in asked.values_list("label_id", "pair__gold__preference"):
        place = np.searchsorted(given.label_ids, label_id)
        if place < len(codes) and given.label_ids[place] == label_id:
            codes[place] = VALUES[preference]
    return codes


def repeats_of(dataset: Dataset, given: Answers) -> Int8s:
    """What the same voter says of the same pair with sides swapped, (N,); UNKNOWN where they were
    not asked again."""
    again = Label.objects.filter(
        annotator__dataset=dataset, occasion=Occasion.REPEAT, successor__isnull=True
    )
    said = {
        (pair, annotator): VALUES[preference]
        for pair, annotator, preference in again.order_by().values_list(
            "pair_id", "annotator_id", "preference"
        )
        if preference in VALUES
    }
    codes = np.full(len(given), UNKNOWN, dtype=np.int8)
    if not said:
        return codes
    index = {voter.pk: place for place, voter in enumerate(given.voters)}
    cells = given.judgements.units.astype(np.int64) * len(given.voters)
    cells += given.judgements.voters
    order = np.argsort(cells)
    for (pair_id, annotator_id), value in said.items():
        unit = int(np.searchsorted(given.pair_ids, pair_id))
        if annotator_id not in index or unit == len(given.pair_ids):
            continue
        cell = unit * len(given.voters) + index[annotator_id]
        place = np.searchsorted(cells, cell, sorter=order)
        is_here = given.pair_ids[unit] == pair_id and place < len(order)
        if is_here and cells[order[place]] == cell:
            codes[order[place]] = value
    return codes


def longer_of(dataset: Dataset, given: Answers) -> Int8s:
    """Which response of each judgement's pair is longer, (N,): Value.A or Value.B, UNKNOWN where
    they are about as long.

    The length is that of the stored text with its markup, which the database itself counts: reading
    all texts to count them would take longer than everything else here.
    """
    key = f"longer-{dataset.pk}-{dataset.created_at.timestamp()}"
    ids, codes = cache.get(key, (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int8)))
    missing = np.setdiff1d(given.pair_ids, ids, assume_unique=True)
    if len(missing):
        ids, codes = _with_longer(dataset, missing, ids, codes)
        cache.set(key, (ids, codes), timeout=DAY)
    return np.asarray(codes[np.searchsorted(ids, given.pair_ids)][given.judgements.units])


def _with_longer(
    dataset: Dataset, missing: Int64s, ids: Int64s, codes: Int8s
) -> tuple[Int64s, Int8s]:
    """Pairs' ids, ascending, and which response of each is longer; those that were missing too."""
    labelled = Label.objects.filter(pair=OuterRef("pk"))
    pairs = dataset.pairs.filter(Exists(labelled), pk__gte=missing[0], pk__lte=missing[-1])
    lengths = [Length(Cast(f"response_{side}", TextField())) for side in "ab"]
    rows = np.array(list(pairs.order_by().values_list("pk", *lengths)), dtype=np.int64)
    new, a, b = rows.T
    found = np.where(a >= LONGER * b, Value.A, np.where(b >= LONGER * a, Value.B, UNKNOWN))
    every, first = np.unique(np.concatenate([ids, new]), return_index=True)
    return every, np.concatenate([codes, found.astype(np.int8)])[first]


def _columns(rows: Any) -> Floats:
    """Rows of numbers as an array, some at a time, so that they never stand in memory twice."""
    read = batches(rows.iterator(chunk_size=CHUNK), CHUNK)
    return np.concatenate([np.zeros((0, 7)), *(np.array(some, dtype=np.float64) for some in read)])


def _coded(column: str, codes: dict[str, Value]) -> Case:
    """The column's words as numbers, which the database makes faster than we do."""
    cases = (When(**{column: word}, then=Constant(int(code))) for word, code in codes.items())
    return Case(*cases, default=Constant(UNKNOWN), output_field=IntegerField())


def _voters(dataset: Dataset, kinds: Sequence[str]) -> tuple[Voter, ...]:
    rows = dataset.annotators.filter(kind__in=kinds).order_by("pk")
    columns = ("pk", "name", "kind", "user_id", "user__first_name", "user__last_name")
    return tuple(
        Voter(pk, name, kind, user_id, f"{first or ''} {last or ''}".strip())
        for pk, name, kind, user_id, first, last in rows.values_list(*columns)
    )
