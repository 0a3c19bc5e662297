"""A slice of a dataset is put to annotators: which pairs, in what order, how far it has come."""

import json
from collections import Counter
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotations import filters, labelling, leasing, rounds
from annotations.filters import Filter
from annotations.models import (
    Dataset,
    GoldPair,
    Lease,
    PairStanding,
    PreferencePair,
    Round,
    RoundPair,
    Verdict,
)
from curator.lib import work
from curator.lib.refusals import Forbidden, Refusal
from curator.models import User
from scoring import launch, shards, tasks
from tests import factories

pytestmark = pytest.mark.django_db

Pairs = list[PreferencePair]


def asking(**asked: Any) -> Filter:
    """A filter of the little that could be asked when rounds began."""
    return filters.from_stored(asked)


@pytest.fixture
def pairs(dataset: Dataset) -> Pairs:
    """Twelve pairs; the later ones are the more urgent, and the last two have no priority."""
    found = factories.pairs(dataset, 12)
    for number, pair in enumerate(found[:10]):
        PairStanding.objects.filter(pk=pair.pk).update(review_priority=number)
    return found


def in_order(row: Round) -> list[int]:
    return list(row.rows.order_by("position").values_list("pair_id", flat=True))


def drop(pair: PreferencePair) -> None:
    PairStanding.objects.filter(pk=pair.pk).update(verdict=Verdict.DROP)


# --- Filling --------------------------------------------------------------------------------------


def test_a_round_puts_the_most_urgent_pairs_first(dataset: Dataset, pairs: Pairs) -> None:
    row = factories.opened_round(dataset, labels=3)
    numbers = [*range(9, -1, -1), 10, 11]
    assert in_order(row) == [pairs[number].pk for number in numbers]
    assert row.pairs_count == 12
    assert set(row.rows.values_list("arm", "wanted", "open")) == {("priority", 3, 3)}


def test_the_random_arm_is_a_sample_spread_evenly(dataset: Dataset) -> None:
    """It comes at random places, whatever the priority, so that what is known of the labels in
    front holds for all."""
    found = factories.pairs(dataset, 400)
    for number, pair in enumerate(found):
        PairStanding.objects.filter(pk=pair.pk).update(review_priority=number)
    row = factories.opened_round(dataset, random_share=0.25)
    assert sorted(in_order(row)) == [pair.pk for pair in found]
    drawn = row.rows.filter(arm=RoundPair.Arm.RANDOM)
    count = drawn.count()
    assert 55 <= count <= 145
    fifths = Counter(position // 80 for position in drawn.values_list("position", flat=True))
    assert all(abs(fifths[fifth] - count / 5) <= 2 for fifth in range(5))
    urgent = drawn.filter(pair__standing__review_priority__gte=200).count()
    assert 0.2 < urgent / count < 0.8
    by_priority = row.rows.filter(arm=RoundPair.Arm.PRIORITY).order_by("position")
    asked = [
        priority or 0
        for priority in by_priority.values_list("pair__standing__review_priority", flat=True)
    ]
    assert asked == sorted(asked, reverse=True)


@pytest.mark.parametrize(("share", "arms"), [(0.0, {"priority"}), (1.0, {"random"})])
def test_the_random_arm_may_be_nothing_or_everything(
    dataset: Dataset, pairs: Pairs, share: float, arms: set[str]
) -> None:
    row = factories.opened_round(dataset, random_share=share)
    assert set(row.rows.values_list("arm", flat=True)) == arms
    assert sorted(in_order(row)) == [pair.pk for pair in pairs]


def test_dropped_and_practice_pairs_are_left_out(dataset: Dataset, pairs: Pairs) -> None:
    drop(pairs[0])
    for pair, is_practice in ((pairs[1], True), (pairs[2], False)):
        GoldPair.objects.create(pair=pair, dataset=dataset, preference="a", is_practice=is_practice)
    left_out = {pairs[0].pk, pairs[1].pk}
    assert set(in_order(factories.opened_round(dataset))) == {p.pk for p in pairs} - left_out


def test_filling_a_round_again_adds_what_is_new(dataset: Dataset, pairs: Pairs) -> None:
    row = factories.opened_round(dataset)
    anna = factories.annotator(dataset, "anna")
    held = factories.leased(anna)
    factories.imported(dataset, [factories.row(number) for number in range(20, 23)])
    launch.fill_again(row, by=None)
    tasks.fill_round(round_id=row.pk)
    row.refresh_from_db()
    assert (row.status, row.pairs_count, row.rows.count()) == ("done", 15, 15)
    assert held.round_pair is not None
    assert RoundPair.objects.get(pk=held.round_pair.pk).open == 0


def test_an_attempt_that_dies_is_taken_up_where_it_stands(
    dataset: Dataset, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "BATCH", 5)
    expected = in_order(factories.opened_round(dataset, random_share=0.3))
    row = launch.start_round(dataset=dataset, name="again", by=None, random_share=0.3)
    with monkeypatch.context() as broken:
        calls = iter([None, RuntimeError("the worker dies")])

        def renew(*args: Any, **changes: Any) -> None:
            error = next(calls)
            if error:
                raise error

        broken.setattr(work, "renew", renew)
        tasks.fill_round(round_id=row.pk)
    row.refresh_from_db()
    assert (row.status, row.rows.count()) == (Round.Status.QUEUED, 5)
    tasks.fill_round(round_id=row.pk)
    row.refresh_from_db()
    assert (row.status, row.pairs_count, row.problem) == (Round.Status.DONE, 12, "")
    assert sorted(in_order(row)) == sorted(expected)
    assert sorted(row.rows.values_list("position", flat=True)) == list(range(12))


def test_a_round_that_nobody_has_filled_is_rung_for(
    dataset: Dataset, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = launch.start_round(dataset=dataset, name="lost", by=None)
    Round.objects.update(queued_at=timezone.now() - timedelta(minutes=1))
    rung: list[tuple[str, dict[str, int]]] = []
    monkeypatch.setattr(tasks, "is_quiet", lambda queue: True)
    monkeypatch.setattr(tasks, "ring", lambda task, **names: rung.append((task, names)))
    monkeypatch.setattr(shards, "sweep", lambda: None)
    tasks.sweep()
    assert rung == [("scoring.tasks.fill_round", {"round_id": row.pk})]


# --- Which pairs ----------------------------------------------------------------------------------


@pytest.fixture
def flagged(dataset: Dataset, pairs: Pairs) -> Pairs:
    """The first two are flagged as flipped, the next two as ambiguous, all others as clear."""
    flags = ["flipped"] * 2 + ["ambiguous"] * 2 + ["clear"] * 7
    scores = {
        pair.pk: (number - 3.0, flag)
        for number, (pair, flag) in enumerate(zip(pairs, flags, strict=False))
    }
    factories.judged(dataset, scores)
    return pairs


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"flags": ["flipped"]}, {0, 1}),
        ({"flags": ["flipped", "ambiguous"]}, {0, 1, 2, 3}),
        ({"filters": asking(flags=["ambiguous"])}, {2, 3}),
        ({"filters": asking(strength_to=-2.0)}, {0, 1}),
        ({"filters": asking(strength_from=6.5)}, {10}),
        ({"flags": ["unscored"]}, {11}),
        ({"filters": asking(text="NUMBER 11")}, {11}),
        ({"filters": asking(status="undecided"), "flags": ["flipped"]}, {1}),
        ({"filters": asking(status="keep")}, {0}),
        ({}, set(range(12))),
    ],
)
def test_a_filter_chooses_the_pairs(
    dataset: Dataset, flagged: Pairs, asked: dict[str, Any], expected: set[int]
) -> None:
    PairStanding.objects.filter(pk=flagged[0].pk).update(verdict=Verdict.KEEP)
    row = factories.opened_round(dataset, **asked)
    assert {flagged.index(pair) for pair in flagged if pair.pk in in_order(row)} == expected


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"flags": ["wrong"]}, "“flag” is never “wrong”"),
        ({"filters": asking(status="drop")}, "dropped are put to nobody"),
        ({"name": " "}, "Give the round a name"),
        ({"name": "x" * 121}, "Give the round a name of at most 120 characters"),
        ({"labels": 0}, "A round wants 1 to 100 labels a pair, not 0"),
        ({"labels": 101}, "not 101"),
        ({"random_share": 1.5}, "from 0 to 1, not 1.5"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    dataset: Dataset, flagged: Pairs, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Refusal, match=sentence):
        factories.opened_round(dataset, **asked)
    assert not Round.objects.exists()


def test_flags_cannot_be_asked_for_before_there_are_any(dataset: Dataset, pairs: Pairs) -> None:
    for asked in ({"flags": ["flipped"]}, {"filters": asking(strength_to=0.0)}):
        with pytest.raises(Refusal, match="is not scored yet"):
            launch.start_round(dataset=dataset, name="round", by=None, **asked)


def test_an_empty_dataset_has_nothing_to_label(dataset: Dataset) -> None:
    with pytest.raises(Refusal, match="holds no pairs yet"):
        launch.start_round(dataset=dataset, name="round", by=None)


def test_a_filter_that_finds_nothing_says_so(dataset: Dataset, flagged: Pairs) -> None:
    row = launch.start_round(dataset=dataset, name="none", by=None, flags=["strong"])
    tasks.fill_round(round_id=row.pk)
    row.refresh_from_db()
    assert row.status == Round.Status.FAILED
    assert "No pair passes" in row.problem


def test_only_members_are_named_and_enough_of_them(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    stranger, anna = factories.user("stranger"), factories.annotator(dataset, "anna")
    with pytest.raises(Refusal, match="stranger cannot be asked"):
        factories.opened_round(dataset, annotators=[casey, stranger])
    with pytest.raises(Refusal, match="the round names 2"):
        factories.opened_round(dataset, labels=3, annotators=[casey, anna.user, casey])
    row = factories.opened_round(dataset, labels=2, annotators=[casey, anna.user])
    assert set(row.annotators.all()) == {casey, anna.user}
    dataset.memberships.filter(user=anna.user).update(ended_at=timezone.now())
    with pytest.raises(Refusal, match="anna cannot be asked"):
        factories.opened_round(dataset, annotators=[anna.user])


def test_only_curators_open_and_close_rounds(dataset: Dataset, pairs: Pairs, casey: User) -> None:
    anna = factories.annotator(dataset, "anna").user
    assert anna is not None
    row = launch.start_round(dataset=dataset, name="casey's", by=casey)
    with pytest.raises(Forbidden):
        launch.start_round(dataset=dataset, name="anna's", by=anna)
    with pytest.raises(Forbidden):
        rounds.close(row, by=anna)
    with pytest.raises(Forbidden):
        launch.fill_again(row, by=anna)
    with pytest.raises(Forbidden):
        rounds.second_opinion(pair=pairs[0], by=anna)


def test_a_round_is_opened_on_the_command_line(dataset: Dataset, flagged: Pairs) -> None:
    factories.annotator(dataset, "anna")
    out = StringIO()
    slice_of = ["--name", "slice", "--flag", "flipped", "--flag", "clear"]
    people = ["--labels", "1", "--annotators", "anna,casey"]
    call_command("open_round", "pairs", *slice_of, *people, "--detach", "--json", stdout=out)
    found = json.loads(out.getvalue())
    row = Round.objects.get(pk=found["round"])
    tasks.fill_round(round_id=row.pk)
    assert row.rows.count() == 9
    assert found["pairs"] == 0
    with pytest.raises(CommandError, match="There is no user 'nobody'"):
        call_command("open_round", "pairs", "--name", "slice", "--annotators", "nobody")


# --- Second opinions ------------------------------------------------------------------------------


def test_a_second_opinion_comes_before_other_rounds(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    factories.opened_round(dataset)
    anna, ben = (factories.annotator(dataset, name) for name in ("anna", "ben"))
    row = rounds.second_opinion(pair=pairs[4], by=casey)
    assert (row.status, row.pairs_count) == (Round.Status.DONE, 1)
    assert factories.leased(anna).pair == pairs[4]
    assert factories.leased(ben).pair == pairs[9]


def test_a_second_opinion_asked_for_twice_is_one(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    anna = factories.annotator(dataset, "anna")
    first = rounds.second_opinion(pair=pairs[0], by=casey)
    assert rounds.second_opinion(pair=pairs[0], by=casey) == first
    assert anna.user is not None
    named = rounds.second_opinion(pair=pairs[0], by=casey, annotators=[anna.user])
    assert named != first
    factories.labelled(anna, "a")
    third = rounds.second_opinion(pair=pairs[0], by=casey)
    assert third != first or first.rows.get().open


def test_a_second_opinion_closes_with_its_last_answer_and_opens_again_with_an_undo(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    anna, ben = (factories.annotator(dataset, name) for name in ("anna", "ben"))
    row = rounds.second_opinion(pair=pairs[0], by=casey, labels=2)
    held = factories.leased(anna)
    factories.labelled(ben, "a")
    still_open = Round.objects.filter(pk=row.pk, closed_at=None)
    assert still_open.exists()
    factories.voted(anna, held)
    assert not still_open.exists()
    labelling.undo(ben)
    assert still_open.exists()
    factories.labelled(ben, "skip")
    assert still_open.get().rows.get().open == 1


def test_a_round_of_one_pair_does_not_close_by_itself(dataset: Dataset) -> None:
    """More pairs may be added to it."""
    factories.pairs(dataset, 1)
    row = factories.opened_round(dataset)
    factories.labelled(factories.annotator(dataset, "anna"), "a")
    row.refresh_from_db()
    assert row.closed_at is None


def test_a_second_opinion_that_a_curator_closed_stays_closed(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    anna = factories.annotator(dataset, "anna")
    row = rounds.second_opinion(pair=pairs[0], by=casey)
    held = factories.leased(anna)
    rounds.close(row, by=casey)
    factories.voted(anna, held)
    labelling.undo(anna)
    row.refresh_from_db()
    assert row.closed_at is not None


def test_a_second_opinion_goes_to_somebody_who_has_not_labelled_the_pair(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    factories.opened_round(dataset)
    anna, ben = (factories.annotator(dataset, name) for name in ("anna", "ben"))
    said = factories.labelled(anna, "a")[0]
    rounds.second_opinion(pair=said.pair, by=casey)
    assert factories.leased(anna).pair != said.pair
    assert factories.leased(ben).pair == said.pair


@pytest.mark.parametrize("choice", ["a", "skip"])
def test_who_has_said_something_of_the_pair_is_not_asked_again(
    dataset: Dataset, pairs: Pairs, casey: User, choice: str
) -> None:
    factories.opened_round(dataset)
    anna = factories.annotator(dataset, "anna")
    assert anna.user is not None
    pair = factories.labelled(anna, choice)[0].pair
    with pytest.raises(Refusal, match="anna cannot be asked: they have said something"):
        rounds.second_opinion(pair=pair, by=casey, annotators=[anna.user])
    assert list(rounds.who_can_label(pair)) == [casey]
    factories.said(factories.annotator(dataset, "casey"), pair, "b")
    with pytest.raises(Refusal, match="Nobody is left to ask"):
        rounds.second_opinion(pair=pair, by=casey)
    labelling.undo(anna)
    rounds.second_opinion(pair=pair, by=casey)
    with pytest.raises(Refusal, match="Only 1 person is left"):
        rounds.second_opinion(pair=pair, by=casey, labels=2)


def test_a_second_opinion_in_somebodys_hands_is_not_asked_for_again(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    first = rounds.second_opinion(pair=pairs[0], by=casey)
    factories.leased(factories.annotator(dataset, "anna"))
    assert rounds.second_opinion(pair=pairs[0], by=casey) == first


def test_a_dropped_pair_gets_no_second_opinion(dataset: Dataset, pairs: Pairs, casey: User) -> None:
    drop(pairs[0])
    pairs[0].refresh_from_db()
    with pytest.raises(Refusal, match="was dropped"):
        rounds.second_opinion(pair=pairs[0], by=casey)


# --- Closing, order and progress ------------------------------------------------------------------


def test_a_closed_round_asks_no_more_but_takes_what_is_held(
    dataset: Dataset, pairs: Pairs, casey: User
) -> None:
    row = factories.opened_round(dataset)
    anna, ben = (factories.annotator(dataset, name) for name in ("anna", "ben"))
    held = factories.leased(anna)
    rounds.close(row, by=casey)
    rounds.close(row, by=casey)
    assert row.closed_at is not None
    assert leasing.next_lease(ben) is None
    assert "Nothing is put to you" in leasing.nothing_left(ben)
    assert factories.leased(anna) == held
    factories.voted(anna, held)
    assert leasing.next_lease(anna) is None


def test_closing_a_round_stops_its_filling(dataset: Dataset, pairs: Pairs) -> None:
    row = launch.start_round(dataset=dataset, name="round", by=None)
    rounds.close(row, by=None)
    tasks.fill_round(round_id=row.pk)
    assert not row.rows.exists()
    with pytest.raises(Refusal, match="Only an open round"):
        launch.fill_again(row, by=None)


def test_an_open_round_follows_new_priorities(dataset: Dataset, pairs: Pairs) -> None:
    row = factories.opened_round(dataset, random_share=0.3, labels=2)
    closed = factories.opened_round(dataset)
    rounds.close(closed, by=None)
    before = in_order(closed)
    at_random = dict(row.rows.filter(arm="random").values_list("position", "pair_id"))
    assert at_random
    for number, pair in enumerate(pairs):
        PairStanding.objects.filter(pk=pair.pk).update(review_priority=-number)
    list(rounds.reorder(dataset))
    assert dict(row.rows.filter(arm="random").values_list("position", "pair_id")) == at_random
    others = row.rows.filter(arm="priority").order_by("position")
    asked = list(others.values_list("pair_id", flat=True))
    assert asked == sorted(asked)
    assert in_order(closed) == before
    assert list(rounds.reorder(dataset)) == []


def test_a_scoring_run_that_ends_orders_the_open_rounds(
    dataset: Dataset, tiny_backbone: str
) -> None:
    rows = [factories.row(number, label="b" if number % 5 == 0 else "a") for number in range(24)]
    factories.imported(dataset, rows)
    row = factories.opened_round(dataset)
    before = in_order(row)
    factories.scored(factories.trained(dataset, tiny_backbone))
    queued = dataset.pairs.order_by("-standing__review_priority", "pk").values_list("pk", flat=True)
    assert in_order(row) == list(queued) != before


def test_progress_counts_what_is_given_and_held(dataset: Dataset, pairs: Pairs) -> None:
    row = factories.opened_round(dataset, labels=2, random_share=0.5)
    anna, ben = (factories.annotator(dataset, name) for name in ("anna", "ben"))
    factories.labelled(anna, "a", "b", "skip", "tie")
    factories.labelled(ben, "a")
    factories.leased(ben)
    found = rounds.progress([row])[row.pk]
    assert (found.pairs, found.wanted, found.given, found.held) == (12, 24, 4, 1)
    assert found.share == 4 / 24
    assert sum(arm.given for arm in found.by_arm.values()) == 4
    for arm, told in found.by_arm.items():
        answered = Lease.objects.filter(round_pair__arm=arm, state="answered")
        assert told.given == answered.exclude(label__preference="skip").count()
        assert told.pairs == row.rows.filter(arm=arm).count()


def test_progress_of_more_rounds_takes_no_more_queries(dataset: Dataset, pairs: Pairs) -> None:
    first = factories.opened_round(dataset)
    with CaptureQueriesContext(connection) as few:
        rounds.progress([first])
    more = [first, *(factories.opened_round(dataset) for _ in range(4))]
    with CaptureQueriesContext(connection) as many:
        found = rounds.progress(more)
    assert len(found) == 5
    assert len(many) == len(few)
    unfilled = launch.start_round(dataset=dataset, name="unfilled", by=None)
    assert rounds.progress([unfilled])[unfilled.pk].share == 0
