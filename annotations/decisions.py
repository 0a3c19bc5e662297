"""Decide what holds of a pair's label, and take decisions back. Every step is a new row; none is
ever lost."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction

from annotations import permissions, unwinding
from annotations.models import (
    Decision,
    DecisionBatch,
    PairStanding,
    Preference,
    PreferencePair,
    Verdict,
)
from curator.lib import work
from curator.lib.refusals import Conflict, Refusal
from curator.models import User

PATIENCE = "3s"  # for who keeps a pair, as PostgreSQL spells it


class CannotDecide(Refusal):
    """The verdict makes no sense for the pair."""


@transaction.atomic
def decide(
    *,
    pair: PreferencePair,
    verdict: Verdict,
    by: User,
    based_on: int | None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> Decision:
    """The user's decision on the pair, superseding the one with the id `based_on` that they saw
    (None: there was none).

    Raises Conflict when another decision has come in between, and CannotDecide when the verdict
    makes no sense. The same decision sent twice is made once.
    """
    permissions.check_can_curate(by, pair.dataset)
    _check_makes_sense(pair, verdict)
    latest = _held(pair)
    if latest is not None and latest.pk != based_on:
        if (
            latest.supersedes_id == based_on
            and latest.decided_by_id == by.pk
            and latest.verdict == verdict
        ):
            return latest
        who = "You" if latest.decided_by_id == by.pk else latest.actor
        raise Conflict(
            f"{who} decided “{latest.get_verdict_display()}” on this pair meanwhile, so your "
            f"“{verdict.label}” was not kept: this is how the pair stands now."
        )
    decision = Decision(
        pair=pair,
        verdict=verdict,
        decided_by=by,
        actor=by.shown_name,
        reason=reason,
        evidence=dict(evidence or {}),
        supersedes=latest,
    )
    return _append(decision)


@transaction.atomic
def undo(*, decision: Decision, by: User) -> Decision:
    """Take the decision back: what held before it holds again. Raises Conflict when another has
    come since that was not taken back itself."""
    pair = decision.pair
    permissions.check_can_curate(by, pair.dataset)
    latest = _held(pair)
    if latest is not None and latest.undoes_id == decision.pk:
        return latest
    back_from = unwinding.reached({decision.pk: latest.pk}) if latest is not None else {}
    if decision.pk not in back_from:
        raise Conflict(
            "This decision has been superseded since, so it cannot be undone from here: decide "
            "anew."
        )
    taken_back = Decision.objects.select_related("supersedes").get(pk=back_from[decision.pk])
    before = taken_back.supersedes.holding if taken_back.supersedes else None
    back = Decision(
        pair=pair,
        verdict=before.verdict if before else Verdict.UNDECIDED,
        label_probability=before.label_probability if before else None,
        kind=before.kind if before else Decision.Kind.PERSON,
        restores=before,
        decided_by=by,
        actor=by.shown_name,
        reason=before.reason if before else "",
        evidence=before.evidence if before else {},
        supersedes=latest,
        undoes=taken_back,
    )
    return _append(back)


def latest_decision(pair: PreferencePair) -> Decision | None:
    """The end of the pair's chain of decisions."""
    return Decision.objects.filter(pair=pair, successor__isnull=True).first()


def resulting_preference(source_preference: str, verdict: str) -> str:
    """The label that holds after the verdict: `a`, `b`, `tie`, or empty where no label holds."""
    if verdict == Verdict.DROP:
        return ""
    if verdict == Verdict.TIE:
        return str(Preference.TIE)
    if verdict == Verdict.FLIP:
        return {"a": "b", "b": "a"}[source_preference]
    if verdict in (Verdict.PREFER_A, Verdict.PREFER_B):
        return verdict
    return source_preference


def verdict_for(source_preference: str, preferred: str) -> Verdict:
    """What a person who prefers `a`, `b` or `tie` says of the pair's label: keep or flip where the
    source prefers one response, else the preference itself."""
    if preferred == source_preference:
        return Verdict.KEEP
    if preferred == Preference.TIE:
        return Verdict.TIE
    return Verdict.FLIP if source_preference in (Preference.A, Preference.B) else Verdict(preferred)


def _check_makes_sense(pair: PreferencePair, verdict: Verdict) -> None:
    if verdict in (Verdict.UNDECIDED, Verdict.SOFTEN):
        raise CannotDecide(
            f"“{verdict}” is not something a person decides: choose keep, flip, tie or drop."
        )
    if verdict in (Verdict.PREFER_A, Verdict.PREFER_B) and pair.has_preference:
        raise CannotDecide("The source prefers a response already: keep or flip its label.")
    if verdict == Verdict.FLIP and pair.source_preference not in (Preference.A, Preference.B):
        raise CannotDecide(
            "Only a label that prefers one response can be flipped: this pair has none."
        )
    if verdict == Verdict.KEEP and not pair.source_preference:
        raise CannotDecide("There is no label to keep: the pair came unlabelled.")


def _append(decision: Decision) -> Decision:
    try:
        with transaction.atomic():
            decision.save()
    except IntegrityError as error:
        raise Conflict("Somebody else decided this pair at the same moment: look again.") from error
    held = decision.holding
    PairStanding.objects.filter(pk=decision.pair_id).update(
        decision=decision,
        verdict=decision.verdict,
        decided_by=held.kind if held else PairStanding.DecidedBy.NOBODY,
        decided_at=held.created_at if held else None,
    )
    return decision


def _held(pair: PreferencePair) -> Decision | None:
    """The end of the pair's chain, which nobody else may lengthen until the transaction ends.
    Raises Conflict where others keep it for longer than a person waits."""
    try:
        with transaction.atomic():
            _wait_for_locks(PATIENCE)
            PairStanding.objects.select_for_update(no_key=True).get(pk=pair.pk)
            _wait_for_locks("0")  # without end, as before
    except OperationalError as error:
        raise Conflict(_kept_by(pair)) from error
    return latest_decision(pair)


def _wait_for_locks(length: str) -> None:
    """SQLite has one writer at a time, and waits before a transaction begins."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [length])


def _kept_by(pair: PreferencePair) -> str:
    batch = DecisionBatch.objects.filter(dataset=pair.dataset_id, status__in=work.OPEN).first()
    who = f"{batch.actor} is having batch {batch.pk} done" if batch else "Another change is made"
    return (
        f"{who}, which keeps this pair for now, so nothing was decided: try again when it is over."
    )
