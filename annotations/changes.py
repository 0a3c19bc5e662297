"""What changed in a dataset between two moments: from one snapshot to a later one, or to now.

Pairs never leave a dataset and never lose their last decision, so every verdict that changed was
given by a decision that the older snapshot does not know of: those are read, not all pairs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from django.db import connection
from django.db.models import Case, Count, F, FloatField, QuerySet, When

from annotations.models import (
    Dataset,
    Decision,
    DecisionBatch,
    PreferencePair,
    Snapshot,
    SnapshotPair,
    Verdict,
)
from annotations.models.words import TRAINED_ON
from annotations.querysets import preference_that_holds
from curator.lib.kept import kept
from curator.lib.refusals import Refusal

PAGE_SIZE = 50
MOST_REASONS = 10
COLUMNS = "(pair_id, verdict, preference, decision_id, strength, flag)"

DECIDED = """
FROM annotations_decision AS new_decision
JOIN newer ON newer.pair_id = new_decision.pair_id AND newer.decision_id = new_decision.id
JOIN older ON older.pair_id = newer.pair_id
LEFT JOIN annotations_decision AS old_decision ON old_decision.id = older.decision_id
WHERE new_decision.id > %s
"""
ALL = """
FROM newer
JOIN older ON older.pair_id = newer.pair_id
LEFT JOIN annotations_decision AS new_decision ON new_decision.id = newer.decision_id
LEFT JOIN annotations_decision AS old_decision ON old_decision.id = older.decision_id
WHERE newer.pair_id > %s
"""
CAME = """
FROM newer
LEFT JOIN older ON older.pair_id = newer.pair_id
LEFT JOIN annotations_decision AS new_decision ON new_decision.id = newer.decision_id
LEFT JOIN annotations_decision AS old_decision ON old_decision.id = older.decision_id
WHERE newer.pair_id > %s AND older.pair_id IS NULL
"""
OTHERWISE = """(older.verdict <> newer.verdict
 OR old_decision.label_probability IS DISTINCT FROM new_decision.label_probability)"""
KINDS: Mapping[str, tuple[str, str]] = {
    "verdict": (DECIDED, f"AND {OTHERWISE}"),
    "label": (DECIDED, "AND older.preference <> newer.preference"),
    "again": (DECIDED, f"AND NOT {OTHERWISE}"),
    "flag": (ALL, "AND older.flag <> newer.flag"),
    "came": (CAME, ""),
}


class NotToCompare(Refusal):
    """The two cannot be compared."""

    status = 422


@dataclass(frozen=True)
class Moment:
    """When a dataset is looked at: as a snapshot froze it, or, without one, now."""

    dataset: Dataset
    snapshot: Snapshot | None = None

    def __str__(self) -> str:
        return f"snapshot {self.snapshot.number}" if self.snapshot else "now"

    @property
    def number(self) -> int | str:
        """As addresses call it."""
        return self.snapshot.number if self.snapshot else "now"

    @cached_property
    def verdicts(self) -> Mapping[str, int]:
        """Pairs by verdict."""
        if self.snapshot is not None:
            return dict(self.snapshot.counts["verdicts"])
        return self.dataset.standings.verdict_counts()

    @cached_property
    def preferences(self) -> Mapping[str, int]:
        """Pairs by the label that holds; the empty one is none."""
        if self.snapshot is not None:
            return dict(self.snapshot.counts["preferences"])
        standing = self.dataset.standings.order_by().annotate(
            holds=preference_that_holds("verdict", "source_preference")
        )
        return dict(standing.values_list("holds").annotate(Count("pk")))

    @property
    def pairs(self) -> int:
        return sum(self.verdicts.values())

    @property
    def trained_on(self) -> int:
        """Pairs that a file for training holds."""
        return sum(self.preferences.get(side, 0) for side in TRAINED_ON)

    def rows(self) -> QuerySet[Any, Any]:
        """One row a pair, with COLUMNS; the strength speaks for A."""
        if self.snapshot is not None:
            columns = ("pair", "verdict", "preference", "decision", "strength", "flag")
            return SnapshotPair.objects.filter(snapshot=self.snapshot).values_list(*columns)
        towards_a = Case(
            When(source_preference="b", then=-F("strength")),
            default=F("strength"),
            output_field=FloatField(),
        )
        standing = self.dataset.standings.order_by().annotate(
            holds=preference_that_holds("verdict", "source_preference"), towards_a=towards_a
        )
        return standing.values_list("pair", "verdict", "holds", "decision", "towards_a", "flag")


@dataclass(frozen=True)
class Actor:
    """Who changed verdicts: a person, one by one, or by a batch. `takes_back` where they restored
    what held before."""

    name: str
    batch: DecisionBatch | None
    takes_back: bool

    @property
    def words(self) -> str:
        """How they did it."""
        if self.batch is None:
            return "took decisions back" if self.takes_back else "decided one by one"
        policy = self.batch.policy
        named = f": {policy.name} ({policy.digest[:12]})" if policy else ""
        return f"{self.batch.get_kind_display()}{named}"


@dataclass(frozen=True)
class Rows:
    """What the changes do to a file for training, in rows."""

    before: int
    after: int
    came: int  # of pairs that were not there
    gained: int  # of pairs that were there and had no place in it
    lost: int
    flipped: int


@dataclass(frozen=True)
class Changes:
    """How many pairs changed, which way, by whom and why."""

    pairs_before: int
    pairs_after: int
    verdicts: Mapping[tuple[str, str], int]  # before and after, of verdicts that differ
    labels: Mapping[tuple[str, str], int]  # before and after, of labels that differ
    softened_anew: int  # soften before and after, with another probability
    again: int  # decided again, or decided and taken back, with the same verdict
    flags: Mapping[tuple[str, str], int]  # before and after, of flags that differ
    strengths: int  # pairs whose strength differs
    actors: Sequence[tuple[Actor, int]]
    reasons: Sequence[tuple[str, int]]  # the most frequent, the empty one for none
    rows: Rows

    @property
    def came(self) -> int:
        return self.pairs_after - self.pairs_before

    @property
    def decided(self) -> int:
        """Pairs whose verdict, or its probability, differs."""
        return sum(self.verdicts.values()) + self.softened_anew

    @property
    def relabelled(self) -> int:
        return sum(self.labels.values())

    @property
    def flagged(self) -> int:
        return sum(self.flags.values())

    @property
    def is_nothing(self) -> bool:
        counts = (self.came, self.decided, self.again, self.flagged, self.strengths)
        return not any(counts)

    def of_kind(self, kind: str) -> int:
        """How many pairs the list of this kind holds."""
        return {
            "verdict": self.decided,
            "label": self.relabelled,
            "again": self.again,
            "flag": self.flagged,
            "came": self.came,
        }[kind]


@dataclass(frozen=True)
class State:
    """Where one pair stood at one of the moments."""

    verdict: str
    preference: str
    label_probability: float | None
    # towards the label that came with the pair; towards A where none did
    strength: float | None
    flag: str

    @property
    def verdict_name(self) -> str:
        return str(Verdict(self.verdict).label)


@dataclass(frozen=True)
class Changed:
    """One pair that changed; `before` is None where it was not there."""

    pair: PreferencePair
    before: State | None
    after: State
    decision: Decision | None  # by which it stands as it does now


@dataclass(frozen=True)
class Page:
    """Some of the pairs that changed, by their ids."""

    rows: Sequence[Changed]
    next_cursor: int | None


def check(older: Moment, newer: Moment) -> None:
    """Raises NotToCompare where the two are not of one dataset, or in the wrong order."""
    if older.dataset != newer.dataset:
        raise NotToCompare("Only snapshots of one dataset can be compared.")
    if older.snapshot is None:
        raise NotToCompare("Compare a snapshot with a later one, or with now.")
    if newer.snapshot is not None and newer.snapshot.number <= older.snapshot.number:
        raise NotToCompare(
            f"Snapshot {newer.snapshot.number} is not later than snapshot "
            f"{older.snapshot.number}: compare them the other way round."
        )


def between(older: Moment, newer: Moment) -> Changes:
    """What changed, in counts; kept, as two snapshots always differ by the same. Raises
    NotToCompare."""
    check(older, newer)
    assert older.snapshot is not None
    name = f"changes-{older.snapshot.pk}-{older.snapshot.created_at.timestamp()}"
    if newer.snapshot is not None:
        name = f"{name}-{newer.snapshot.pk}-{newer.snapshot.created_at.timestamp()}"
    return kept(name, _state_of(newer), lambda: compute(older, newer)).found


def as_json(older: Moment, newer: Moment, found: Changes) -> dict[str, Any]:
    """The changes as commands and the REST API tell them."""

    def each_way(counts: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
        return [
            {"before": was, "after": now, "pairs": count}
            for (was, now), count in sorted(counts.items())
        ]

    return {
        "dataset": older.dataset.slug,
        "since": older.number,
        "until": newer.number,
        "pairs": {"before": found.pairs_before, "after": found.pairs_after, "came": found.came},
        "decided": found.decided,
        "decided_again": found.again,
        "verdicts": each_way(found.verdicts),
        "softened_anew": found.softened_anew,
        "labels": each_way(found.labels),
        "flags": each_way(found.flags),
        "strengths": found.strengths,
        "by": [
            {
                "actor": actor.name,
                "how": actor.words,
                "batch": actor.batch.pk if actor.batch else None,
                "verdicts": count,
            }
            for actor, count in found.actors
        ],
        "reasons": [{"reason": reason, "verdicts": count} for reason, count in found.reasons],
        "training_rows": asdict(found.rows),
    }


def compute(older: Moment, newer: Moment) -> Changes:
    """The changes, counted anew."""
    check(older, newer)
    tally = _tally(older, newer)
    flags, strengths = _scores(older, newer)
    return Changes(
        pairs_before=older.pairs,
        pairs_after=newer.pairs,
        verdicts=dict(tally.verdicts),
        labels=dict(tally.labels),
        softened_anew=tally.softened_anew,
        again=tally.again,
        flags=flags,
        strengths=strengths,
        actors=_actors(tally.actors),
        reasons=_reasons(older, newer),
        rows=_rows(older, newer, tally.labels),
    )


def page(
    older: Moment,
    newer: Moment,
    *,
    kind: str = "verdict",
    was: str | None = None,
    now: str | None = None,
    after: int = 0,
    size: int = PAGE_SIZE,
) -> Page:
    """Pairs that changed in this way, one of KINDS, with an id above `after`; where `was` and `now`
    are given, only those with these verdicts before and after."""
    check(older, newer)
    source, condition = KINDS[kind]
    wanted: list[Any] = [_last_decision(older) if source is DECIDED else after]
    if source is DECIDED:
        condition = f"{condition} AND newer.pair_id > %s"
        wanted.append(after)
    for side, verdict in (("older", was), ("newer", now)):
        if verdict is not None:
            condition = f"{condition} AND {side}.verdict = %s"
            wanted.append(verdict)
    columns = """newer.pair_id, older.pair_id, older.verdict, older.preference,
        old_decision.label_probability, older.strength, older.flag, newer.verdict, newer.preference,
        new_decision.label_probability, newer.strength, newer.flag, newer.decision_id"""
    sql = f"SELECT {columns} {source} {condition} ORDER BY newer.pair_id LIMIT %s"
    found = _ask(older, newer, sql, [*wanted, size + 1])
    return Page(_with_pairs(found[:size]), found[size - 1][0] if len(found) > size else None)


# --- Counts ---------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """What is counted of the decisions made in between."""

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    actors: Counter[tuple[str, int | None, bool]] = field(default_factory=Counter)
    softened_anew: int = 0
    again: int = 0


def _tally(older: Moment, newer: Moment) -> _Tally:
    columns = f"""older.verdict, newer.verdict, older.preference, newer.preference, {OTHERWISE},
        new_decision.actor, new_decision.batch_id, new_decision.undoes_id IS NOT NULL"""
    sql = f"SELECT {columns}, COUNT(*) {DECIDED} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
    tally = _Tally()
    for row in _ask(older, newer, sql, [_last_decision(older)]):
        was, is_now, label_was, label_is, otherwise, actor, batch, takes_back, count = row
        if label_was != label_is:
            tally.labels[label_was, label_is] += count
        if not otherwise:
            tally.again += count
            continue
        tally.actors[actor, batch, bool(takes_back)] += count
        if was != is_now:
            tally.verdicts[was, is_now] += count
        else:
            tally.softened_anew += count
    return tally


def _scores(older: Moment, newer: Moment) -> tuple[dict[tuple[str, str], int], int]:
    """Flags that differ, before and after, and how many strengths differ."""
    if older.snapshot and newer.snapshot and older.snapshot.scored_by == newer.snapshot.scored_by:
        return {}, 0  # a run that is over says nothing else later
    sql = """SELECT older.flag, newer.flag, COUNT(*),
        SUM(CASE WHEN older.strength IS DISTINCT FROM newer.strength THEN 1 ELSE 0 END)
        FROM newer JOIN older ON older.pair_id = newer.pair_id GROUP BY 1, 2"""
    found = _ask(older, newer, sql, [])
    flags = {(was, now): count for was, now, count, _ in found if was != now}
    return flags, sum(strengths for *_, strengths in found)


def _actors(found: Counter[tuple[str, int | None, bool]]) -> list[tuple[Actor, int]]:
    """The busiest first."""
    batches = DecisionBatch.objects.select_related("policy").in_bulk(
        {batch for _, batch, _ in found if batch is not None}
    )
    named = [
        (Actor(actor, batches[batch] if batch else None, takes_back and not batch), count)
        for (actor, batch, takes_back), count in found.items()
    ]
    return sorted(named, key=lambda each: (-each[1], each[0].name))


def _reasons(older: Moment, newer: Moment) -> list[tuple[str, int]]:
    sql = f"""SELECT new_decision.reason, COUNT(*) {DECIDED} AND {OTHERWISE}
        GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %s"""
    found = _ask(older, newer, sql, [_last_decision(older), MOST_REASONS])
    return [(reason, count) for reason, count in found]


def _rows(older: Moment, newer: Moment, labels: Mapping[tuple[str, str], int]) -> Rows:
    """The rows of a training file; what came is what nothing else explains."""
    crossed: Counter[tuple[bool, bool]] = Counter()
    for (was, now), count in labels.items():
        crossed[was in TRAINED_ON, now in TRAINED_ON] += count
    gained, lost = crossed[False, True], crossed[True, False]
    return Rows(
        before=older.trained_on,
        after=newer.trained_on,
        came=newer.trained_on - older.trained_on - gained + lost,
        gained=gained,
        lost=lost,
        flipped=crossed[True, True],
    )


# --- Asking the database --------------------------------------------------------------------------


def _ask(older: Moment, newer: Moment, sql: str, parameters: list[Any]) -> list[Any]:
    """The rows of a question about `older` and `newer`, which have COLUMNS."""
    then, of_then = older.rows().query.get_compiler(connection=connection).as_sql()
    now, of_now = newer.rows().query.get_compiler(connection=connection).as_sql()
    sides = f"WITH older {COLUMNS} AS ({then}), newer {COLUMNS} AS ({now})"
    with connection.cursor() as cursor:
        cursor.execute(f"{sides} {sql}", [*of_then, *of_now, *parameters])
        return list(cursor.fetchall())


def _last_decision(older: Moment) -> int:
    assert older.snapshot is not None
    return older.snapshot.last_decision


def _state_of(newer: Moment) -> str:
    """Changes whenever what holds now may; two snapshots never do."""
    if newer.snapshot is not None:
        return "frozen"
    decisions = Decision.objects.filter(pair__dataset=newer.dataset).order_by("-pk")
    runs = newer.dataset.standings.order_by("-pair").values_list("run_id", flat=True)
    parts = (decisions.values_list("pk", flat=True).first(), runs.first(), newer.pairs)
    return "/".join(map(str, parts))


def _with_pairs(found: Sequence[Any]) -> list[Changed]:
    pairs = PreferencePair.objects.in_bulk([row[0] for row in found])
    decisions = Decision.objects.select_related("batch__policy").in_bulk(
        [row[-1] for row in found if row[-1] is not None]
    )
    return [
        Changed(
            pair=pairs[row[0]],
            before=None if row[1] is None else _state(pairs[row[0]], *row[2:7]),
            after=_state(pairs[row[0]], *row[7:12]),
            decision=decisions.get(row[-1]),
        )
        for row in found
    ]


def _state(
    pair: PreferencePair,
    verdict: str,
    preference: str,
    label_probability: float | None,
    towards_a: float | None,
    flag: str,
) -> State:
    strength = towards_a
    if strength is not None and pair.source_preference == "b":
        strength = -strength
    return State(verdict, preference, label_probability, strength, flag)
