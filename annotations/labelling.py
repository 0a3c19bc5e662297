"""What an annotator answers, and how an answer is kept: once, un-mapped from the sides that they
saw, and counted for the pair in the same transaction."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from annotations import blind, leasing, permissions, rounds
from annotations.formats.labels import LONGEST_RATIONALE, MARKS, MOST_SPANS
from annotations.models import (
    Annotator,
    Dataset,
    Judgement,
    Label,
    Lease,
    Occasion,
    PairStanding,
    RoundPair,
    SkipReason,
    Verdict,
)
from curator.lib.refusals import Conflict, Forbidden, Refusal
from curator.lib.texts import storable_text
from curator.models import User

logger = logging.getLogger(__name__)

CHOICES = (*blind.SIDES, "tie", "both_bad", "skip")
ASPECT_CHOICES = (*blind.SIDES, "tie")
LARGEST_DRAFT = 128 * 1024  # bytes: the longest rationale fits in any script
MOST_UNDONE = 10
MOST_COUNTED = 200
BELIEVED, BELIEVED_AT_THE_END = 60, 600  # seconds
LONGEST_SECONDS = 24 * 3600.0

SENT_TWICE = "You had sent this answer already: it is kept once."
CAME_LATE = "Your time for this pair was over, but its place was still free: your answer is kept."
DROPPED = (
    "The pair was dropped from the dataset meanwhile: your answer is kept, though nobody waits for "
    "it any more."
)


class NotAnAnswer(Refusal):
    """Something of the answer makes no sense, or is missing."""

    status = 422


class PlaceGone(Conflict):
    """The answer came after its time, and others have answered in its place."""


@dataclass(frozen=True)
class Answer:
    """An answer as its annotator gives it, in terms of the sides that they see.

    `choice` is `first`, `second`, `tie`, `both_bad` or `skip`; `aspects` name `first`, `second` or
    `tie` for each; a span is `{side, start, end, mark}` in characters of the side's response, its
    messages one after the other, and marks it `good` or `bad`.
    """

    choice: str
    strength: int | None = None
    aspects: Mapping[str, str] = field(default_factory=dict)
    rationale: str = ""
    skip_reason: str = ""
    spans: Sequence[Mapping[str, Any]] = ()
    seconds: float | None = None

    def as_draft(self) -> dict[str, Any]:
        """What a lease keeps of an answer that is not given yet, or taken back."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, "aspects": dict(self.aspects), "spans": [dict(one) for one in self.spans]}


@dataclass(frozen=True)
class Outcome:
    """The label that was kept, and what its annotator should know of it, if anything."""

    label: Label
    note: str = ""


@dataclass(frozen=True)
class Progress:
    """How far an annotator has come: answers `today` and in `total`, and how many pairs are
    `left`, counted up to MOST_COUNTED."""

    today: int
    total: int
    left: int
    practice_left: int

    @property
    def is_more_left(self) -> bool:
        """Whether there may be more left than were counted."""
        return self.left >= MOST_COUNTED


@contextmanager
def _told_of_others() -> Iterator[None]:
    """What the database refuses because the annotator's labels changed at the same moment, in a
    sentence for them."""
    try:
        yield
    except IntegrityError as error:
        logger.warning("an answer came beside another: %s", error)
        raise Conflict(
            "Your labels of this pair changed at the same moment, so nothing was done: look again."
        ) from error


def vote(*, lease: Lease, by: User, answer: Answer, based_on: int | None) -> Outcome:
    """Keep the answer to the leased pair as a label. `based_on` is the label that the form knew of:
    the one that was taken back, where the pair is shown again after an undo, else None.

    The same answer sent twice is kept once; another one to a pair that is answered raises Conflict.
    One that comes late is kept while its place is free, else it raises PlaceGone and stays as the
    lease's draft. Raises NotAnAnswer for what makes no sense.
    """
    if lease.annotator.user_id != by.pk:
        raise Forbidden("This pair was put to somebody else, so your answer was not kept.")
    dataset = lease.annotator.dataset
    try:
        permissions.check_can_label(by, dataset)
    except Forbidden:
        save_draft(lease, answer.as_draft())  # they may be let in again
        raise
    said = _said(lease, dataset, answer)
    try:
        return _vote(lease, by, said, based_on)
    except (Forbidden, PlaceGone):
        save_draft(lease, answer.as_draft())
        raise


@_told_of_others()
@transaction.atomic
def undo(annotator: Annotator) -> Lease:
    """Take back the annotator's last answer, as a label of its own that says so, and hand them its
    pair again with the old answer as a draft. The pair that they held is given back.

    Can be repeated, for their last ten answers; practice answers are none of them. Raises Refusal
    when there is nothing to take back, and Conflict when somebody else took the place of a pair
    that was skipped.
    """
    leasing.lock(annotator)
    lease = _last_answered(annotator)
    held = leasing.held_by(annotator)
    _lock_places(lease, held)
    answered = _chain(lease).get(successor__isnull=True)
    if answered.preference == Judgement.SKIP and lease.round_pair_id is not None:
        _take_skipped_place(lease.round_pair_id)
    if lease.round_pair is not None and lease.answered_at is not None:
        rounds.open_again(lease.round_pair, since=lease.answered_at)
    draft = answer_of(answered, lease).as_draft()
    lease.label = Label.objects.create(
        pair=lease.pair,
        annotator=annotator,
        occasion=answered.occasion,
        preference=Judgement.WITHDRAWN,
        shown_first=lease.shown_first,
        supersedes=answered,
    )
    _count(lease, {answered.preference: -1})
    if held is not None:
        leasing.release(held)
    return _reopened(lease, draft)


def save_draft(lease: Lease, draft: Mapping[str, Any]) -> bool:
    """Keep what the annotator has entered so far and let them hold the pair for longer; False when
    they have answered it meanwhile, so that there is nothing to keep."""
    entered = _clean(dict(draft))
    if len(json.dumps(entered, ensure_ascii=False).encode()) > LARGEST_DRAFT:
        raise NotAnAnswer("What you entered is too long to be kept: shorten it.")
    unanswered = Lease.objects.filter(pk=lease.pk).exclude(state=Lease.State.ANSWERED)
    if not unanswered.update(draft=entered):
        return False
    lease.draft = entered
    leasing.renew(lease)
    return True


def forget_comment(lease: Lease) -> None:
    """The comment that the lease's draft holds was sent: it is no draft any more."""
    if lease.draft.pop("comment", ""):
        Lease.objects.filter(pk=lease.pk).update(draft=lease.draft)


def progress(annotator: Annotator, *, afresh: bool = False) -> Progress:
    """How far the annotator has come. Practice does not count as answers. What is left may be as of
    some minutes ago, but for their own answers; `afresh` it is counted now."""
    answered = annotator.leases.filter(state=Lease.State.ANSWERED)
    given = answered.exclude(occasion=Occasion.PRACTICE)
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    counted = given.aggregate(
        total=Count("pk"),
        today=Count("pk", filter=Q(answered_at__gte=midnight)),
        in_rounds=Count("pk", filter=Q(round_pair__isnull=False)),
    )
    return Progress(
        today=counted["today"],
        total=counted["total"],
        left=_left(annotator, counted["in_rounds"], afresh=afresh),
        practice_left=leasing.practice_left(annotator),
    )


def answer_of(label: Label, lease: Lease) -> Answer:
    """The label as its annotator gave it."""
    return Answer(
        choice=blind.choice_of(lease, label.preference),
        strength=label.strength,
        aspects={name: blind.choice_of(lease, value) for name, value in label.aspects.items()},
        rationale=label.rationale,
        skip_reason=label.skip_reason,
        spans=[
            {"side": blind.choice_of(lease, one["response"]), **_but(one, "response")}
            for one in label.spans
        ],
        seconds=label.seconds,
    )


def _left(annotator: Annotator, answered: int, *, afresh: bool) -> int:
    """How many pairs are left, now that the annotator has `answered` so many of the rounds.

    It is asked with every answer, and counting is the slowest part of it: near the end of a round
    nearly all its pairs are looked at to find the few that are left. So what was counted is
    believed for a while, less what they have answered since; not that nothing is left.
    """
    key = f"left-{annotator.pk}-{annotator.dataset.created_at.timestamp()}"
    known = None if afresh else cache.get(key)
    if known is not None:
        counted, answered_then = known
        left = counted if counted == MOST_COUNTED else counted - (answered - answered_then)
        if left > 0:
            return min(int(left), MOST_COUNTED)
    counted = leasing.places_left(annotator, most=MOST_COUNTED)
    lasts = BELIEVED if counted == MOST_COUNTED else BELIEVED_AT_THE_END
    cache.set(key, (counted, answered), timeout=lasts)
    return counted


# --- Keeping an answer ----------------------------------------------------------------------------


@_told_of_others()
@transaction.atomic
def _vote(lease: Lease, by: User, said: dict[str, Any], based_on: int | None) -> Outcome:
    leasing.lock(lease.annotator)
    permissions.check_can_label(by, lease.annotator.dataset)  # who sends them away locks them too
    rows = Lease.objects.select_for_update(of=("self",), no_key=True)
    opinion = F("round_pair__round__pair")
    found = rows.annotate(verdict=F("pair__standing__verdict"), opinion=opinion).get(pk=lease.pk)
    found.annotator, found.pair = lease.annotator, lease.pair
    if found.state == Lease.State.ANSWERED:
        return _sent_again(found, said)
    if found.label_id != based_on:
        raise Conflict(
            "You took an answer to this pair back meanwhile, so this one was not kept: look again."
        )
    came_late = found.state == Lease.State.RELEASED
    place = _locked_place(found) if found.opinion is not None else None
    _settle_place(found, said["preference"])
    label = _appended(found, said)
    lease.state, lease.label, lease.draft = Lease.State.ANSWERED, label, {}
    lease.answered_at = timezone.now()
    Lease.objects.filter(pk=lease.pk).update(
        state=lease.state, label=label, draft={}, answered_at=lease.answered_at
    )
    if place is not None:
        rounds.close_answered(place)
    if found.verdict == Verdict.DROP:
        return Outcome(label, DROPPED)
    return Outcome(label, CAME_LATE if came_late else "")


def _sent_again(lease: Lease, said: dict[str, Any]) -> Outcome:
    """The label that was kept the first time, where both say the same but for the time spent."""
    label = lease.label
    assert label is not None
    if all(getattr(label, name) == value for name, value in _but(said, "seconds").items()):
        return Outcome(label, SENT_TWICE)
    raise Conflict(
        "You have answered this pair already, so this second answer was not kept: undo the first "
        "one to change it."
    )


def _locked_place(lease: Lease) -> RoundPair:
    """The lease's place, which nobody else takes or answers meanwhile."""
    assert lease.round_pair_id is not None
    return RoundPair.objects.select_for_update(no_key=True).get(pk=lease.round_pair_id)


def _settle_place(lease: Lease, preference: str) -> None:
    """A judgement needs the place that the lease holds, or takes it again; a skipped pair leaves it
    to somebody else."""
    if lease.round_pair_id is None:
        return
    is_held = lease.state == Lease.State.OPEN
    if preference == Judgement.SKIP:
        if is_held:
            leasing.give_place_back(lease.round_pair_id)
    elif not is_held and not leasing.take_place(lease.round_pair_id):
        raise PlaceGone(
            "Your time for this pair was over and others have labelled it meanwhile, so your "
            "answer was not counted. Should the pair come to you again, what you entered is there."
        )


def _appended(lease: Lease, said: dict[str, Any]) -> Label:
    latest = _chain(lease).filter(successor__isnull=True).only("preference").first()
    label = Label.objects.create(
        pair=lease.pair,
        annotator=lease.annotator,
        occasion=lease.occasion,
        shown_first=lease.shown_first,
        supersedes=latest,
        **said,
    )
    before = [latest.preference] if latest is not None else []
    _count(lease, {**dict.fromkeys(before, -1), label.preference: 1})
    return label


def _chain(lease: Lease) -> QuerySet[Label]:
    """What the annotator has said of the pair on the lease's occasion, in whatever way."""
    return Label.objects.filter(
        pair=lease.pair_id, annotator=lease.annotator_id, occasion=lease.occasion
    )


def _count(lease: Lease, changes: Mapping[str, int]) -> None:
    """Count up or down what people say of the pair: only labels asked as work, of persons."""
    if lease.occasion != Occasion.WORK or lease.annotator.kind != Annotator.Kind.HUMAN:
        return
    columns = {
        f"people_{said}": F(f"people_{said}") + by
        for said, by in changes.items()
        if said in leasing.JUDGED
    }
    if columns:
        PairStanding.objects.filter(pk=lease.pair_id).update(**columns)


# --- Taking an answer back ------------------------------------------------------------------------


def _last_answered(annotator: Annotator) -> Lease:
    """The last answer that still stands, among the annotator's last ten; practice is stepped
    over, since they have seen what is right."""
    given = leasing.leases().filter(annotator=annotator, answered_at__isnull=False)
    answered = given.exclude(occasion=Occasion.PRACTICE)
    answered = answered.select_related("pair", "label", "round_pair")
    recent = list(answered.order_by("-answered_at", "-pk")[:MOST_UNDONE])
    lease = next((one for one in recent if one.state == Lease.State.ANSWERED), None)
    if lease is None and len(recent) == MOST_UNDONE:
        raise Refusal(f"Only your last {MOST_UNDONE} answers can be undone.")
    if lease is None and not recent and given.exists():
        raise Refusal("A practice answer cannot be undone: you have seen what is right.")
    if lease is None:
        raise Refusal("There is nothing to undo: no answer of yours stands here.")
    if lease.pair.standing.verdict == Verdict.DROP:
        raise Refusal("The pair of your last answer was dropped, so there is nothing to change.")
    lease.annotator = annotator
    return lease


def _lock_places(*leases: Lease | None) -> None:
    """Lock what an undo changes in the order in which everybody does: leases, then places by id, so
    that nobody waits in a circle."""
    known = [one for one in leases if one is not None]
    own = Lease.objects.select_for_update(no_key=True).filter(pk__in=[one.pk for one in known])
    places = RoundPair.objects.select_for_update(no_key=True)
    places = places.filter(pk__in=[one.round_pair_id for one in known if one.round_pair_id])
    for rows in (own.order_by("pk").only("pk"), places.order_by("pk").only("pk")):
        list(rows)


def _take_skipped_place(round_pair_id: int) -> None:
    if not leasing.take_place(round_pair_id):
        raise Conflict("Somebody else labels the pair that you skipped by now: it stays skipped.")


def _reopened(lease: Lease, draft: dict[str, Any]) -> Lease:
    """The lease in the annotator's hands again. It keeps when it was answered: an undo counts back
    from there."""
    now = timezone.now()
    lease.state, lease.draft = Lease.State.OPEN, draft
    lease.opened_at, lease.expires_at = now, now + leasing.LEASE
    lease.save(update_fields=["state", "draft", "label", "opened_at", "expires_at"])
    return lease


# --- What an answer says --------------------------------------------------------------------------


def _said(lease: Lease, dataset: Dataset, answer: Answer) -> dict[str, Any]:
    """The answer as a label's columns, in terms of A and B. Raises NotAnAnswer."""
    if answer.choice not in CHOICES:
        raise NotAnAnswer("Choose one of the responses, tie, both bad, or skip.")
    is_skip, prefers = answer.choice == Judgement.SKIP, answer.choice in blind.SIDES
    strength = _strength(answer)
    aspects = _aspects(lease, dataset, answer)
    rationale = _rationale(dataset, answer, is_needed=not is_skip)
    spans = _spans(lease, answer)
    return {
        "preference": blind.preference_of(lease, answer.choice),
        "strength": strength if prefers else None,  # of no preference there is none
        "aspects": {} if is_skip else aspects,
        "rationale": rationale,
        "skip_reason": _skip_reason(answer) if is_skip else "",
        "spans": spans,
        "seconds": _seconds(answer.seconds),
    }


def _strength(answer: Answer) -> int | None:
    strength = answer.strength
    if strength is None:
        return None
    if isinstance(strength, bool) or not isinstance(strength, int) or not 1 <= strength <= 3:
        raise NotAnAnswer("How much better is 1 slightly, 2 clearly or 3 much.")
    return strength


def _aspects(lease: Lease, dataset: Dataset, answer: Answer) -> dict[str, str]:
    unknown = [name for name in answer.aspects if name not in dataset.aspects]
    if unknown:
        asked = ", ".join(dataset.aspects) or "none"
        raise NotAnAnswer(f"{_excerpt(unknown[0])} is no aspect of this dataset; it has: {asked}.")
    for name, choice in answer.aspects.items():
        if choice not in ASPECT_CHOICES:
            raise NotAnAnswer(f"For {name}, choose one of the responses or tie.")
    return {name: blind.preference_of(lease, choice) for name, choice in answer.aspects.items()}


def _rationale(dataset: Dataset, answer: Answer, *, is_needed: bool) -> str:
    text = str(_clean(answer.rationale)).strip()
    if len(text) > LONGEST_RATIONALE:
        raise NotAnAnswer(
            f"Your reason has {len(text):,} characters: at most {LONGEST_RATIONALE:,} are kept, so "
            f"shorten it."
        )
    if is_needed and dataset.requires_rationale and not text:
        raise NotAnAnswer("Say in a sentence why: this dataset asks for a reason with each answer.")
    return text


def _skip_reason(answer: Answer) -> str:
    if answer.skip_reason and answer.skip_reason not in SkipReason.values:
        raise NotAnAnswer("Choose one of the reasons to skip a pair, or none.")
    return answer.skip_reason


def _spans(lease: Lease, answer: Answer) -> list[dict[str, Any]]:
    if len(answer.spans) > MOST_SPANS:
        raise NotAnAnswer(f"At most {MOST_SPANS} marks are kept of a pair: remove some.")
    shown = blind.shown(lease) if answer.spans else None
    return [_span(lease, shown, one) for one in answer.spans] if shown else []


def _span(lease: Lease, shown: blind.BlindPair, given: Mapping[str, Any]) -> dict[str, Any]:
    side, start, end = given.get("side"), given.get("start"), given.get("end")
    if side not in blind.SIDES or given.get("mark") not in MARKS:
        raise NotAnAnswer("A mark stands on one of the responses and says good or bad.")
    length = blind.length_of(shown.response(side))
    if not (_is_whole(start) and _is_whole(end) and 0 <= start < end <= length):
        raise NotAnAnswer("A mark lies outside its response: remove it and mark it again.")
    response = blind.preference_of(lease, side)
    return {"response": response, "start": start, "end": end, "mark": given["mark"]}


def _seconds(given: float | None) -> float | None:
    """The time spent, as the page measured it; nothing where it measured nonsense."""
    if given is None or not math.isfinite(given) or given < 0:
        return None
    return min(float(given), LONGEST_SECONDS)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _clean(value: Any) -> Any:
    """The value with texts that every database can hold."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value


def _excerpt(text: str) -> str:
    return f"“{_clean(text)[:40]}”"


def _but(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
