"""Decisions: appended, superseded, taken back; two people at once are told of each other."""

from threading import Event, Thread

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from annotations import decisions
from annotations.decisions import CannotDecide, resulting_preference
from annotations.models import (
    Dataset,
    Decision,
    DecisionBatch,
    PairStanding,
    PreferencePair,
    Verdict,
)
from curator.lib.append_only import AppendOnlyError
from curator.lib.refusals import Conflict, Forbidden
from curator.models import User
from tests import factories

PERSONS = (Verdict.KEEP, Verdict.FLIP, Verdict.TIE, Verdict.DROP)


@pytest.fixture
def pair(dataset: Dataset) -> PreferencePair:
    return factories.pairs(dataset, 1)[0]


def decide(
    pair: PreferencePair, verdict: Verdict, by: User, seen: Decision | None = None
) -> Decision:
    return decisions.decide(pair=pair, verdict=verdict, by=by, based_on=seen.pk if seen else None)


def test_a_decision_is_the_pairs_verdict_and_names_who_made_it(
    pair: PreferencePair, casey: User
) -> None:
    decision = decide(pair, Verdict.FLIP, casey)
    pair.refresh_from_db()
    assert (pair.standing.verdict, pair.standing.decision) == (Verdict.FLIP, decision)
    assert (decision.decided_by, decision.actor) == (casey, casey.shown_name)


def test_a_second_decision_supersedes_the_first_and_both_are_kept(
    pair: PreferencePair, casey: User
) -> None:
    first = decide(pair, Verdict.FLIP, casey)
    second = decide(pair, Verdict.DROP, casey, seen=first)
    assert second.supersedes == first
    assert list(pair.decisions.order_by("pk")) == [first, second]


def test_the_same_decision_sent_twice_is_made_once(pair: PreferencePair, casey: User) -> None:
    first = decide(pair, Verdict.FLIP, casey)
    again = decide(pair, Verdict.FLIP, casey)
    assert again == first
    assert pair.decisions.count() == 1


def test_who_did_not_see_the_latest_decision_is_told_of_it(
    pair: PreferencePair, dataset: Dataset, casey: User
) -> None:
    olivia = factories.user("olivia")
    dataset.memberships.create(user=olivia, role="owner")
    decide(pair, Verdict.FLIP, casey)
    with pytest.raises(Conflict, match="casey decided “flip”"):
        decide(pair, Verdict.KEEP, olivia)
    assert pair.decisions.count() == 1


def test_undo_restores_what_held_before(pair: PreferencePair, casey: User) -> None:
    first = decide(pair, Verdict.KEEP, casey)
    second = decide(pair, Verdict.DROP, casey, seen=first)
    back = decisions.undo(decision=second, by=casey)
    pair.refresh_from_db()
    assert (pair.standing.verdict, back.undoes) == (Verdict.KEEP, second)


def test_undo_of_the_first_decision_leaves_the_pair_undecided(
    pair: PreferencePair, casey: User
) -> None:
    decisions.undo(decision=decide(pair, Verdict.TIE, casey), by=casey)
    pair.refresh_from_db()
    assert pair.standing.verdict == Verdict.UNDECIDED
    assert pair.decisions.count() == 2


def test_undo_sent_twice_is_done_once(pair: PreferencePair, casey: User) -> None:
    decision = decide(pair, Verdict.TIE, casey)
    assert decisions.undo(decision=decision, by=casey) == decisions.undo(
        decision=decision, by=casey
    )
    assert pair.decisions.count() == 2


def test_a_decision_that_another_has_followed_is_not_undone_from_there(
    pair: PreferencePair, casey: User
) -> None:
    first = decide(pair, Verdict.KEEP, casey)
    decide(pair, Verdict.DROP, casey, seen=first)
    with pytest.raises(Conflict, match="superseded"):
        decisions.undo(decision=first, by=casey)


@pytest.mark.parametrize(
    ("label", "verdict", "reason"),
    [
        ("tie", Verdict.FLIP, "Only a label that prefers one response can be flipped"),
        ("skip", Verdict.KEEP, "There is no label to keep"),
        ("a", Verdict.SOFTEN, "not something a person decides"),
    ],
)
def test_a_verdict_that_makes_no_sense_is_refused(
    dataset: Dataset, casey: User, label: str, verdict: Verdict, reason: str
) -> None:
    pair = factories.pairs(dataset, 1, label=label)[0]
    with pytest.raises(CannotDecide, match=reason):
        decide(pair, verdict, casey)
    assert not pair.decisions.exists()


@pytest.mark.parametrize("role", ["annotator", None])
def test_only_curators_and_owners_decide(pair: PreferencePair, role: str | None) -> None:
    anna = factories.user("anna")
    if role:
        pair.dataset.memberships.create(user=anna, role=role)
    with pytest.raises(Forbidden):
        decide(pair, Verdict.KEEP, anna)


def test_two_decisions_at_the_same_moment_cannot_both_follow_one(
    pair: PreferencePair, casey: User
) -> None:
    """Both saw an undecided pair; the database lets only one row be the first of the chain."""
    decide(pair, Verdict.KEEP, casey)
    rival = Decision(pair=pair, verdict=Verdict.DROP, decided_by=casey, actor="casey")
    with pytest.raises(Conflict, match="at the same moment"):
        decisions._append(rival)


@pytest.mark.parametrize(
    ("source", "verdict", "holds"),
    [
        ("a", "", "a"),
        ("a", Verdict.KEEP, "a"),
        ("a", Verdict.FLIP, "b"),
        ("b", Verdict.FLIP, "a"),
        ("b", Verdict.TIE, "tie"),
        ("b", Verdict.DROP, ""),
        ("", "", ""),
    ],
)
def test_the_label_that_holds_follows_from_source_and_verdict(
    source: str, verdict: str, holds: str
) -> None:
    assert resulting_preference(source, verdict) == holds


@pytest.mark.parametrize("table", ["annotations_decision", "annotations_label"])
def test_the_database_itself_refuses_to_change_a_fact(
    pair: PreferencePair, casey: User, table: str
) -> None:
    decide(pair, Verdict.KEEP, casey)
    with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
        connection.cursor().execute(f"UPDATE {table} SET pair_id = pair_id")


def test_code_that_would_change_a_fact_fails(pair: PreferencePair, casey: User) -> None:
    decision = decide(pair, Verdict.KEEP, casey)
    with pytest.raises(AppendOnlyError):
        decision.save()
    with pytest.raises(AppendOnlyError):
        decision.delete()
    with pytest.raises(AppendOnlyError):
        Decision.objects.update(verdict=Verdict.DROP)
    with pytest.raises(AppendOnlyError):
        Decision.objects.all().delete()


class Chain(RuleBasedStateMachine):
    """Any mix of decisions and undos: the pair always stands where a plain stack says."""

    def __init__(self) -> None:
        super().__init__()
        name = f"u{User.objects.count()}"
        self.person = factories.user(name)
        self.pair = factories.pairs(factories.dataset(name, curators=[self.person]), 1)[0]
        self.stack: list[Decision] = []
        self.rows = 0

    @rule(verdict=st.sampled_from(PERSONS))
    def decide(self, verdict: Verdict) -> None:
        latest = decisions.latest_decision(self.pair)
        made = decide(self.pair, verdict, self.person, seen=latest)
        self.stack.append(made)
        self.rows += 1

    @rule()
    def undo_the_last(self) -> None:
        latest = decisions.latest_decision(self.pair)
        if latest is None or not self.stack or latest != self.stack[-1]:
            return
        decisions.undo(decision=self.stack.pop(), by=self.person)
        self.rows += 1

    @invariant()
    def the_pair_repeats_the_end_of_one_chain(self) -> None:
        self.pair.refresh_from_db()
        assert self.pair.standing.decision == decisions.latest_decision(self.pair)
        standing = self.pair.standing
        assert standing.verdict == (standing.decision.verdict if standing.decision else "")
        assert self.pair.decisions.filter(successor__isnull=True).count() <= 1

    @invariant()
    def nothing_is_ever_lost(self) -> None:
        assert self.pair.decisions.count() == self.rows


class TestChain(HypothesisTestCase):
    def test_decisions_and_undos_in_any_order(self) -> None:
        run_state_machine_as_test(Chain, settings=settings(max_examples=20, stateful_step_count=12))


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_who_decides_a_pair_that_a_batch_keeps_is_told_so_and_does_not_wait_for_its_end(
    pair: PreferencePair, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "PATIENCE", "50ms")
    batch = DecisionBatch.objects.create(dataset=pair.dataset, kind="bulk", actor="Ada")
    kept, over = Event(), Event()

    def keep() -> None:
        with transaction.atomic():
            PairStanding.objects.select_for_update(no_key=True).get(pk=pair.pk)
            kept.set()
            over.wait()
        connection.close()

    other = Thread(target=keep)
    other.start()
    try:
        kept.wait()
        with pytest.raises(Conflict, match=f"Ada is having batch {batch.pk} done, which keeps"):
            decide(pair, Verdict.KEEP, casey)
    finally:
        over.set()
        other.join()
    assert decide(pair, Verdict.KEEP, casey).verdict == Verdict.KEEP
