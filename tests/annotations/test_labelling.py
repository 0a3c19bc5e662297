"""Answers are kept once, whatever happens: twice, too late, taken back, or about a dropped pair."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotations import labelling, leasing, permissions, rounds
from annotations.labelling import Answer, NotAnAnswer, PlaceGone
from annotations.models import (
    Annotator,
    Dataset,
    GoldPair,
    Label,
    Lease,
    Occasion,
    PairStanding,
    PreferencePair,
    Verdict,
)
from annotations.querysets import PEOPLE
from curator.lib.refusals import Conflict, Forbidden, Refusal
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    found = factories.pairs(dataset, 15, labels=[])
    factories.opened_round(dataset)
    return found


@pytest.fixture
def anna(dataset: Dataset, pairs: list[PreferencePair]) -> Annotator:
    return factories.annotator(dataset, "anna")


@pytest.fixture
def ben(dataset: Dataset, pairs: list[PreferencePair]) -> Annotator:
    return factories.annotator(dataset, "ben")


def vote(
    by: Annotator, lease: Lease, answer: Answer | str = "first", based_on: int | None = None
) -> labelling.Outcome:
    assert by.user is not None
    given = Answer(answer) if isinstance(answer, str) else answer
    return labelling.vote(lease=lease, by=by.user, answer=given, based_on=based_on)


def reread(lease: Lease) -> Lease:
    return Lease.objects.select_related("annotator__dataset", "pair", "label").get(pk=lease.pk)


def open_places(lease: Lease) -> int:
    row = reread(lease).round_pair
    assert row is not None
    return row.open


def expire(lease: Lease) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Lease.objects.filter(pk=lease.pk).update(expires_at=past)


def said_of(pair: PreferencePair) -> dict[str, int]:
    pair.refresh_from_db()
    return {name: getattr(pair.standing, f"people_{name}") for name in PEOPLE}


def assert_counts_hold(dataset: Dataset) -> None:
    """What is counted up and down is what the labels say."""
    columns = [f"people_{name}" for name in PEOPLE]
    before = list(dataset.standings.order_by("pk").values_list("pk", *columns))
    dataset.standings.count_voices()
    assert list(dataset.standings.order_by("pk").values_list("pk", *columns)) == before


# --- An answer ------------------------------------------------------------------------------------


def test_an_answer_is_a_label_with_everything_that_was_said(
    dataset: Dataset, anna: Annotator
) -> None:
    dataset.aspects = ["helpful"]
    dataset.save()
    lease = factories.leased(anna)
    spans = [{"side": "first", "start": 0, "end": 2, "mark": "good"}]
    answer = Answer(
        "first",
        strength=3,
        aspects={"helpful": "second"},
        rationale="  Clear.\n",
        spans=spans,
        seconds=12.5,
    )
    label = vote(anna, lease, answer).label
    first, second = lease.shown_first, "b" if lease.shown_first == "a" else "a"
    assert (label.preference, label.shown_first, label.strength) == (first, first, 3)
    assert (label.aspects, label.rationale) == ({"helpful": second}, "Clear.")
    assert label.spans == [{"response": first, "start": 0, "end": 2, "mark": "good"}]
    assert (label.seconds, label.occasion, label.supersedes) == (12.5, Occasion.WORK, None)
    answered = reread(lease)
    assert (answered.state, answered.label, answered.draft) == ("answered", label, {})
    assert answered.answered_at is not None
    assert said_of(lease.pair)[label.preference] == 1
    assert_counts_hold(dataset)


@pytest.mark.parametrize("choice", ["tie", "both_bad"])
def test_what_prefers_neither_has_no_strength(anna: Annotator, choice: str) -> None:
    label = vote(anna, factories.leased(anna), Answer(choice, strength=2)).label
    assert (label.preference, label.strength) == (choice, None)
    assert said_of(label.pair)[choice] == 1


def test_a_skipped_pair_goes_to_somebody_else(anna: Annotator, ben: Annotator) -> None:
    lease = factories.leased(anna)
    label = vote(anna, lease, Answer("skip", skip_reason="language", strength=1)).label
    assert (label.preference, label.skip_reason, label.strength) == ("skip", "language", None)
    assert set(said_of(lease.pair).values()) == {0}
    assert factories.leased(anna).pair != lease.pair
    assert factories.leased(ben).pair == lease.pair


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer("better"), "Choose one of the responses"),
        (Answer("withdrawn"), "Choose one of the responses"),
        (Answer("a"), "Choose one of the responses"),
        (Answer("first", strength=4), "1 slightly, 2 clearly or 3 much"),
        (Answer("first", strength=0), "1 slightly"),
        (Answer("first", strength=True), "1 slightly"),
        (Answer("first", aspects={"charming": "first"}), "“charming” is no aspect"),
        (Answer("skip", aspects={"charming": "first"}), "it has: helpful"),
        (Answer("first", aspects={"helpful": "both_bad"}), "For helpful, choose"),
        (Answer("first", rationale="x" * 20_001), "has 20,001 characters"),
        (Answer("first", rationale="x" * 1_000_000), "at most 20,000"),
        (Answer("skip", skip_reason="bored"), "Choose one of the reasons"),
        (Answer("first", spans=[{"side": "first"}]), "A mark stands on one"),
        (Answer("first", spans=[{"side": "a", "start": 0, "end": 1, "mark": "bad"}]), "A mark"),
        (
            Answer("first", spans=[{"side": "first", "start": 2, "end": 2, "mark": "bad"}]),
            "outside its response",
        ),
        (
            Answer("first", spans=[{"side": "second", "start": -1, "end": 2, "mark": "bad"}]),
            "outside its response",
        ),
        (
            Answer("first", spans=[{"side": "second", "start": 0, "end": 9_999, "mark": "bad"}]),
            "outside its response",
        ),
        (
            Answer("first", spans=[{"side": "second", "start": "0", "end": 1, "mark": "bad"}]),
            "outside its response",
        ),
        (
            Answer("first", spans=[{"side": "first", "start": 0, "end": 1, "mark": "bad"}] * 201),
            "At most 200 marks",
        ),
    ],
)
def test_an_answer_that_makes_no_sense_is_told_so(
    dataset: Dataset, anna: Annotator, answer: Answer, sentence: str
) -> None:
    dataset.aspects = ["helpful"]
    dataset.save()
    lease = factories.leased(anna)
    lease.annotator.dataset.aspects = ["helpful"]
    with pytest.raises(NotAnAnswer, match=sentence) as refused:
        vote(anna, lease, answer)
    assert refused.value.status == 422
    assert not Label.objects.filter(annotator=anna).exists()
    assert factories.leased(anna) == lease
    assert vote(anna, reread(lease)).note == ""


def test_a_required_rationale_is_asked_for(dataset: Dataset, anna: Annotator) -> None:
    dataset.requires_rationale = True
    dataset.save()
    lease = factories.leased(anna)
    with pytest.raises(NotAnAnswer, match="Say in a sentence why"):
        vote(anna, reread(lease), Answer("tie", rationale=" \n\x00"))
    assert vote(anna, reread(lease), Answer("tie", rationale="Alike.")).label.rationale == "Alike."
    vote(anna, reread(factories.leased(anna)), Answer("skip"))


def test_a_rationale_may_hold_any_text(anna: Annotator) -> None:
    text = "<script>alert(1)</script> \u202egnol \ud800 \x00 — 長い"
    label = vote(anna, factories.leased(anna), Answer("first", rationale=text)).label
    label.refresh_from_db()
    assert label.rationale == "<script>alert(1)</script> \u202egnol ?  — 長い"
    longest = "長" * 20_000
    label = vote(anna, factories.leased(anna), Answer("first", rationale=longest)).label
    assert label.rationale == longest


@pytest.mark.parametrize(
    ("given", "kept"),
    [(float("nan"), None), (-3.0, None), (float("inf"), None), (1e9, 86_400.0), (0, 0.0)],
)
def test_time_that_was_measured_wrongly_loses_no_answer(
    anna: Annotator, given: float, kept: float | None
) -> None:
    assert vote(anna, factories.leased(anna), Answer("tie", seconds=given)).label.seconds == kept


# --- Who answers ----------------------------------------------------------------------------------


def test_nobody_answers_for_somebody_else(anna: Annotator, ben: Annotator) -> None:
    lease = factories.leased(anna)
    with pytest.raises(Forbidden, match="somebody else"):
        vote(ben, lease)
    assert not Label.objects.filter(pair=lease.pair, annotator__in=[anna, ben]).exists()


def test_who_was_deactivated_is_told_that_nothing_was_kept(anna: Annotator) -> None:
    lease = factories.leased(anna)
    anna.dataset.memberships.filter(user=anna.user).update(ended_at=timezone.now())
    with pytest.raises(Forbidden, match="no longer, a member of Pairs, so this was not kept"):
        vote(anna, lease)
    assert not Label.objects.filter(annotator=anna).exists()
    assert not permissions.can_label(lease.annotator.user, anna.dataset)  # type: ignore[arg-type]


def test_an_imported_annotator_of_the_same_name_is_somebody_else(dataset: Dataset) -> None:
    """A file that names an anna does not say which."""
    factories.pairs(dataset, 1)
    factories.opened_round(dataset)
    imported = Annotator.objects.get(name="anna", kind="human")
    anna = factories.annotator(dataset, "anna")
    assert (anna.name, anna.user_id is None) == ("anna (2)", False)
    assert factories.annotator(dataset, "anna") == anna != imported
    factories.labelled(anna, "b")
    assert anna.labels.count() == imported.labels.count() == 1
    assert said_of(dataset.pairs.get())["b"] == 1


# --- Twice ----------------------------------------------------------------------------------------


def test_a_double_click_is_one_answer(dataset: Dataset, anna: Annotator) -> None:
    lease = factories.leased(anna)
    stale = reread(lease)
    first = vote(anna, lease, Answer("first", strength=2, seconds=3.0))
    second = vote(anna, stale, Answer("first", strength=2, seconds=3.4))
    assert second.label == first.label
    assert (first.note, second.note) == ("", labelling.SENT_TWICE)
    assert anna.labels.count() == 1
    assert_counts_hold(dataset)


@pytest.mark.parametrize("other", [Answer("second"), Answer("first", rationale="Well.")])
def test_a_second_tab_that_answers_otherwise_is_told(
    dataset: Dataset, anna: Annotator, other: Answer
) -> None:
    """So is the page that the back button brings again."""
    lease = factories.leased(anna)
    tab = reread(factories.leased(anna))
    assert tab == lease
    kept = vote(anna, lease).label
    with pytest.raises(Conflict, match="You have answered this pair already"):
        vote(anna, tab, other)
    assert list(anna.labels.all()) == [kept]
    assert reread(lease).draft == {}
    assert_counts_hold(dataset)


def test_an_answer_that_was_taken_back_does_not_come_again_by_itself(anna: Annotator) -> None:
    """The second click of a double click may arrive after the undo."""
    lease = factories.leased(anna)
    late = reread(lease)
    vote(anna, lease)
    labelling.undo(anna)
    with pytest.raises(Conflict, match="took an answer to this pair back"):
        vote(anna, late)
    assert factories.leased(anna) == lease


# --- Too late -------------------------------------------------------------------------------------


def test_an_answer_after_its_time_counts_while_nobody_else_took_the_place(
    dataset: Dataset, anna: Annotator
) -> None:
    lease = factories.leased(anna)
    expire(lease)
    assert vote(anna, lease).note == ""  # nobody had noticed
    lease = factories.leased(anna)
    expire(lease)
    assert leasing.release_expired() == 1
    outcome = vote(anna, lease)
    assert outcome.note == labelling.CAME_LATE
    assert open_places(lease) == 0
    assert_counts_hold(dataset)


def test_an_answer_whose_place_is_gone_stays_as_a_draft(
    dataset: Dataset, anna: Annotator, ben: Annotator
) -> None:
    lease = factories.leased(anna)
    expire(lease)
    leasing.release_expired()
    assert factories.leased(ben).pair == lease.pair
    with pytest.raises(PlaceGone, match="what you entered is there"):
        vote(anna, lease, Answer("tie", rationale="All that work"))
    assert not anna.labels.exists()
    assert reread(lease).draft["rationale"] == "All that work"
    assert open_places(lease) == 0
    leasing.release(factories.leased(ben))
    again = factories.leased(anna)
    assert (again.pk, again.draft["choice"]) == (lease.pk, "tie")
    assert vote(anna, again, Answer("tie", rationale="All that work")).note == ""
    assert_counts_hold(dataset)


def test_a_late_skip_takes_no_place(anna: Annotator, ben: Annotator) -> None:
    lease = factories.leased(anna)
    expire(lease)
    leasing.release_expired()
    vote(anna, lease, Answer("skip"))
    assert open_places(lease) == 1
    factories.leased(ben)
    assert open_places(lease) == 0


def test_while_a_late_answer_is_sent_the_annotator_may_hold_another_pair(anna: Annotator) -> None:
    lease = factories.leased(anna)
    expire(lease)
    leasing.release_expired()
    PairStanding.objects.filter(pk=lease.pair_id).update(verdict=Verdict.DROP)
    other = factories.leased(anna)
    assert other.pair != lease.pair
    assert vote(anna, lease).note == labelling.DROPPED
    assert factories.leased(anna) == other


def test_a_pair_that_was_dropped_meanwhile_keeps_its_label(
    dataset: Dataset, anna: Annotator
) -> None:
    lease = factories.leased(anna)
    PairStanding.objects.filter(pk=lease.pair_id).update(verdict=Verdict.DROP)
    outcome = vote(anna, lease)
    assert outcome.note == labelling.DROPPED
    assert anna.labels.get() == outcome.label
    with pytest.raises(Refusal, match="was dropped, so there is nothing to change"):
        labelling.undo(anna)
    assert_counts_hold(dataset)


# --- Undo -----------------------------------------------------------------------------------------


def test_an_answer_is_taken_back_and_given_anew(dataset: Dataset, anna: Annotator) -> None:
    lease = factories.leased(anna)
    label = vote(anna, lease, Answer("first", strength=1, rationale="Hm.")).label
    held = factories.leased(anna)
    back = labelling.undo(anna)
    assert (back, back.state) == (lease, "open")
    assert (back.draft["choice"], back.draft["rationale"]) == ("first", "Hm.")
    withdrawn = back.label
    assert withdrawn is not None
    assert (withdrawn.preference, withdrawn.supersedes) == ("withdrawn", label)
    assert set(said_of(lease.pair).values()) == {0}
    assert (reread(held).state, open_places(held)) == ("released", 1)
    assert factories.leased(anna) == lease
    second = vote(anna, back, Answer("second"), based_on=withdrawn.pk).label
    assert second.supersedes == withdrawn
    assert Label.objects.current().filter(annotator=anna).get() == second
    assert factories.leased(anna) == held
    assert_counts_hold(dataset)


def test_the_last_ten_answers_can_be_taken_back(dataset: Dataset, anna: Annotator) -> None:
    given = factories.labelled(anna, *["a"] * 12)
    for label in reversed(given[2:]):
        assert labelling.undo(anna).pair == label.pair
    with pytest.raises(Refusal, match="Only your last 10 answers"):
        labelling.undo(anna)
    assert Label.objects.current().filter(annotator=anna).count() == 2
    assert anna.leases.filter(state="open").count() == 1
    assert_counts_hold(dataset)
    assert len(factories.labelled(anna, *["b"] * 13)) == 13
    assert leasing.next_lease(anna) is None
    assert_counts_hold(dataset)


def test_an_undo_takes_back_what_the_annotator_said_last_in_whatever_way(
    anna: Annotator, dataset: Dataset
) -> None:
    """Labels may have come otherwise than by an answer here."""
    label = factories.labelled(anna, "first")[0]
    other = "b" if label.preference == "a" else "a"
    later = Label.objects.create(
        pair=label.pair, annotator=anna, preference=other, supersedes=label
    )
    dataset.standings.count_voices()
    labelling.undo(anna)
    assert Label.objects.get(preference="withdrawn").supersedes == later
    assert_counts_hold(dataset)


def test_who_answers_beside_another_label_of_theirs_is_told(
    anna: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = factories.leased(anna)
    monkeypatch.setattr(labelling, "_chain", lambda _lease: Label.objects.none())
    Label.objects.create(pair=lease.pair, annotator=anna, preference="a")
    with pytest.raises(Conflict, match="changed at the same moment"):
        vote(anna, lease)


def test_where_nothing_was_answered_there_is_nothing_to_undo(anna: Annotator) -> None:
    for _ in range(2):
        with pytest.raises(Refusal, match="There is nothing to undo"):
            labelling.undo(anna)
        factories.leased(anna)
    factories.labelled(anna, "a")
    labelling.undo(anna)
    with pytest.raises(Refusal, match="There is nothing to undo"):
        labelling.undo(anna)


def test_a_skip_is_taken_back_while_nobody_has_the_pair(
    dataset: Dataset, anna: Annotator, ben: Annotator
) -> None:
    skipped = factories.labelled(anna, "skip")[0]
    back = labelling.undo(anna)
    assert (back.pair, open_places(back)) == (skipped.pair, 0)
    vote(anna, back, "skip", based_on=back.label_id)
    assert factories.leased(ben).pair == skipped.pair
    with pytest.raises(Conflict, match="it stays skipped"):
        labelling.undo(anna)
    assert reread(back).state == "answered"
    assert_counts_hold(dataset)


def test_what_was_learnt_from_practice_is_not_taken_back(dataset: Dataset) -> None:
    pair = factories.pairs(dataset, 1, labels=[])[0]
    GoldPair.objects.create(pair=pair, dataset=dataset, preference="a", is_practice=True)
    anna = factories.annotator(dataset, "anna")
    label = factories.labelled(anna, "b")[0]
    assert label.occasion == Occasion.PRACTICE
    assert set(said_of(pair).values()) == {0}
    with pytest.raises(Refusal, match="you have seen what is right"):
        labelling.undo(anna)


def test_an_undo_steps_over_practice(dataset: Dataset, anna: Annotator) -> None:
    """However many practice answers were given since."""
    practised = factories.pairs(dataset, 12, labels=[])
    given = factories.labelled(anna, "a")[0]
    now = timezone.now()
    for pair in practised:
        practice = Label.objects.create(
            pair=pair, annotator=anna, occasion=Occasion.PRACTICE, preference="a", shown_first="a"
        )
        Lease.objects.create(
            pair=pair,
            annotator=anna,
            occasion=Occasion.PRACTICE,
            shown_first="a",
            state=Lease.State.ANSWERED,
            label=practice,
            answered_at=now,
            expires_at=now,
        )
    back = labelling.undo(anna)
    assert back.pair == given.pair


def test_repeated_pairs_do_not_count_twice(dataset: Dataset, anna: Annotator) -> None:
    dataset.repeat_every = 1
    dataset.save()
    given = factories.labelled(anna, *["a"] * 14)
    again = [label for label in given if label.occasion == Occasion.REPEAT]
    assert again
    for label in again:
        assert said_of(label.pair) == {"a": 1, "b": 0, "tie": 0, "both_bad": 0}
        assert anna.labels.filter(pair=label.pair).count() == 2
    back = labelling.undo(anna)
    assert back.occasion == Occasion.REPEAT
    assert_counts_hold(dataset)


# --- Drafts and progress --------------------------------------------------------------------------


def test_a_draft_comes_back_and_holds_the_pair(anna: Annotator) -> None:
    lease = factories.leased(anna)
    later = timezone.now() + timedelta(minutes=20)
    draft = {"choice": "first", "rationale": "So far\x00", "spans": [{"side": "first"}]}
    with time_machine.travel(later, tick=False):
        assert labelling.save_draft(reread(lease), draft)
    again = factories.leased(anna)
    assert again.draft == {**draft, "rationale": "So far"}
    assert again.expires_at == later + leasing.LEASE


def test_a_draft_that_comes_after_the_answer_changes_nothing(anna: Annotator) -> None:
    lease = factories.leased(anna)
    vote(anna, lease)
    assert not labelling.save_draft(lease, {"choice": "second"})
    assert reread(lease).draft == {}


def test_a_draft_without_end_is_refused(anna: Annotator) -> None:
    lease = factories.leased(anna)
    with pytest.raises(NotAnAnswer, match="too long"):
        labelling.save_draft(lease, {"rationale": "x" * 1_000_000})
    assert labelling.save_draft(lease, Answer("first", rationale="𝕏" * 20_000).as_draft())


def test_a_draft_of_a_pair_that_was_given_back_is_kept_but_holds_nothing(anna: Annotator) -> None:
    lease = factories.leased(anna)
    leasing.release(lease)
    assert labelling.save_draft(reread(lease), {"choice": "tie"})
    assert reread(lease).state == "released"
    assert factories.leased(anna).draft == {"choice": "tie"}


def test_who_is_sent_away_while_their_answer_is_on_its_way_is_told(
    dataset: Dataset, anna: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked after the annotator is locked, as who sends them away does too."""
    lease, lock = factories.leased(anna), leasing.lock

    def locked(annotator: Annotator) -> None:
        dataset.memberships.filter(user=anna.user).update(ended_at=timezone.now())
        lock(annotator)

    monkeypatch.setattr(leasing, "lock", locked)
    with pytest.raises(Forbidden, match="no longer, a member"):
        factories.voted(anna, lease)
    assert not anna.labels.exists()


def test_what_is_left_is_counted_once_and_follows_the_annotators_answers(
    dataset: Dataset, anna: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near the end of a large round counting is slow, and it is asked with every answer."""
    factories.leased(anna)
    assert labelling.progress(anna).left == dataset.pairs.count() - 1
    with monkeypatch.context() as costly:
        costly.setattr(leasing, "places_left", None)  # would raise
        for answered in (1, 2, 3):
            factories.labelled(anna, "a")
            factories.leased(anna)
            assert labelling.progress(anna).left == dataset.pairs.count() - 1 - answered
        labelling.undo(anna)
        assert labelling.progress(anna).left == dataset.pairs.count() - 3
    dataset.rounds.update(closed_at=timezone.now())
    assert labelling.progress(anna).left > 0
    assert labelling.progress(anna, afresh=True).left == 0
    factories.opened_round(dataset)
    assert labelling.progress(anna).left > 0  # that nothing is left is not believed


def test_progress_says_how_far_the_annotator_is(dataset: Dataset, anna: Annotator) -> None:
    practice = factories.imported(dataset, [factories.row(40, labels=[])]).pairs.get()
    GoldPair.objects.create(pair=practice, dataset=dataset, preference="a", is_practice=True)
    yesterday = timezone.now() - timedelta(days=1)
    before = labelling.progress(anna)
    assert (before.today, before.total, before.left, before.practice_left) == (0, 0, 15, 1)
    with time_machine.travel(yesterday, tick=False):
        factories.labelled(anna, "a", "a", "b")
    factories.labelled(anna, "skip", "tie", "a")
    found = labelling.progress(anna)
    assert (found.today, found.total, found.practice_left) == (3, 5, 0)
    assert (found.left, found.is_more_left) == (10, False)


def test_progress_counts_no_further_than_it_must(
    dataset: Dataset, anna: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "MOST_COUNTED", 5)
    found = labelling.progress(anna)
    assert (found.left, found.is_more_left) == (5, True)


def counted(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as asked:
        act()
    return len(asked)


def test_answers_take_no_more_queries_as_work_goes_on(dataset: Dataset, anna: Annotator) -> None:
    dataset.repeat_every, dataset.gold_every = 7, 5
    dataset.save()

    def label_one() -> None:
        factories.labelled(anna, "a")
        labelling.progress(anna)

    few = counted(label_one)
    for _ in range(3):
        factories.opened_round(dataset)
        rounds.second_opinion(pair=anna.labels.earliest("pk").pair, by=dataset_curator(dataset))
    many = [counted(label_one) for _ in range(8)]
    assert max(many) <= few + 8  # a round more, or a pair in between


def dataset_curator(dataset: Dataset) -> Any:
    return dataset.memberships.get(role="curator").user
