"""Which pair an annotator labels next, and for how long they hold it.

Whoever asks for a pair locks their own annotator's row first, so that two tabs of one person cannot
hold two pairs. A round's pair has so many places; one is taken and given back by conditional
updates in the transaction of the lease, so that no more labels come than were asked for.
Locks are taken in one order, so that nobody waits in a circle: annotator, lease, place, pair. One
transaction changes one place; an undo, which may change two, locks both beforehand.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from django.db import IntegrityError, connection, models, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotations import permissions
from annotations.models import (
    Annotator,
    Dataset,
    GoldPair,
    Judgement,
    Label,
    Lease,
    Occasion,
    PreferencePair,
    Round,
    RoundPair,
    Verdict,
)
from curator.models import User

LEASE = timedelta(minutes=30)
RENEWED_AFTER = timedelta(minutes=1)
REPEATED_AFTER = 10  # answers, so that nobody just remembers what they said
DRAWN_FROM = 50  # gold or repeated pairs, so that the next one is hard to guess
SWEPT = 500
JUDGED = (Judgement.A, Judgement.B, Judgement.TIE, Judgement.BOTH_BAD)

Row = TypeVar("Row", bound=models.Model)


def annotator_for(user: User, dataset: Dataset) -> Annotator:
    """The user as an annotator of the dataset, made when they first label. An imported annotator of
    the same name is somebody else: nothing says that it is the same person."""
    found = Annotator.objects.filter(dataset=dataset, user=user).first()
    if found is None:
        found = _new_annotator(user, dataset)
    found.dataset, found.user = dataset, user
    return found


def annotator_seen(user: User, dataset: Dataset) -> Annotator:
    """The user as an annotator of the dataset for who only looks, which changes nothing: before
    their first label it is not kept, and has an id that no annotator will have."""
    found = Annotator.objects.filter(dataset=dataset, user=user).first()
    if found is None:
        found = Annotator(pk=-user.pk, name=user.username, kind=Annotator.Kind.HUMAN)
    found.dataset, found.user = dataset, user
    return found


def next_lease(annotator: Annotator) -> Lease | None:
    """The pair that the annotator holds, else the next one for them; None when there is none.

    First practice, then, where one is due, a gold or a repeated pair, then the rounds: second
    opinions, those that name the annotator, and the others by age. Raises Forbidden for who is a
    member no more.
    """
    while True:
        with transaction.atomic():
            lock(annotator)
            if annotator.user is not None:
                permissions.check_can_label(annotator.user, annotator.dataset)
            held = held_by(annotator)
            if held is None:
                return _practice(annotator) or _in_between(annotator) or _from_rounds(annotator)
            if held.pair.standing.verdict == Verdict.DROP:
                release(held)
            elif renew(held):
                return held


def lock(annotator: Annotator) -> None:
    """Lock the annotator's row until the end of the transaction, so that what one person does
    happens one after the other."""
    rows = Annotator.objects.select_for_update(no_key=True).filter(pk=annotator.pk)
    rows.values_list("pk").get()


def held_by(annotator: Annotator) -> Lease | None:
    """The lease in the annotator's hands, whether or not its time is over."""
    found = leases().filter(annotator=annotator, state=Lease.State.OPEN).first()
    if found is not None:
        found.annotator = annotator
    return found


def leases() -> models.QuerySet[Lease]:
    """Leases with what is shown of them."""
    return Lease.objects.select_related("pair__standing").defer("pair__meta")


def renew(lease: Lease) -> bool:
    """Let the annotator hold the pair for a full time again; at most one write a minute. False when
    they hold it no more: its time was over and it was given back."""
    now = timezone.now()
    if lease.expires_at - now > LEASE - RENEWED_AFTER:
        return True
    held = Lease.objects.filter(pk=lease.pk, state=Lease.State.OPEN)
    if not held.update(expires_at=now + LEASE):
        return False
    lease.expires_at = now + LEASE
    return True


@transaction.atomic
def release(lease: Lease, **conditions: Any) -> bool:
    """Give the pair back unanswered; its draft stays. False when it was not held any more, or not
    under these conditions."""
    held = Lease.objects.filter(pk=lease.pk, state=Lease.State.OPEN, **conditions)
    if not held.update(state=Lease.State.RELEASED):
        return False
    lease.state = Lease.State.RELEASED
    if lease.round_pair_id is not None:
        give_place_back(lease.round_pair_id)
    return True


def release_expired(limit: int = SWEPT) -> int:
    """Give back what was held beyond its time, the oldest first; how many leases that were."""
    now = timezone.now()
    expired = Lease.objects.filter(state=Lease.State.OPEN, expires_at__lt=now)
    rows = list(expired.order_by("expires_at").only("pk", "round_pair_id")[:limit])
    return sum(release(lease, expires_at__lt=now) for lease in rows)


def take_place(round_pair_id: int) -> bool:
    """Take one of the places that the round's pair still has; False when all are taken."""
    free = RoundPair.objects.filter(pk=round_pair_id, open__gt=0)
    return bool(free.update(open=F("open") - 1))


def give_place_back(round_pair_id: int) -> None:
    RoundPair.objects.filter(pk=round_pair_id).update(open=F("open") + 1)


def places_left(annotator: Annotator, *, most: int) -> int:
    """How many pairs of the rounds the annotator may still be asked; counts up to `most`."""
    rounds = _open_rounds(annotator).values("pk")
    return _askable(RoundPair.objects.filter(round__in=rounds, open__gt=0), annotator)[
        :most
    ].count()


def practice_left(annotator: Annotator) -> int:
    return _practice_pairs(annotator).count() if _has_practice(annotator) else 0


def nothing_left(annotator: Annotator) -> str:
    """Why there is no pair for the annotator now, in a sentence for them."""
    asked = _rounds_for(annotator)
    if not asked.exists():
        return "Nothing is put to you here at present: a curator opens a round of labelling first."
    in_hands = Lease.objects.filter(state=Lease.State.OPEN, round_pair__round__in=asked)
    if _askable(in_hands, annotator).exists():
        return (
            "Nothing is left for you at this moment. Others hold the last pairs: what they do not "
            "answer comes back within half an hour."
        )
    return "You have answered all that is asked of you here. Thank you."


def shown_first(annotator: Annotator, pair: PreferencePair) -> str:
    """Which response stands first before the annotator: a coin that falls the same way whenever it
    is asked, and differently for everybody."""
    return str(Judgement.B if _hashed(annotator.pk, pair.digest) % 2 else Judgement.A)


# --- What comes next ------------------------------------------------------------------------------


def _practice(annotator: Annotator) -> Lease | None:
    if not _has_practice(annotator):
        return None
    gold = _practice_pairs(annotator).select_related("pair__standing").order_by("pk").first()
    if gold is None:
        return None
    return _leased(annotator, gold.pair, occasion=Occasion.PRACTICE)


def _has_practice(annotator: Annotator) -> bool:
    """Whether there is any for them, which is asked with every answer and mostly not so: practice
    comes before work, and what is chosen for it later is for those who come later."""
    return _practice_set(annotator).exists() and not _has_worked(annotator)


def _has_worked(annotator: Annotator) -> bool:
    given = annotator.leases.filter(answered_at__isnull=False)
    return given.exclude(occasion=Occasion.PRACTICE).exists()


def _practice_pairs(annotator: Annotator) -> models.QuerySet[GoldPair]:
    """What of the practice set the annotator has not answered."""
    return _askable(_practice_set(annotator), annotator)


def _practice_set(annotator: Annotator) -> models.QuerySet[GoldPair]:
    return GoldPair.objects.filter(dataset=annotator.dataset_id, retired_at=None, is_practice=True)


def _in_between(annotator: Annotator) -> Lease | None:
    """A gold or a repeated pair, where the dataset wants them and one is due after so many
    answers."""
    dataset = annotator.dataset
    if not dataset.gold_every and not dataset.repeat_every:
        return None
    answered = annotator.leases.filter(state=Lease.State.ANSWERED)
    answers = answered.exclude(occasion=Occasion.PRACTICE).count()
    lease = None
    if _is_due(annotator, answers, dataset.gold_every, "gold"):
        lease = _gold(annotator, answers)
    if lease is None and _is_due(annotator, answers, dataset.repeat_every, "repeat"):
        lease = _repeat(annotator, answers)
    return lease


def _is_due(annotator: Annotator, answers: int, every: int, what: str) -> bool:
    """Whether the next answer is the one of its `every` answers that is set aside: once in each so
    many, at a place that cannot be guessed."""
    if not every:
        return False
    block, place = divmod(answers, every)
    return place == _hashed(annotator.pk, what, block) % every


def _gold(annotator: Annotator, answers: int) -> Lease | None:
    rows = GoldPair.objects.filter(dataset=annotator.dataset_id, retired_at=None, is_practice=False)
    gold = _drawn(
        _askable(rows, annotator).select_related("pair__standing").order_by("pk"), answers
    )
    if gold is None:
        return None
    # where a round wants the pair too, this answer is one of those it wants
    places = RoundPair.objects.filter(pair=gold.pair, open__gt=0)
    wanted = places.filter(round__in=_open_rounds(annotator).values("pk")).first()
    taken = wanted if wanted is not None and take_place(wanted.pk) else None
    return _leased(annotator, gold.pair, round_pair=taken, is_gold=True)


def _repeat(annotator: Annotator, answers: int) -> Lease | None:
    """A pair that the annotator judged some time ago, with the sides swapped."""
    again = Lease.objects.filter(annotator=annotator, occasion=Occasion.REPEAT)
    judged = leases().filter(
        ~Exists(again.filter(pair=OuterRef("pair"))),
        ~Exists(GoldPair.objects.filter(pair=OuterRef("pair"))),
        annotator=annotator,
        occasion=Occasion.WORK,
        state=Lease.State.ANSWERED,
        label__preference__in=JUDGED,
    )
    earlier = judged.exclude(pair__standing__verdict=Verdict.DROP).order_by("-answered_at")
    lease = _drawn(earlier, answers, start=REPEATED_AFTER)
    if lease is None:
        return None
    other = Judgement.A if lease.shown_first == Judgement.B else Judgement.B
    return _leased(annotator, lease.pair, occasion=Occasion.REPEAT, first=other)


def _drawn(rows: models.QuerySet[Row], answers: int, *, start: int = 0) -> Row | None:
    """One of the first rows after `start`, drawn by the number of answers."""
    found = list(rows.values_list("pk", flat=True)[start : start + DRAWN_FROM])
    if not found:
        return None
    return rows.get(pk=found[_hashed("drawn", answers) % len(found)])


def _from_rounds(annotator: Annotator) -> Lease | None:
    rounds = _open_rounds(annotator)
    opinions: list[int] = []
    others: list[list[int]] = []
    for row in rounds.only("pk", "pair"):
        if row.pair_id is None:
            others.append([row.pk])
        else:
            opinions.append(row.pk)
    for group in ([opinions] if opinions else []) + others:
        found = _claimed(annotator, group)
        if found is not None:
            return _leased(annotator, found.pair, round_pair=found)
    return None


def _open_rounds(annotator: Annotator) -> models.QuerySet[Round]:
    """The rounds that ask the annotator and have places left, the most urgent first."""
    by_name = Exists(_named().filter(user=annotator.user_id))
    places = RoundPair.objects.filter(round=OuterRef("pk"), open__gt=0)
    rounds = _rounds_for(annotator).filter(Exists(places))
    return rounds.order_by(F("pair").asc(nulls_last=True), by_name.desc(), "pk")


def _rounds_for(annotator: Annotator) -> models.QuerySet[Round]:
    """The rounds that are not closed and ask the annotator: by name, or because they name
    nobody."""
    asks = Exists(_named().filter(user=annotator.user_id)) | ~Exists(_named())
    return Round.objects.filter(asks, dataset=annotator.dataset_id, closed_at=None)


def _named() -> models.QuerySet[Any]:
    """Whom the outer query's round names."""
    return Round.annotators.through.objects.filter(round=OuterRef("pk"))


def _claimed(annotator: Annotator, rounds: Sequence[int]) -> RoundPair | None:
    """The first pair of these rounds that the annotator may be asked, with one of its places taken.

    It is looked for from where the annotator last was, since what lies before is mostly theirs
    already; then from the start; then waiting for those that others are taking at this moment.
    """
    of_one = len(rounds) == 1
    which = {"round": rounds[0]} if of_one else {"round__in": rounds}
    rows = _askable(RoundPair.objects.filter(**which, open__gt=0), annotator)
    rows = rows.select_related("pair__standing").defer("pair__meta")
    onwards = rows.filter(position__gt=_last_position(annotator, rounds[0])) if of_one else None
    for found, skips in ((onwards, True), (rows, True), (rows, False)):
        if found is None or (not skips and not connection.features.has_select_for_update):
            continue
        locked = found.select_for_update(of=("self",), no_key=True, skip_locked=skips)
        row = locked.order_by("round_id", "position").first()
        if row is not None and take_place(row.pk):
            return row
    return None


def _last_position(annotator: Annotator, round_id: int) -> Coalesce:
    answered = Lease.objects.filter(
        annotator=annotator, round_pair__round=round_id, answered_at__isnull=False
    )
    last = answered.order_by("-answered_at").values("round_pair__position")[:1]
    return Coalesce(Subquery(last), Value(-1), output_field=models.IntegerField())


def _askable(rows: models.QuerySet[Row], annotator: Annotator) -> models.QuerySet[Row]:
    """Those of the rows whose pair is not dropped, and of which the annotator has said nothing,
    whatever the occasion."""
    said = Label.objects.filter(
        ~Q(preference=Judgement.WITHDRAWN),
        pair=OuterRef("pair"),
        annotator=annotator,
        successor__isnull=True,
    )
    return rows.filter(~Q(pair__standing__verdict=Verdict.DROP), ~Exists(said))


def _leased(
    annotator: Annotator,
    pair: PreferencePair,
    *,
    occasion: Occasion = Occasion.WORK,
    round_pair: RoundPair | None = None,
    is_gold: bool = False,
    first: str = "",
) -> Lease:
    """The pair in the annotator's hands; what they held and gave back before has its draft."""
    now = timezone.now()
    asked = {
        "state": Lease.State.OPEN,
        "round_pair": round_pair,
        "is_gold": is_gold,
        "opened_at": now,
        "expires_at": now + LEASE,
    }
    before = Lease.objects.filter(annotator=annotator, pair=pair, occasion=occasion)
    if before.update(**asked):
        lease = before.get()
    else:
        first = first or shown_first(annotator, pair)
        lease = Lease.objects.create(
            annotator=annotator, pair=pair, occasion=occasion, shown_first=first, **asked
        )
    lease.annotator, lease.pair = annotator, pair
    return lease


def _new_annotator(user: User, dataset: Dataset) -> Annotator:
    for number in count(1):
        name = user.username if number == 1 else f"{user.username} ({number})"
        kind = Annotator.Kind.HUMAN
        try:
            with transaction.atomic():
                return Annotator.objects.create(dataset=dataset, name=name, kind=kind, user=user)
        except IntegrityError:  # the name is taken, or a second tab was first
            found = Annotator.objects.filter(dataset=dataset, user=user).first()
            if found is not None:
                return found
    raise AssertionError("numbers do not end")


def _hashed(*parts: object) -> int:
    """A number that anybody can compute again from the parts and nobody can foresee from the
    others."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
