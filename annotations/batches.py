"""Decide many pairs in one transaction, and take it back as one: a verdict on all pairs of a
filter, a policy, the decisions of an old snapshot, or the undo of such a batch.

Every pair gets a decision row of its own, written inside the database. The standings concerned are
locked first, in the order of their pairs, so that what is decided one by one meanwhile comes before
or after, and nobody's decision is lost. Nothing is seen of a batch before all of it is.
"""

import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, connection, models, transaction
from django.db.models import Case, CharField, Count, F, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Cast, Coalesce, JSONObject
from django.utils import timezone

from annotations import conditions, policies, proposals, unwinding
from annotations.asking import expression
from annotations.fields import Use
from annotations.models import (
    Dataset,
    Decision,
    DecisionBatch,
    PairStanding,
    PutForward,
    Snapshot,
    SnapshotPair,
    Verdict,
)
from annotations.proposals import QUEUE, UNDECIDED, VERDICTS, Bulk, Effect
from curator.lib import work
from curator.lib.bulk import among, asked_once, insert_from_select
from curator.lib.refusals import Conflict, Refusal

CHUNK = 10_000
TELL_EVERY = 1.0  # seconds between the progress that is shown
EVIDENCE = ("flag", "strength", "spread", "votes", "label_probability", "percentile")
OPINIONS = ("people_for", "people_against", "ai_for", "ai_against")
COLUMNS = [
    *("pair", "verdict", "label_probability", "kind", "decided_by", "actor", "batch", "reason"),
    *("evidence", "supersedes", "undoes", "restores", "created_at"),
]
# a row that takes others back repeats what holds again
AS_HELD = {"kind": "held_kind", "reason": "held_reason", "evidence": "held_evidence"}
# what holds by a decision that takes others back is what it restores
STAND = """
UPDATE annotations_pairstanding AS standing
SET decision_id = made.id,
    verdict = made.verdict,
    decided_by = CASE WHEN made.verdict = '' THEN '' ELSE made.kind END,
    decided_at = CASE
        WHEN made.verdict = '' THEN NULL
        WHEN made.restores_id IS NOT NULL THEN held.created_at
        ELSE made.created_at END
FROM annotations_decision AS made
LEFT JOIN annotations_decision AS held ON held.id = made.restores_id
WHERE made.batch_id = %s AND made.pair_id BETWEEN %s AND %s
    AND standing.pair_id = made.pair_id AND standing.pair_id BETWEEN %s AND %s
"""

Ids = Sequence[int]  # in arrays of 64-bit numbers: a million take 8 MB


class ChangedSince(Conflict):
    """Something else would happen than what the curator was shown."""


@dataclass
class Tally:
    """What a batch has done."""

    counts: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)


@dataclass
class Progress:
    """How far the transaction has come, for whoever tells."""

    total: int = 0
    done: int = 0


def run(row: DecisionBatch) -> None:
    """Do what the batch says, in one transaction, and finish its row in it. Raises Refusal where
    something else would happen than was shown, or where it makes no sense any more."""
    with _told(row) as progress, transaction.atomic():
        dataset = Dataset.objects.select_for_update(no_key=True).get(pk=row.dataset_id)
        if row.goes_by_scores:
            proposals.check_scores_are_whole(dataset)
        tally = DOING[DecisionBatch.Kind(row.kind)](row, progress)
        work.finish(
            row,
            total=progress.total,
            done=progress.total,
            counts=_nonzero(tally.counts),
            passed_over=_nonzero(tally.passed_over),
        )


def _nonzero(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def in_words(row: DecisionBatch) -> str:
    """How far it has come, as honestly as the database lets us say it."""
    if row.status != work.Work.Status.RUNNING:
        return ""
    if connection.vendor == "sqlite":
        return "In one transaction: on SQLite nothing shows, and nobody else writes, until its end."
    if not row.total:
        return "Finding and locking the pairs."
    if row.done >= row.total:
        return "All pairs are gone through; the database is making sure of them."
    return f"{row.done:,} of {row.total:,} pairs; they show all at once at the end."


def as_dict(row: DecisionBatch) -> dict[str, Any]:
    """What the batch did, in plain JSON values."""
    return {
        "batch": row.pk,
        "status": row.status,
        "decided": row.decided,
        "counts": row.counts,
        "passed_over": row.passed_over,
    }


# --- In bulk and by policy ------------------------------------------------------------------------


def bulk_of(row: DecisionBatch) -> Bulk:
    """What the row of a bulk decision asks for."""
    clauses, problems = conditions.parse_clauses(row.filter, use=Use.EXPLORE)
    if problems:
        raise Refusal(f"The filter of the batch cannot be read: {' '.join(problems)}")
    return Bulk(
        clauses=tuple(clauses),
        verdict=row.verdict,
        probability=row.label_probability,
        overrules_people=row.overrules_people,
        seen=row.expected.get("last_decision"),
    )


def _decide_in_bulk(row: DecisionBatch, progress: Progress) -> Tally:
    bulk = bulk_of(row)
    rows = proposals.of_bulk(row.dataset, bulk)
    ids = _locked(proposals.acting(rows))
    now = proposals.effect_of_bulk(row.dataset, bulk)
    _check_as_shown(row, now, "filter", proposals.decided_meanwhile(row.dataset, bulk))
    reasons = [Value(row.reason)]
    evidence = _evidence({"filter": Value(conditions.in_words(bulk.clauses))})
    return _decide(row, rows, ids, now, reasons, evidence, progress)


def _apply_policy(row: DecisionBatch, progress: Progress) -> Tally:
    assert row.policy is not None
    policy = policies.parse({"name": row.policy.name, "rules": row.policy.rules})
    rows = proposals.of_policy(row.dataset, policy)
    ids = _locked(proposals.acting(rows))
    now = proposals.effect_of_policy(row.dataset, policy)
    _check_as_shown(row, now, "policy", 0)
    reasons = [Value(rule.because) for rule in policy.rules]
    named = {"policy": Value(policies.digest(policy)), "policy_name": Value(policy.name)}
    if row.dataset.calibration:
        named["calibration"] = Value(row.dataset.calibration)
    return _decide(
        row, rows, ids, now, reasons, _evidence({**named, "rule": F("rule") + 1}), progress
    )


def _decide(
    row: DecisionBatch,
    rows: proposals.Standings,
    ids: Ids,
    effect: Effect,
    reasons: Sequence[Value],
    evidence: JSONObject,
    progress: Progress,
) -> Tally:
    """Give the pairs with these ids, which are locked, what their fate says."""
    tally = Tally(passed_over=Counter(effect.passed_over))
    because = Case(
        *(When(rule=number, then=reason) for number, reason in enumerate(reasons)),
        default=Value(""),
        output_field=TextField(),
    )
    new = {"because": because, "rests_on": evidence, "nothing": _no_decision()}
    sources = {
        "pair": "pk",
        "verdict": "fate",
        "label_probability": "probability",
        "reason": "because",
        "evidence": "rests_on",
        "supersedes": "decision",
        "undoes": "nothing",
        "restores": "nothing",
    }
    for chunk in _chunks(ids, progress):
        some = rows.filter(pk__in=among(chunk))
        chosen = some.filter(fate__in=VERDICTS).annotate(**new)
        _append(row, chunk, chosen, sources, tally)
        if effect.queued:
            tally.counts[QUEUE] += _put_forward(row, some.filter(fate=QUEUE))
    return tally


def _put_forward(row: DecisionBatch, rows: proposals.Standings) -> int:
    batch = Value(row.pk, output_field=models.BigIntegerField())
    count = insert_from_select(
        PutForward, ["batch", "pair"], rows.annotate(new_batch=batch).values_list("new_batch", "pk")
    )
    PairStanding.objects.filter(pk__in=rows.values("pk")).update(put_forward_by=row)
    return count


def _evidence(more: Mapping[str, Any]) -> JSONObject:
    """The figures that a decision rests on, built by the database."""
    texts = {
        name: Cast(value, TextField()) if isinstance(value, Value) else value
        for name, value in more.items()
    }
    figures = {name: F(name) for name in EVIDENCE}
    opinions = {name: expression(name) for name in OPINIONS}
    return JSONObject(**texts, run=F("run_id"), **figures, **opinions)


def _check_as_shown(row: DecisionBatch, now: Effect, what: str, decided_meanwhile: int) -> None:
    """Raises ChangedSince where other pairs would change than the curator was shown, but for those
    that people have decided since: they are passed over, and counted."""
    if not row.expected:
        return
    shown = Effect.from_expected(row.expected)
    if now.is_but_for_people(shown, decided_meanwhile):
        return
    if shown.matched != now.matched:
        raise ChangedSince(
            f"The {what} matched {shown.matched:,} pairs when you looked and {now.matched:,} now: "
            "look again. Nothing was changed."
        )
    raise ChangedSince(
        f"The {what} would do something else now than when you looked, as scores, labels or "
        "decisions have changed: look again. Nothing was changed."
    )


# --- Back again -----------------------------------------------------------------------------------


def _undo(row: DecisionBatch, progress: Progress) -> Tally:
    """Take back what still stands of a batch: what held before it holds again."""
    assert row.undoes is not None
    decided = Decision.objects.filter(batch=row.undoes)
    ids = _locked(row.dataset.standings.filter(pk__in=decided.values("pair")))
    tally = Tally()
    new = {
        "held": _held_by("supersedes__"),
        "held_verdict": Coalesce("supersedes__verdict", Value("")),
        **_like("supersedes__"),
    }
    sources = {
        "verdict": "held_verdict",
        "label_probability": "supersedes__label_probability",
        "supersedes": "pair__standing__decision",
        "undoes": "pk",
        "restores": "held",
    }
    for chunk in _chunks(ids, progress):
        some = decided.filter(pair__gte=chunk[0], pair__lte=chunk[-1])
        back = unwinding.reached(dict(some.values_list("pk", "pair__standing__decision")))
        tally.passed_over["since"] += len(chunk) - len(back)
        # by their own ids, which no planner can take a wrong index for
        chosen = Decision.objects.filter(pk__in=among(back.values())).annotate(**new)
        _append(row, chunk, chosen, AS_HELD | sources, tally)
    _undo_what_was_put_forward(row, tally)
    return tally


def _undo_what_was_put_forward(row: DecisionBatch, tally: Tally) -> None:
    """An undo takes it back; the undo of an undo puts it forward again."""
    origin, is_back = row, False
    while origin.undoes is not None:
        origin, is_back = origin.undoes, not is_back
    there = row.dataset.standings.filter(pk__in=origin.put_forward.values("pair"))
    before = {"put_forward_by": origin if is_back else None}
    ids = _locked(there.filter(**before))
    for chunk in _chunks(ids, Progress()):
        some = PairStanding.objects.filter(pk__in=among(chunk))
        tally.counts[QUEUE] += some.update(put_forward_by=None if is_back else origin)
    tally.passed_over["since"] += there.count() - len(ids)


def _restore(row: DecisionBatch, progress: Progress) -> Tally:
    """Let hold again what held in a snapshot; pairs that came later are left, and those that people
    have decided since the curator looked."""
    assert row.snapshot is not None
    otherwise = differing(row.snapshot)
    held = _locked(row.dataset.standings.filter(pk__in=asked_once(otherwise.values("pair"))))
    locked = otherwise.filter(pair__in=among(held))
    by_people = decided_since(row.expected.get("last_decision"), "pair__standing__")
    found = array("q")
    rows = locked.exclude(by_people).order_by("pair").values_list("pair", "pk")
    for pair_and_frozen in rows.iterator(CHUNK):
        found.extend(pair_and_frozen)
    ids, frozen_ids = found[::2], found[1::2]
    since = locked.filter(by_people).count()
    _check_restore_as_shown(row, len(ids))
    pairs = row.dataset.standings.count()
    unchanged = row.snapshot.pairs_count - len(ids) - since
    later = pairs - row.snapshot.pairs_count
    tally = Tally(passed_over=Counter(now=unchanged, later=later, since=since))
    new = {"held": _held_by("decision__"), "nothing": _no_decision(), **_like("decision__")}
    sources = {
        "label_probability": "decision__label_probability",
        "supersedes": "pair__standing__decision",
        "undoes": "nothing",
        "restores": "held",
    }
    for start, chunk in zip(range(0, len(ids), CHUNK), _chunks(ids, progress), strict=True):
        frozen = among(frozen_ids[start : start + CHUNK])
        chosen = SnapshotPair.objects.filter(pk__in=frozen).annotate(**new)
        _append(row, chunk, chosen, AS_HELD | sources, tally)
    return tally


def differing(snapshot: Snapshot) -> QuerySet[SnapshotPair, SnapshotPair]:
    """The snapshot's rows of pairs that stand otherwise now."""
    now = "pair__standing__decision__label_probability"
    softened_anew = Q(verdict=Verdict.SOFTEN) & ~Q(decision__label_probability=F(now))
    rows = SnapshotPair.objects.filter(snapshot=snapshot)
    return rows.filter(~Q(verdict=F("pair__standing__verdict")) | softened_anew)


def decided_since(seen: int | None, prefix: str = "") -> Q:
    """Of standings: people have decided them, or taken decisions back, after the last decision that
    the curator saw. None: whoever asks has looked at nothing."""
    if seen is None:
        return Q(pk__in=[])
    by_people = Q(**{f"{prefix}decided_by": PairStanding.DecidedBy.PERSON})
    one_by_one = Q(**{f"{prefix}decision__batch": None})
    return Q(**{f"{prefix}decision__gt": seen}) & (by_people | one_by_one)


def _check_restore_as_shown(row: DecisionBatch, now: int) -> None:
    """What people have decided since may be fewer pairs to change, and nothing else may."""
    shown = sum(row.expected.get("counts", {}).values())
    by_people = decided_since(row.expected.get("last_decision"))
    if row.expected and not 0 <= shown - now <= row.dataset.standings.filter(by_people).count():
        raise ChangedSince(
            f"The snapshot differed in {shown:,} pairs when you looked and in {now:,} now: look "
            "again. Nothing was changed."
        )


def _held_by(prefix: str) -> Case:
    """The decision that holds by the one that the fields of this prefix are of, as
    `Decision.holding` says it."""
    takes_back = (
        Q(**{f"{prefix}undoes__isnull": False})
        | Q(**{f"{prefix}restores__isnull": False})
        | Q(**{f"{prefix}verdict": Verdict.UNDECIDED})
    )
    return Case(
        When(takes_back, then=F(f"{prefix}restores")),
        default=F(prefix.removesuffix("__")),
        output_field=models.BigIntegerField(),
    )


def _like(prefix: str) -> dict[str, Coalesce]:
    """What a decision that takes others back repeats of what holds again."""
    text, json = TextField(), models.JSONField()
    return {
        "held_kind": Coalesce(f"{prefix}kind", Value(Decision.Kind.PERSON.value)),
        "held_reason": Coalesce(f"{prefix}reason", Value(""), output_field=text),
        "held_evidence": Coalesce(
            f"{prefix}evidence", Value({}, output_field=json), output_field=json
        ),
    }


DOING: Mapping[DecisionBatch.Kind, Callable[[DecisionBatch, Progress], Tally]] = {
    DecisionBatch.Kind.BULK: _decide_in_bulk,
    DecisionBatch.Kind.POLICY: _apply_policy,
    DecisionBatch.Kind.UNDO: _undo,
    DecisionBatch.Kind.RESTORE: _restore,
}


# --- Rows -----------------------------------------------------------------------------------------


def _said(row: DecisionBatch) -> dict[str, Any]:
    """What all decisions of the batch say alike."""
    is_policy = row.kind == DecisionBatch.Kind.POLICY
    kind = Decision.Kind.POLICY if is_policy else Decision.Kind.PERSON
    actor = row.actor
    if is_policy and row.policy is not None:
        actor = f"{row.policy.name}, applied by {row.actor}"
    text = CharField()
    return {
        "kind": Value(kind.value, output_field=text),
        "decided_by": Value(row.created_by_id, output_field=models.BigIntegerField()),
        "actor": Value(actor[:150], output_field=text),
        "batch": Value(row.pk, output_field=models.BigIntegerField()),
        "created_at": Value(timezone.now(), output_field=models.DateTimeField()),
    }


def _no_decision() -> Value:
    return Value(None, output_field=models.BigIntegerField())


def _append(
    row: DecisionBatch,
    chunk: Ids,
    chosen: QuerySet[Any, Any],
    sources: Mapping[str, str],
    tally: Tally,
) -> None:
    """Append a decision for each of the rows, whose columns are named by `sources` where they are
    not called as the decision's, and let the standings of the chunk's pairs repeat them."""
    said = _said(row)
    sources = {name: f"new_{name}" for name in said} | dict(sources)
    new = {f"new_{name}": value for name, value in said.items()}
    columns = [sources.get(name, name) for name in COLUMNS]
    if not insert_from_select(Decision, COLUMNS, chosen.annotate(**new).values_list(*columns)):
        return
    within = (chunk[0], chunk[-1])
    made = Decision.objects.filter(batch=row, pair__gte=within[0], pair__lte=within[1])
    for verdict, count in made.order_by().values_list("verdict").annotate(Count("pk")):
        tally.counts[verdict or UNDECIDED] += count
    with connection.cursor() as cursor:
        cursor.execute(STAND, [row.pk, *within, *within])


def _locked(rows: QuerySet[Any, Any]) -> Ids:
    """The ids of the rows' pairs in their order; nobody else may change their standings until the
    transaction ends."""
    held = rows.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True)
    return array("q", held.iterator(CHUNK))


def _chunks(ids: Ids, progress: Progress) -> Iterator[Ids]:
    """The ids, some at a time; the progress follows."""
    progress.total = max(progress.total, len(ids))
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        yield chunk
        progress.done += len(chunk)


@contextmanager
def _told(row: DecisionBatch) -> Iterator[Progress]:
    """Progress that a thread with a connection of its own writes on the row, as the transaction
    shows nothing before its end. On SQLite nobody else could write."""
    progress, over = Progress(), threading.Event()

    def tell() -> None:
        try:
            while not over.wait(TELL_EVERY):
                _tell(row, progress)
        finally:
            connection.close()

    if connection.vendor == "sqlite":
        yield progress
        return
    thread = threading.Thread(target=tell, name=f"progress of batch {row.pk}", daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        over.set()
        thread.join()


def _tell(row: DecisionBatch, progress: Progress) -> None:
    ours = DecisionBatch.objects.filter(pk=row.pk, fence=row.fence, status=work.Work.Status.RUNNING)
    try:
        ours.update(total=progress.total, done=progress.done, heartbeat_at=timezone.now())
    except DatabaseError:  # the next one may reach it, and the end tells all
        connection.close()
