"""Pairs are put to annotators one at a time: never the same twice, never more than was asked for,
whoever comes at once."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from annotations import blind, labelling, leasing, rounds, tasks
from annotations.labelling import Answer
from annotations.models import (
    Annotator,
    Dataset,
    GoldPair,
    Label,
    Lease,
    Occasion,
    PairStanding,
    PreferencePair,
    RoundPair,
    Verdict,
)
from annotations.querysets import PEOPLE
from curator.lib.refusals import Forbidden, Refusal
from tests import factories


@pytest.fixture
def anna(dataset: Dataset) -> Annotator:
    return factories.annotator(dataset, "anna")


@pytest.fixture
def ben(dataset: Dataset) -> Annotator:
    return factories.annotator(dataset, "ben")


def gold(pair: PreferencePair, *, is_practice: bool = False) -> GoldPair:
    return GoldPair.objects.create(
        pair=pair, dataset=pair.dataset, preference="a", is_practice=is_practice
    )


def expire(lease: Lease) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Lease.objects.filter(pk=lease.pk).update(expires_at=past)


# --- One annotator --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_same_pair_is_held_until_it_is_answered(dataset: Dataset, anna: Annotator) -> None:
    factories.pairs(dataset, 2, labels=[])
    factories.opened_round(dataset)
    lease = factories.leased(anna)
    assert factories.leased(anna) == lease
    assert lease.expires_at - lease.opened_at == leasing.LEASE
    factories.voted(anna, lease)
    assert factories.leased(anna).pair != lease.pair


@pytest.mark.django_db
def test_nobody_is_asked_the_same_pair_twice(dataset: Dataset, anna: Annotator) -> None:
    """Not in another round either, nor for a second opinion, nor what they skipped."""
    found = factories.pairs(dataset, 5, labels=[])
    factories.opened_round(dataset, labels=3)
    factories.opened_round(dataset, labels=2)
    given = factories.labelled(anna, "a", "b", "tie", "skip", "both_bad")
    assert {label.pair for label in given} == set(found)
    assert leasing.next_lease(anna) is None
    assert "You have answered all" in leasing.nothing_left(anna)


@pytest.mark.django_db
def test_what_an_import_says_in_the_annotators_name_is_not_asked_again(
    dataset: Dataset, anna: Annotator
) -> None:
    found = factories.pairs(dataset, 2, labels=[])
    row = factories.opened_round(dataset)
    Label.objects.create(pair=found[0], annotator=anna, preference="a")
    assert [label.pair for label in factories.labelled(anna, "b")] == [found[1]]
    assert leasing.next_lease(anna) is None
    assert row.rows.get(pair=found[0]).open == 1


@pytest.mark.django_db
def test_asked_again_the_annotator_holds_the_pair_for_a_full_time(
    dataset: Dataset, anna: Annotator
) -> None:
    factories.pairs(dataset, 1, labels=[])
    factories.opened_round(dataset)
    lease = factories.leased(anna)
    later = lease.opened_at + timedelta(minutes=45)
    with time_machine.travel(later, tick=False):
        again = factories.leased(anna)
    assert again == lease
    assert again.expires_at == later + leasing.LEASE


@pytest.mark.django_db
def test_what_is_held_beyond_its_time_goes_to_somebody_else(
    dataset: Dataset, anna: Annotator, ben: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "is_quiet", lambda queue: False)
    factories.pairs(dataset, 1, labels=[])
    factories.opened_round(dataset)
    lease = factories.leased(anna)
    tasks.sweep()
    assert leasing.next_lease(ben) is None
    assert "comes back within half an hour" in leasing.nothing_left(ben)
    expire(lease)
    tasks.sweep()
    lease.refresh_from_db()
    assert lease.state == Lease.State.RELEASED
    assert factories.leased(ben).pair == lease.pair
    assert leasing.next_lease(anna) is None


@pytest.mark.django_db
@pytest.mark.parametrize("is_another_left", [True, False])
def test_what_the_sweep_takes_while_its_time_is_renewed_is_asked_anew(
    dataset: Dataset, anna: Annotator, monkeypatch: pytest.MonkeyPatch, is_another_left: bool
) -> None:
    """Nobody labels a pair that they do not hold."""
    factories.pairs(dataset, 1 + is_another_left, labels=[])
    factories.opened_round(dataset)
    lease = factories.leased(anna)
    expire(lease)

    def renew(lease: Lease) -> bool:
        monkeypatch.undo()
        leasing.release_expired()
        return leasing.renew(lease)

    monkeypatch.setattr(leasing, "renew", renew)
    again = factories.leased(anna)
    again.refresh_from_db()
    assert again.state == Lease.State.OPEN
    assert again.round_pair is not None
    assert again.round_pair.open == 0


@pytest.mark.django_db
def test_who_was_sent_away_is_asked_nothing(dataset: Dataset, anna: Annotator) -> None:
    factories.pairs(dataset, 1, labels=[])
    row = factories.opened_round(dataset)
    dataset.memberships.filter(user=anna.user).update(ended_at=timezone.now())
    with pytest.raises(Forbidden, match="no longer, a member"):
        leasing.next_lease(anna)
    assert row.rows.get().open == 1


@pytest.mark.django_db
def test_the_sweep_gives_back_so_many_at_once(dataset: Dataset) -> None:
    factories.pairs(dataset, 5, labels=[])
    row = factories.opened_round(dataset)
    held = [factories.leased(factories.annotator(dataset, name)) for name in "vwxyz"]
    for lease in held:
        expire(lease)
    assert leasing.release_expired(3) == 3
    assert leasing.release_expired(3) == 2
    assert leasing.release_expired(3) == 0
    assert set(row.rows.values_list("open", flat=True)) == {1}
    assert not leasing.release(held[0])


@pytest.mark.django_db
def test_a_dropped_pair_is_not_asked(dataset: Dataset, anna: Annotator) -> None:
    """Not even of who held it when it was dropped."""
    found = factories.pairs(dataset, 3, labels=[])
    row = factories.opened_round(dataset)
    lease = factories.leased(anna)
    left = next(pair for pair in found if pair != lease.pair)
    PairStanding.objects.exclude(pk=left.pk).update(verdict=Verdict.DROP)
    assert factories.leased(anna).pair == left
    assert row.rows.get(pair=lease.pair).open == 1


@pytest.mark.django_db
def test_named_people_are_asked_first_and_alone(
    dataset: Dataset, anna: Annotator, ben: Annotator
) -> None:
    factories.pairs(dataset, 4, labels=[])
    everybody = factories.opened_round(dataset)
    annas = factories.opened_round(dataset, annotators=[anna.user])
    asked = [factories.leased(who).round_pair for who in (anna, ben)]
    assert [one and one.round for one in asked] == [annas, everybody]


@pytest.mark.django_db
def test_rounds_are_labelled_by_age(dataset: Dataset, anna: Annotator) -> None:
    found = factories.pairs(dataset, 4, labels=[])
    first = factories.opened_round(dataset, flags=["unscored"])
    RoundPair.objects.filter(round=first, pair__in=found[1:]).delete()
    second = factories.opened_round(dataset)
    labels = factories.labelled(anna, "a", "a")
    asked = Lease.objects.filter(label__in=labels).order_by("answered_at")
    assert list(asked.values_list("round_pair__round", flat=True)) == [first.pk, second.pk]


@pytest.mark.django_db
def test_overlap_asks_several_people_the_same_pairs_first(dataset: Dataset) -> None:
    factories.pairs(dataset, 10, labels=[])
    row = factories.opened_round(dataset, labels=3)
    people = [factories.annotator(dataset, name) for name in ("anna", "ben", "cleo", "dan")]
    for person in people[:3]:
        factories.labelled(person, "a", "a", "b", "b")
    assert list(row.rows.order_by("position").values_list("open", flat=True)) == [0] * 4 + [3] * 6
    fifth = factories.leased(people[3]).round_pair
    assert fifth is not None
    assert fifth.position == 4


@pytest.mark.django_db
def test_what_was_left_behind_is_asked_at_the_end(
    dataset: Dataset, anna: Annotator, ben: Annotator
) -> None:
    """A search begins where the annotator last was, and then from the start."""
    factories.pairs(dataset, 6, labels=[])
    factories.opened_round(dataset)
    left = factories.leased(ben)
    factories.labelled(anna, "a", "a")
    leasing.release(left)
    given = factories.labelled(anna, "a", "a", "a", "a")
    assert given[-1].pair == left.pair
    assert leasing.next_lease(anna) is None


@pytest.mark.django_db
def test_without_a_round_nothing_is_asked(dataset: Dataset, anna: Annotator) -> None:
    factories.pairs(dataset, 2, labels=[])
    assert leasing.next_lease(anna) is None
    assert "a curator opens a round" in leasing.nothing_left(anna)


@pytest.mark.django_db
def test_pairs_can_be_labelled_while_a_round_fills(dataset: Dataset, anna: Annotator) -> None:
    found = factories.pairs(dataset, 3, labels=[])
    row = rounds.plan(dataset=dataset, name="filling", by=None)
    RoundPair.objects.create(round=row, pair=found[1], position=0, wanted=1, open=1)
    assert factories.leased(anna).pair == found[1]


# --- Practice, gold, repeated pairs ---------------------------------------------------------------


@pytest.mark.django_db
def test_practice_comes_before_work(dataset: Dataset, anna: Annotator, ben: Annotator) -> None:
    found = factories.pairs(dataset, 5, labels=[])
    gold(found[3], is_practice=True)
    retired = gold(found[4], is_practice=True)
    GoldPair.objects.filter(pk=retired.pk).update(retired_at=timezone.now())
    factories.opened_round(dataset)
    for person in (anna, ben):
        first, second = factories.labelled(person, "a", "a")
        assert (first.pair, first.occasion) == (found[3], Occasion.PRACTICE)
        assert second.occasion == Occasion.WORK
    assert not Lease.objects.filter(occasion=Occasion.PRACTICE, round_pair__isnull=False).exists()


@pytest.mark.django_db
def test_practice_chosen_later_is_for_those_who_come_later(
    dataset: Dataset, anna: Annotator, ben: Annotator
) -> None:
    """It interrupts nobody's work, nor does it begin again when an answer is taken back."""
    found = factories.pairs(dataset, 5, labels=[])
    factories.opened_round(dataset)
    factories.labelled(anna, "a")
    gold(found[4], is_practice=True)
    assert leasing.practice_left(anna) == 0
    assert factories.leased(anna).occasion == Occasion.WORK
    assert labelling.undo(anna).occasion == Occasion.WORK
    assert leasing.practice_left(anna) == 0
    assert factories.leased(ben).occasion == Occasion.PRACTICE


@pytest.mark.django_db
def test_practice_is_gone_through_before_work_also_when_some_is_added_meanwhile(
    dataset: Dataset, anna: Annotator
) -> None:
    found = factories.pairs(dataset, 5, labels=[])
    factories.opened_round(dataset)
    gold(found[3], is_practice=True)
    factories.labelled(anna, "a")
    gold(found[4], is_practice=True)
    assert [label.pair for label in factories.labelled(anna, "a")] == [found[4]]


@pytest.mark.django_db
def test_who_practised_on_a_pair_does_not_label_it(dataset: Dataset, anna: Annotator) -> None:
    """They have been told what is right."""
    found = factories.pairs(dataset, 2, labels=[])
    row = gold(found[0], is_practice=True)
    factories.labelled(anna, "a")
    GoldPair.objects.filter(pk=row.pk).update(retired_at=timezone.now())
    factories.opened_round(dataset)
    assert [label.pair for label in factories.labelled(anna, "a")] == [found[1]]
    assert leasing.next_lease(anna) is None


@pytest.mark.django_db
def test_gold_comes_once_in_so_many_answers_at_places_that_differ(dataset: Dataset) -> None:
    found = factories.pairs(dataset, 60, labels=[])
    dataset.gold_every = 5
    dataset.save()
    for pair in found[:12]:
        gold(pair)
    row = factories.opened_round(dataset, labels=3)
    RoundPair.objects.filter(round=row, pair__in=found[:12]).delete()
    places = []
    for name in ("anna", "ben", "cleo"):
        person = factories.annotator(dataset, name)
        labels = factories.labelled(person, *["a"] * 40)
        asked = [lease.is_gold for lease in Lease.objects.filter(label__in=labels).order_by("pk")]
        assert [sum(asked[start : start + 5]) for start in range(0, 40, 5)] == [1] * 8
        places.append([number % 5 for number, is_gold in enumerate(asked) if is_gold])
        golden = [label.pair for label in labels if label.pair in found[:12]]
        assert len(set(golden)) == len(golden) == 8
        assert {label.occasion for label in labels} == {Occasion.WORK}
    assert len({tuple(one) for one in places}) == 3
    assert len(set(places[0])) > 1


@pytest.mark.django_db
def test_gold_that_a_round_wants_too_takes_its_place_there(
    dataset: Dataset, anna: Annotator
) -> None:
    found = factories.pairs(dataset, 3, labels=[])
    dataset.gold_every = 1
    dataset.save()
    gold(found[2])
    row = factories.opened_round(dataset)
    lease = factories.leased(anna)
    assert (lease.pair, lease.is_gold) == (found[2], True)
    assert lease.round_pair == row.rows.get(pair=found[2])
    assert row.rows.get(pair=found[2]).open == 0
    factories.voted(anna, lease)
    assert len(factories.labelled(anna, "a", "a")) == 2


@pytest.mark.django_db
def test_pairs_come_again_after_ten_answers_and_only_once(
    dataset: Dataset, anna: Annotator
) -> None:
    found = factories.pairs(dataset, 40, labels=[])
    dataset.repeat_every = 4
    dataset.save()
    gold(found[0])
    factories.opened_round(dataset)
    labels = factories.labelled(anna, "skip", *["a"] * 45)
    order = [(label.pair_id, label.occasion) for label in labels]
    again = [pair_id for pair_id, occasion in order if occasion == Occasion.REPEAT]
    assert len(again) == len(set(again)) >= 6
    for pair_id in again:
        apart = order.index((pair_id, "repeat")) - order.index((pair_id, ""))
        assert apart > leasing.REPEATED_AFTER
    assert not {found[0].pk, labels[0].pair_id} & set(again)


# --- Many at once ---------------------------------------------------------------------------------


def at_once(acts: list[Callable[[], Any]]) -> list[Any]:
    """What each returns, all begun at the same moment, each on a connection of its own."""
    barrier = Barrier(len(acts))

    def begin(act: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [begun.result() for begun in [pool.submit(begin, act) for act in acts]]


def label_all(person: Annotator) -> int:
    """Label until nothing is left; how many pairs that were."""
    number = 0
    while (lease := leasing.next_lease(person)) is not None:
        choices = ("first", "second", "tie", "both_bad")
        factories.voted(person, lease, choices[number % 4])
        number += 1
    return number


def assert_in_order(dataset: Dataset) -> None:
    """What the counters say is what the rows say."""
    taking = Lease.objects.filter(annotator__dataset=dataset, round_pair__isnull=False)
    held = Counter(taking.filter(state="open").values_list("round_pair", flat=True))
    answered = taking.filter(state="answered").exclude(label__preference="skip")
    given = Counter(answered.values_list("round_pair", flat=True))
    for row in RoundPair.objects.filter(round__dataset=dataset):
        assert row.open == row.wanted - given[row.pk] - held[row.pk], row
        assert given[row.pk] <= row.wanted
    columns = [f"people_{name}" for name in PEOPLE]
    counted = list(dataset.standings.order_by("pk").values_list("pk", *columns))
    dataset.standings.count_voices()
    assert list(dataset.standings.order_by("pk").values_list("pk", *columns)) == counted
    said = Counter(
        Label.objects.filter(pair__dataset=dataset, annotator__user__isnull=False)
        .filter(successor__isnull=True)
        .exclude(preference="withdrawn")
        .values_list("annotator", "pair", "occasion")
    )
    assert not said or max(said.values()) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("labels", [1, 3])
def test_annotators_at_once_get_no_pair_twice_and_give_no_label_too_many(labels: int) -> None:
    dataset = factories.dataset("busy")
    factories.pairs(dataset, 20, labels=[])
    row = factories.opened_round(dataset, labels=labels)
    people = [factories.annotator(dataset, f"person-{number}") for number in range(6)]
    given = at_once([partial(label_all, person) for person in people])
    assert sum(given) == 20 * labels
    assert set(row.rows.values_list("open", flat=True)) == {0}
    assert Label.objects.filter(annotator__in=people).count() == 20 * labels
    assert_in_order(dataset)


@pytest.mark.django_db(transaction=True)
def test_the_last_places_are_all_given_out() -> None:
    """Who finds the last pair being taken by others waits for them, and is not sent away while it
    still has a place."""
    dataset = factories.dataset("busy")
    factories.pairs(dataset, 1, labels=[])
    factories.opened_round(dataset, labels=6)
    people = [factories.annotator(dataset, f"person-{number}") for number in range(6)]
    found = at_once([partial(leasing.next_lease, person) for person in people])
    assert all(found)
    assert RoundPair.objects.get().open == 0


@pytest.mark.django_db(transaction=True)
def test_two_tabs_hold_one_pair() -> None:
    dataset = factories.dataset("busy")
    factories.pairs(dataset, 5, labels=[])
    factories.opened_round(dataset)
    anna = factories.annotator(dataset, "anna")
    found = at_once([lambda: leasing.next_lease(anna)] * 4)
    assert len({lease.pk for lease in found}) == 1
    assert RoundPair.objects.filter(open=0).count() == 1


@pytest.mark.django_db(transaction=True)
def test_four_clicks_are_one_answer() -> None:
    dataset = factories.dataset("busy")
    factories.pairs(dataset, 2, labels=[])
    factories.opened_round(dataset, labels=2)
    anna = factories.annotator(dataset, "anna")
    lease = factories.leased(anna)
    seen = [Lease.objects.select_related("annotator__dataset", "pair").get() for _ in range(4)]
    assert seen[0] == lease
    found = at_once([partial(factories.voted, anna, one) for one in seen])
    assert len({label.pk for label in found}) == 1
    assert anna.labels.count() == 1
    assert_in_order(dataset)


@pytest.mark.django_db(transaction=True)
def test_a_person_who_comes_for_the_first_time_in_two_tabs_is_one_annotator() -> None:
    dataset = factories.dataset("busy")
    anna = factories.user("anna")
    found = at_once([lambda: leasing.annotator_for(anna, dataset)] * 4)
    assert len({one.pk for one in found}) == 1


@pytest.mark.django_db(transaction=True)
def test_undo_sweep_and_votes_at_once_keep_the_places_right() -> None:
    dataset = factories.dataset("busy")
    factories.pairs(dataset, 12, labels=[])
    factories.opened_round(dataset, labels=2)
    people = [factories.annotator(dataset, f"person-{number}") for number in range(4)]

    def work(person: Annotator) -> None:
        for step in range(12):
            lease = leasing.next_lease(person)
            if lease is not None:
                choice = "skip" if step % 5 == 4 else "first"
                may_be_refused(partial(factories.voted, person, lease, choice))
            if step % 3 == 2:
                may_be_refused(partial(labelling.undo, person))

    def may_be_refused(act: Callable[[], Any]) -> None:
        """Too late, nothing to take back, or somebody has the place of a skipped pair."""
        with suppress(Refusal):
            act()

    def sweep() -> None:
        for _ in range(12):
            past = timezone.now() - timedelta(seconds=1)
            Lease.objects.filter(state="open").update(expires_at=past)
            leasing.release_expired()
            dataset.standings.update(review_priority=F("pair_id") * 37 % 11)
            list(rounds.reorder(dataset))

    at_once([*(partial(work, person) for person in people), sweep])
    assert_in_order(dataset)


# --- Whatever happens -----------------------------------------------------------------------------


class Labelling(RuleBasedStateMachine):
    """Three annotators label two rounds of one dataset, with gold and repeated pairs, while pairs
    are dropped and time goes by."""

    people = st.integers(0, 2)

    @initialize(
        labels=st.integers(1, 2), gold_every=st.integers(0, 3), repeat_every=st.integers(0, 2)
    )
    def begin(self, labels: int, gold_every: int, repeat_every: int) -> None:
        mark = f"m{Dataset.objects.count()}"
        self.dataset = factories.dataset(mark)
        pairs = factories.pairs(self.dataset, 8, labels=[])
        self.dataset.gold_every, self.dataset.repeat_every = gold_every, repeat_every
        self.dataset.save()
        gold(pairs[0])
        gold(pairs[1], is_practice=True)
        curator = factories.user(f"curator-{mark}")
        self.dataset.memberships.create(user=curator, role="curator")
        names = (f"{name}-{mark}" for name in ("anna", "ben", "cleo"))
        self.annotators = [factories.annotator(self.dataset, name) for name in names]
        self.rounds = [
            factories.opened_round(self.dataset, labels=labels, random_share=0.3),
            factories.opened_round(self.dataset, annotators=[self.annotators[0].user]),
            rounds.second_opinion(pair=pairs[5], by=curator),
        ]
        self.seen: dict[int, tuple[Lease, int | None]] = {}

    @rule(who=people)
    def ask(self, who: int) -> None:
        lease = leasing.next_lease(self.annotators[who])
        if lease is None:
            assert leasing.nothing_left(self.annotators[who])
            return
        assert lease.pair.standing.verdict != Verdict.DROP
        assert lease.state == Lease.State.OPEN
        self.seen[who] = (lease, lease.label_id)

    @rule(who=people, choice=st.sampled_from(labelling.CHOICES))
    def answer(self, who: int, choice: str) -> None:
        """What they see may be old: answered in another tab, taken back, expired."""
        if who not in self.seen:
            self.ask(who)
        if who not in self.seen:
            return
        lease, based_on = self.seen[who]
        user = self.annotators[who].user
        assert user is not None
        before = Label.objects.count()
        try:
            outcome = labelling.vote(lease=lease, by=user, answer=Answer(choice), based_on=based_on)
        except Refusal:
            assert Label.objects.count() == before
            return
        label = Label.objects.get(pk=outcome.label.pk)
        assert label.preference == blind.preference_of(lease, choice)

    @rule(who=people)
    def take_back(self, who: int) -> None:
        try:
            lease = labelling.undo(self.annotators[who])
        except Refusal:
            return
        self.seen[who] = (lease, lease.label_id)

    @rule(who=people)
    def give_back(self, who: int) -> None:
        if who in self.seen:
            leasing.release(self.seen[who][0])

    @rule(kept=people)
    def time_goes_by(self, kept: int) -> None:
        held = Lease.objects.filter(state=Lease.State.OPEN, annotator__in=self.annotators)
        past = timezone.now() - timedelta(seconds=1)
        held.exclude(annotator=self.annotators[kept]).update(expires_at=past)
        leasing.release_expired()

    @rule(number=st.integers(0, 7))
    def drop(self, number: int) -> None:
        pair = self.dataset.pairs.order_by("pk")[number]
        PairStanding.objects.filter(pk=pair.pk).update(verdict=Verdict.DROP)

    @precondition(lambda self: len(self.seen) == 3)
    @rule(number=st.integers(0, 2))
    def close(self, number: int) -> None:
        rounds.close(self.rounds[number], by=None)

    @rule()
    def priorities_change(self) -> None:
        self.dataset.standings.update(review_priority=F("pair_id") * 37 % 11)
        list(rounds.reorder(self.dataset))

    @invariant()
    def everything_is_in_order(self) -> None:
        if not hasattr(self, "dataset"):
            return
        assert_in_order(self.dataset)
        leases = Lease.objects.filter(annotator__in=self.annotators).select_related("label")
        held = Counter(leases.filter(state="open").values_list("annotator", flat=True))
        assert not held or max(held.values()) == 1
        for lease in leases.filter(state=Lease.State.ANSWERED):
            assert lease.label is not None
            assert lease.label.preference != "withdrawn"
            assert not Label.objects.filter(supersedes=lease.label).exists()


class TestLabelling(HypothesisTestCase):
    def test_whatever_happens_places_and_counts_hold(self) -> None:
        run_state_machine_as_test(
            Labelling, settings=settings(max_examples=25, stateful_step_count=25)
        )
