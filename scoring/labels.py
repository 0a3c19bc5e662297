"""Which pairs are learnt from, and what is said of them: labels as imported, as they hold now, or
as a snapshot froze them, and what a run measured of these labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from django.db.models import Avg, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from annotations.decisions import resulting_preference
from annotations.models import (
    Annotator,
    Dataset,
    Decision,
    Label,
    PairStanding,
    Preference,
    PreferencePair,
    Snapshot,
    SnapshotPair,
)
from annotations.models.words import TRAINED_ON
from curator.lib import digests
from curator.lib.refusals import Refusal
from scoring.core import strength
from scoring.core.targets import Measured
from scoring.models import PairScore, ScoringRun
from scoring.shards import NotEnoughPairs

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Keep = Callable[[str], bool]

PAGE = 2000
DIRECTIONS = {Preference.A: 1.0, Preference.B: -1.0, Preference.TIE: 0.0}


class Labels(Enum):
    """Whose word is learnt from, where it is not a snapshot's."""

    SOURCE = "as imported"
    NOW = "as they hold now"


@dataclass(frozen=True)
class Until:
    """What a dataset held at a moment: what was decided or imported later does not count."""

    last_decision: int
    last_pair: int

    @classmethod
    def now(cls, *datasets: Dataset) -> "Until":
        pairs = PreferencePair.objects.filter(dataset__in=datasets).order_by("-pk")
        decided = Decision.objects.filter(pair__dataset__in=datasets).order_by("-pk")
        return cls(
            last_decision=decided.values_list("pk", flat=True).first() or 0,
            last_pair=pairs.values_list("pk", flat=True).first() or 0,
        )


@dataclass(frozen=True)
class Labelled:
    """The n pairs to learn from, without their texts."""

    ids: list[int]
    digests: list[str]
    groups: list[str]
    labels: Floats  # (n,): +1 where A is preferred, -1 where B is, 0 for a tie
    slices: list[str]
    in_order: Booleans  # (n,): whether A is the first response by digest
    # (n,): that the label is right, where a decision has softened it; NaN elsewhere
    probabilities: Doubles
    sources: Floats  # (n,): as imported, 0 also where nothing was said

    @property
    def data_digest(self) -> str:
        """Names exactly which labels were learnt from."""
        first_by_digest = np.where(self.in_order, self.labels, -self.labels) + 0.0
        named = zip(self.digests, first_by_digest, self.probabilities, strict=True)
        return digests.of_lines(
            sorted(
                f"{digest} {label:+.0f}" + (f" {probability:g}" if probability >= 0 else "")
                for digest, label, probability in named
            )
        )


def labelled_pairs(
    dataset: Dataset,
    *,
    labels: Labels | Snapshot = Labels.NOW,
    keep: Keep | None = None,
    keeps_ties: bool = False,
    until: Until | None = None,
) -> Labelled:
    """The pairs of which one response is preferred, and the ties where they are kept, by prompt
    group. `keep` says of a prompt group whether its pairs are wanted; with `until`, these are the
    pairs and labels of then. Raises NotEnoughPairs."""
    wanted = {Preference.A, Preference.B} | ({Preference.TIE} if keeps_ties else set())
    ids, own, groups, slices = [], [], [], []
    found, probabilities, sources, in_order = [], [], [], []
    for row in _rows(dataset, labels, until):
        if row.preference not in wanted or (keep is not None and not keep(row.group)):
            continue
        ids.append(row.pk)
        own.append(row.digest)
        groups.append(row.group)
        in_order.append(row.is_in_order)
        found.append(DIRECTIONS[Preference(row.preference)])
        sources.append(_direction(row.source_preference))
        probabilities.append(np.nan if row.probability is None else row.probability)
        slices.append(slice_of(row.meta, row.imported_in))
    if len(set(found) - {0.0}) < 2:
        raise NotEnoughPairs(
            "There is nothing to learn: all labels prefer the same side, or none prefers one."
        )
    return Labelled(
        ids=ids,
        digests=own,
        groups=groups,
        labels=np.array(found, dtype=np.float32),
        slices=slices,
        in_order=np.array(in_order, dtype=np.bool_),
        probabilities=np.array(probabilities, dtype=np.float64),
        sources=np.array(sources, dtype=np.float32),
    )


def slice_of(meta: dict[str, Any], imported_in: int) -> str:
    """The part of the dataset that a pair belongs to: what its source calls it, else the import
    that brought it."""
    return str(meta.get("subset") or meta.get("source") or f"import {imported_in}")


def measured(run: ScoringRun, labelled: Labelled) -> Measured:
    """What the run found of these labels.

    A run speaks of the labels as they were imported, and a label may have been turned since: its
    strength and probability are turned with it, and no flag speaks of it any more. Percentiles are
    among these labels.
    """
    count = len(labelled.ids)
    place = {pk: i for i, pk in enumerate(labelled.ids)}
    strengths, probabilities = np.full(count, np.nan), np.full(count, np.nan)
    flags = np.full(count, "", dtype="<U9")
    rows: Any = PairScore.objects.filter(run=run).values_list(
        "pair_id", "strength", "label_probability", "flag"
    )
    given: set[str] = set()
    for pk, of_source, probability, flag in rows.iterator(PAGE):
        given.add(flag)
        i = place.get(pk)
        if i is None or labelled.labels[i] == 0:
            continue
        # towards A where the source prefers neither
        turn = labelled.labels[i] * (labelled.sources[i] or 1.0)
        if of_source is not None:
            strengths[i] = turn * of_source
        if probability is not None:
            probabilities[i] = probability if turn > 0 else 1.0 - probability
        if turn > 0:
            flags[i] = flag
    return measured_of(
        strengths,
        flags,
        probabilities=probabilities if np.isfinite(probabilities).any() else None,
        given=frozenset(given - {""}),
    )


def measured_of(
    strengths: Doubles,
    flags: npt.NDArray[np.str_],
    *,
    probabilities: Doubles | None,
    given: frozenset[str] | None = None,
) -> Measured:
    """Strengths, flags and probabilities (n,) of labels, with the place of each strength among
    those that are known; `given` are the flags of the whole run, of which these may be a part."""
    percentiles = np.full(len(strengths), np.nan)
    known = np.isfinite(strengths)
    percentiles[known] = strength.percentile(strengths[known])
    return Measured(strengths, percentiles, flags, probabilities, given)


def grades(
    labelled: Labelled,
    dataset: Dataset,
    *,
    labels: Labels | Snapshot,
    until: datetime | None = None,
) -> Doubles:
    """How strongly people prefer what the label prefers, (n,): the mean of those who said so, from
    1 slightly to 3 much; NaN where nobody did. Of labels as they hold now, those of then where
    `until` says when."""
    found = np.full(len(labelled.ids), np.nan)
    place = {pk: i for i, pk in enumerate(labelled.ids)}
    said = graded(dataset, labels=labels, until=until)
    means: Any = said.order_by().values_list("pair_id", "preference").annotate(Avg("strength"))
    for pk, preference, mean in means.iterator(PAGE):
        i = place.get(pk)
        if i is not None and labelled.labels[i] == DIRECTIONS[preference]:
            found[i] = mean
    return found


def graded(
    dataset: Dataset, *, labels: Labels | Snapshot = Labels.NOW, until: datetime | None = None
) -> "QuerySet[Label]":
    """What people have said with a strength, as it held then."""
    held = Q(successor__isnull=True)
    if isinstance(labels, Snapshot):
        last = labels.last_label
        held = Q(pk__lte=last) & (held | Q(successor__pk__gt=last))
    elif until is not None:
        # a file says of its labels when they were given, and may have been imported since
        was_there = Q(imported_in__isnull=True) | Q(imported_in__finished_at__lte=until)
        held = was_there & Q(created_at__lte=until) & (held | Q(successor__created_at__gt=until))
    return Label.objects.filter(
        held,
        occasion="",
        pair__dataset=dataset,
        annotator__kind=Annotator.Kind.HUMAN,
        strength__isnull=False,
        preference__in=(Preference.A, Preference.B),
    )


def trusted(labelled: Labelled, dataset: Dataset) -> Floats:
    """Labels that a person has decided on or that are known as gold, (n,): +1 where A is truly
    better, -1 where B is, 0 where nobody knows."""
    found = np.zeros(len(labelled.ids), dtype=np.float32)
    place = {pk: i for i, pk in enumerate(labelled.ids)}
    by_people = dataset.standings.filter(decided_by=PairStanding.DecidedBy.PERSON)
    decided: Any = by_people.values_list("pk", "source_preference", "verdict")
    for pk, source, verdict in decided.iterator(PAGE):
        if pk in place:
            found[place[pk]] = _direction(resulting_preference(source, verdict))
    gold: Any = dataset.gold_pairs.filter(retired_at__isnull=True, preference__in=TRAINED_ON)
    for pk, preference in gold.values_list("pair_id", "preference").iterator(PAGE):
        if pk in place:
            found[place[pk]] = _direction(preference)
    return found


class _Row(NamedTuple):
    """A pair that may be learnt from; `probability` is of its source's label."""

    pk: int
    digest: str
    group: str
    is_in_order: bool
    source_preference: str
    meta: dict[str, Any]
    imported_in: int
    preference: str
    probability: float | None


COLUMNS = ("pk", "digest", "group", "is_in_order", "source_preference", "meta", "imported_in_id")


def _rows(dataset: Dataset, labels: Labels | Snapshot, until: Until | None) -> Iterator[_Row]:
    """By prompt group, so that the answers to a prompt lie together."""
    if isinstance(labels, Snapshot):
        yield from _frozen(dataset, labels)
        return
    pairs = dataset.pairs.order_by("group", "pk")
    if until is not None:
        pairs = pairs.filter(pk__lte=until.last_pair)
    if labels is Labels.SOURCE:
        rows: Any = pairs.exclude(source_preference="").values_list(*COLUMNS)
        for row in rows.iterator(PAGE):
            yield _Row._make((*row, row[4], None))
        return
    if until is None:
        standing = ("standing__verdict", "standing__decision__label_probability")
        held = pairs.filter(Q(source_preference__gt="") | Q(standing__verdict__gt=""))
    else:
        standing = ("verdict_then", "probability_then")
        then = Decision.objects.filter(pair=OuterRef("pk"), pk__lte=until.last_decision)
        last = then.filter(Q(successor__isnull=True) | Q(successor__pk__gt=until.last_decision))
        held = pairs.annotate(
            verdict_then=Coalesce(Subquery(last.values("verdict")[:1]), Value("")),
            probability_then=Subquery(last.values("label_probability")[:1]),
        ).filter(Q(source_preference__gt="") | Q(verdict_then__gt=""))
    rows = held.values_list(*COLUMNS, *standing)
    for *row, verdict, probability in rows.iterator(PAGE):
        yield _Row._make((*row, resulting_preference(row[4], verdict), probability))


def _frozen(dataset: Dataset, snapshot: Snapshot) -> Iterator[_Row]:
    if snapshot.dataset_id != dataset.pk:
        raise Refusal(
            f"Snapshot {snapshot.number} is of another dataset than {dataset.slug}: choose one of "
            f"its own."
        )
    rows: Any = SnapshotPair.objects.filter(snapshot=snapshot).exclude(preference="")
    ordered = rows.order_by("pair__group", "pair_id")
    columns = (f"pair__{name}" for name in COLUMNS)
    frozen = ("preference", "decision__label_probability")
    for row in ordered.values_list(*columns, *frozen).iterator(PAGE):
        yield _Row._make(row)


def _direction(preference: str) -> float:
    """Towards A, towards B, or 0 where neither is preferred or nothing is said."""
    return DIRECTIONS[Preference(preference)] if preference else 0.0
