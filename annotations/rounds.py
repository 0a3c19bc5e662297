"""A slice of a dataset that is put to annotators: which pairs, in what order, how many labels each,
and how far it has come."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from annotations import permissions
from annotations.models import (
    Dataset,
    GoldPair,
    Judgement,
    Label,
    Lease,
    Membership,
    PreferencePair,
    Round,
    RoundPair,
    Verdict,
)
from annotations.rendering import NOT_PLAIN, is_plain_name
from curator.lib import work
from curator.lib.batches import batches
from curator.lib.refusals import Refusal
from curator.models import User

logger = logging.getLogger(__name__)

BATCH = 1000
MOVED = 500  # places at once, for which whoever gives one back may have to wait
LONGEST_NAME = 120
MOST_LABELS = 100
HASHES = 2**64


@dataclass(frozen=True)
class Given:
    """How many labels some pairs of a round have, of those that it wants; `held` are in somebody's
    hands."""

    pairs: int = 0
    wanted: int = 0
    given: int = 0
    held: int = 0

    @property
    def share(self) -> float:
        return self.given / self.wanted if self.wanted else 0.0


@dataclass(frozen=True)
class RoundProgress(Given):
    """How far a round has come, as a whole and by arm."""

    by_arm: Mapping[str, Given] = field(default_factory=dict)


@transaction.atomic
def plan(
    *,
    dataset: Dataset,
    name: str,
    by: User | None,
    labels_per_pair: int = 1,
    random_share: float = 0.1,
    annotators: Iterable[User] = (),
    filter: Mapping[str, Any] | None = None,
) -> Round:
    """The row of a round that is not filled yet. `by` is None on the command line of the machine;
    `annotators` are whom it is for, everybody when nobody is named."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    people = _once_each(annotators)
    name = " ".join(name.split())
    check(
        dataset=dataset,
        name=name,
        labels_per_pair=labels_per_pair,
        random_share=random_share,
        annotators=people,
    )
    found = Round.objects.create(
        dataset=dataset,
        name=name,
        labels_per_pair=labels_per_pair,
        random_share=random_share,
        filter=dict(filter or {}),
        created_by=by,
    )
    found.annotators.set(people)
    return found


def check(
    *,
    dataset: Dataset,
    name: str,
    labels_per_pair: int,
    random_share: float,
    annotators: Iterable[User],
) -> None:
    """Raises a Refusal where `plan` would."""
    if not name.strip() or len(name) > LONGEST_NAME:
        raise Refusal(f"Give the round a name of at most {LONGEST_NAME} characters.")
    if not is_plain_name(name):
        raise Refusal(NOT_PLAIN)
    if not 1 <= labels_per_pair <= MOST_LABELS:
        raise Refusal(f"A round wants 1 to {MOST_LABELS} labels a pair, not {labels_per_pair}.")
    if not 0 <= random_share <= 1:
        raise Refusal(f"The share placed at random must be from 0 to 1, not {random_share}.")
    _check_people(dataset, _once_each(annotators), labels_per_pair)


def fill(round: Round, pair_ids: Iterable[int]) -> None:
    """Put the pairs in their order into the claimed round, in the background. Dropped pairs,
    practice pairs and those that are in it already are left out, so that filling it again adds what
    is new, and an attempt repeated is an attempt made once."""
    rows = _in_order(round, set(pair_ids))
    for batch in batches(rows, BATCH):
        with transaction.atomic():
            RoundPair.objects.bulk_create(batch, ignore_conflicts=True)
            work.renew(round, pairs_count=batch[-1].position + 1)
    with transaction.atomic():
        work.finish(round, pairs_count=round.rows.count())
    logger.info("round filled round=%s pairs=%d", round.pk, round.pairs_count)


@transaction.atomic
def second_opinion(
    *, pair: PreferencePair, by: User, annotators: Iterable[User] = (), labels: int = 1
) -> Round:
    """Ask for more labels of one pair, before everything else that is asked. Asked for twice while
    the first waits, it is one."""
    permissions.check_can_curate(by, pair.dataset)
    if pair.standing.verdict == Verdict.DROP:
        raise Refusal("This pair was dropped: take that back before you ask for a second opinion.")
    people = _once_each(annotators)
    asked = {person.pk for person in people}
    for place in awaited(pair).filter(round__labels_per_pair=labels).select_related("round"):
        if asked == set(place.round.annotators.values_list("pk", flat=True)):
            return place.round
    _check_people(pair.dataset, people, labels)
    _check_can_label(pair, people, labels)
    found = plan(
        dataset=pair.dataset,
        name="Second opinion",
        by=by,
        labels_per_pair=labels,
        random_share=0.0,
        annotators=people,
    )
    now = timezone.now()
    found.pair, found.pairs_count = pair, 1
    found.status, found.started_at, found.finished_at = Round.Status.DONE, now, now
    found.save()
    RoundPair.objects.create(round=found, pair=pair, position=0, wanted=labels, open=labels)
    return found


def awaited(*pairs: PreferencePair) -> QuerySet[RoundPair]:
    """The places of second opinions, on these pairs or on any, that somebody is still to fill: they
    hold the pair, or can label it."""
    held = Lease.objects.filter(round_pair=OuterRef("pk"), state=Lease.State.OPEN)
    named = Round.annotators.through.objects.filter(round=OuterRef(OuterRef("round")))
    is_asked = Exists(named.filter(user=OuterRef("user"))) | ~Exists(named)
    members = Membership.objects.filter(is_asked, dataset=OuterRef("round__dataset"))
    able = members.filter(
        ~Exists(_said(OuterRef(OuterRef("pair")), OuterRef("user"))),
        ended_at=None,
        user__is_active=True,
    )
    places = RoundPair.objects.filter(round__pair__isnull=False, round__closed_at=None)
    if pairs:
        places = places.filter(pair__in=pairs)
    return places.filter(Q(Exists(held)) | Q(Exists(able), open__gt=0))


def who_can_label(pair: PreferencePair) -> QuerySet[User]:
    """The members who have said nothing of the pair, on whatever occasion: nobody is asked what
    they have answered."""
    members = User.objects.filter(
        memberships__dataset=pair.dataset_id, memberships__ended_at=None, is_active=True
    )
    return members.filter(~Exists(_said(pair.pk, OuterRef("pk")))).order_by("username")


def reorder(dataset: Dataset) -> Iterator[int]:
    """Let the open rounds follow their pairs' review priorities as they are now; what was placed at
    random stays where it is. Step by step, so that nobody waits long for the database; yields how
    many places each step has changed."""
    for found in dataset.rounds.filter(closed_at=None, pair=None).order_by("pk"):
        pair_ids = set(found.rows.values_list("pair_id", flat=True))
        for batch in batches(_moved(found, pair_ids), MOVED):
            RoundPair.objects.bulk_create(
                batch,
                update_conflicts=True,
                unique_fields=["round", "pair"],
                update_fields=["position"],
            )
            yield len(batch)


@transaction.atomic
def close(round: Round, by: User | None) -> None:
    """Ask no more of the round's pairs. What annotators hold they may still answer."""
    if by is not None:
        permissions.check_can_curate(by, round.dataset)
    work.cancel(round)
    Round.objects.filter(pk=round.pk, closed_at=None).update(closed_at=timezone.now())
    round.refresh_from_db()


@transaction.atomic
def reopen(round: Round, by: User) -> None:
    """Ask what is left of a round again that was closed. A second opinion is asked for anew
    instead: it is closed by its last answer."""
    permissions.check_can_curate(by, round.dataset)
    Round.objects.filter(pk=round.pk, pair=None).update(closed_at=None)
    round.refresh_from_db()


def close_answered(place: RoundPair) -> None:
    """Close the second opinion of the place, which its caller has locked, with its last answer:
    nothing is ever added to it, and what is closed is not looked through with every answer."""
    held = Lease.objects.filter(round_pair=place, state=Lease.State.OPEN)
    answered = RoundPair.objects.filter(pk=place.pk, open=0).exclude(Exists(held))
    if answered.exists():
        Round.objects.filter(pk=place.round_id, closed_at=None).update(closed_at=timezone.now())


def open_again(place: RoundPair, *, since: datetime) -> None:
    """Open a second opinion again that an answer has closed: one of `since` then is taken back."""
    closed = Round.objects.filter(pk=place.round_id, pair__isnull=False, closed_at__gte=since)
    closed.filter(rows__open=0).update(closed_at=None)


def progress(rounds: Sequence[Round]) -> dict[int, RoundProgress]:
    """How far each of the rounds has come, by its id."""
    by_arm: dict[int, dict[str, Given]] = {found.pk: {} for found in rounds}
    held = _held(by_arm)
    rows = RoundPair.objects.filter(round__in=by_arm).order_by().values_list("round", "arm")
    for pk, arm, pairs, wanted, left in rows.annotate(Count("pk"), Sum("wanted"), Sum("open")):
        in_hands = held.get((pk, arm), 0)
        by_arm[pk][arm] = Given(pairs, wanted, wanted - left - in_hands, in_hands)
    return {pk: _together(arms) for pk, arms in by_arm.items()}


# --- The order of a round -------------------------------------------------------------------------


def _in_order(round: Round, pair_ids: set[int], *, again: bool = False) -> Iterator[RoundPair]:
    """The round's rows for these pairs, by position. Its random arm is a random sample of them,
    each of which stands somewhere in its own equal part of the order; the others stand around them
    by priority."""
    by_priority = F("standing__review_priority").desc(nulls_last=True)
    pairs = round.dataset.pairs.order_by(by_priority, "pk")
    if not again:
        practice = GoldPair.objects.filter(dataset=round.dataset_id, is_practice=True)
        asked_elsewhere = practice.filter(retired_at=None).values("pair")
        pairs = pairs.exclude(standing__verdict=Verdict.DROP).exclude(pk__in=asked_elsewhere)
    # all read before the first is written: SQLite lets no reader of an older state write
    wanted = [pk for pk in pairs.values_list("pk", flat=True) if pk in pair_ids]
    drawn = sorted((_hashed(round, pk), pk) for pk in wanted if _is_drawn(round, pk))
    at_random = {
        _place(round, number, len(drawn), len(wanted)): pk for number, (_, pk) in enumerate(drawn)
    }
    chosen = set(at_random.values())
    others = iter([pk for pk in wanted if pk not in chosen])
    for position in range(len(wanted)):
        is_random = position in at_random
        yield RoundPair(
            round=round,
            pair_id=at_random[position] if is_random else next(others),
            position=position,
            arm=RoundPair.Arm.RANDOM if is_random else RoundPair.Arm.PRIORITY,
            wanted=round.labels_per_pair,
            open=round.labels_per_pair,
        )


def _is_drawn(round: Round, pair_id: int) -> bool:
    return _hashed(round, pair_id) < round.random_share * HASHES


def _place(round: Round, number: int, drawn: int, total: int) -> int:
    """Where the random pair of this number stands: somewhere in its equal part of all places."""
    start, end = number * total // drawn, (number + 1) * total // drawn
    return start + _hashed(round, f"place {number}") % (end - start)


def _hashed(round: Round, what: object) -> int:
    digest = hashlib.sha256(f"round {round.pk}/{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _moved(round: Round, pair_ids: set[int]) -> list[RoundPair]:
    """The rows that have places left and stand elsewhere by now, in the order in which everybody
    locks them."""
    left = round.rows.filter(open__gt=0).order_by("pk").values_list("pair_id", "pk", "position")
    known = {pair_id: (pk, position) for pair_id, pk, position in left}
    rows = _in_order(round, pair_ids, again=True)
    moved = [row for row in rows if known.get(row.pair_id, (0, row.position))[1] != row.position]
    return sorted(moved, key=lambda row: known[row.pair_id][0])


# --- What is checked and counted ------------------------------------------------------------------


def _check_people(dataset: Dataset, people: Sequence[User], labels_per_pair: int) -> None:
    members = Membership.objects.filter(dataset=dataset, ended_at=None, user__in=people)
    known = set(members.values_list("user", flat=True))
    strangers = [person.shown_name for person in people if person.pk not in known]
    if strangers:
        raise Refusal(
            f"{', '.join(strangers)} cannot be asked: not, or no longer, in {dataset.name}."
        )
    if people and len(people) < labels_per_pair:
        raise Refusal(
            f"{labels_per_pair} labels a pair come from as many people, and the round names "
            f"{len(people)}: name more, or ask for fewer labels."
        )


def _check_can_label(pair: PreferencePair, people: Sequence[User], labels: int) -> None:
    """Raises a Refusal where the pair's labels would be awaited for ever."""
    able = set(who_can_label(pair).values_list("pk", flat=True))
    done = [person.shown_name for person in people if person.pk not in able]
    if done:
        raise Refusal(
            f"{', '.join(done)} cannot be asked: they have said something of this pair already, or "
            f"their login is closed."
        )
    if not able:
        raise Refusal("Nobody is left to ask: everybody here has said something of this pair.")
    if len(able) < labels:
        left = "person is" if len(able) == 1 else "people are"
        raise Refusal(f"Only {len(able)} {left} left who said nothing of this pair: ask for fewer.")


def _said(pair: Any, user: Any) -> QuerySet[Label]:
    """What holds of what the user said of the pair."""
    said = Label.objects.filter(pair=pair, annotator__user=user, successor__isnull=True)
    return said.exclude(preference=Judgement.WITHDRAWN)


def _once_each(people: Iterable[User]) -> list[User]:
    return list({person.pk: person for person in people}.values())


def _held(rounds: Iterable[int]) -> dict[tuple[int, str], int]:
    """How many labels of each round and arm are in annotators' hands."""
    held = Lease.objects.filter(state=Lease.State.OPEN, round_pair__round__in=rounds).order_by()
    counted = held.values_list("round_pair__round", "round_pair__arm").annotate(Count("pk"))
    return {(pk, arm): number for pk, arm, number in counted}


def _together(arms: Mapping[str, Given]) -> RoundProgress:
    names = ("pairs", "wanted", "given", "held")
    sums = {name: sum(getattr(arm, name) for arm in arms.values()) for name in names}
    return RoundProgress(**sums, by_arm=dict(arms))
