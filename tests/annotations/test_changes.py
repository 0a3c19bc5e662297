"""What changed between two snapshots: whatever happened in between, the counts and the list are
those that comparing pair by pair gives."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from annotations import changes, decisions, snapshots
from annotations.changes import KINDS, Changes, Moment, NotToCompare
from annotations.models import (
    Dataset,
    Decision,
    PairStanding,
    PreferencePair,
    Snapshot,
    SnapshotPair,
    Verdict,
)
from curator.models import User
from scoring import freezing
from tests import factories

PAIRS = 6
STEPS = st.one_of(
    st.tuples(st.sampled_from(["keep", "flip", "tie", "drop", "undo"]), st.integers(0, PAIRS - 1)),
    st.tuples(st.just("soften"), st.integers(0, PAIRS - 1), st.sampled_from([0.25, 0.75])),
    st.tuples(st.just("import"), st.integers(100, 103)),
    st.tuples(st.just("score"), st.sampled_from(["flipped", "clear"]), st.floats(-1, 1)),
    st.tuples(st.just("freeze")),
)
Step = tuple[Any, ...]


def decide(pair: PreferencePair, verdict: str, by: User, reason: str = "") -> Decision:
    latest = decisions.latest_decision(pair)
    return decisions.decide(
        pair=pair,
        verdict=Verdict(verdict),
        by=by,
        based_on=latest.pk if latest else None,
        reason=reason,
    )


def soften(pair: PreferencePair, probability: float) -> Decision:
    """As a policy does, whose own path is tested elsewhere."""
    made = Decision.objects.create(
        pair=pair,
        verdict=Verdict.SOFTEN,
        label_probability=probability,
        kind=Decision.Kind.POLICY,
        actor="policy",
        supersedes=decisions.latest_decision(pair),
    )
    PairStanding.objects.filter(pk=pair.pk).update(
        decision=made, verdict=made.verdict, decided_by=made.kind, decided_at=made.created_at
    )
    return made


def score(into: Dataset, flag: str, strength: float) -> None:
    """A run that found the same of every pair, handed over to their standings."""
    found = dict.fromkeys(into.pairs.values_list("pk", flat=True), (strength, flag))
    run = factories.judged(into, found)
    into.standings.update(run_id=run.pk, strength=strength, flag=flag)


def take(step: Step, into: Dataset, by: User) -> None:
    """One thing that happens in a dataset."""
    what, *rest = step
    if what == "import":
        factories.imported(into, [factories.row(rest[0])])
    elif what == "score":
        score(into, *rest)
    elif what == "freeze":
        freezing.freeze(dataset=into, by=by)
    else:
        pair = into.pairs.get(source_id=f"pair-{rest[0]}")
        latest = decisions.latest_decision(pair)
        if what == "soften":
            soften(pair, rest[1])
        elif what != "undo":
            decide(pair, what, by)
        elif latest is not None and not latest.takes_back:
            decisions.undo(decision=latest, by=by)


# --- The reference: pair by pair ------------------------------------------------------------------

Stand = tuple[str, str, float | None, int | None, float | None, str]


def stands(snapshot: Snapshot) -> dict[int, Stand]:
    rows = SnapshotPair.objects.filter(snapshot=snapshot).select_related("decision")
    return {
        row.pair_id: (
            row.verdict,
            row.preference,
            row.decision.label_probability if row.decision else None,
            row.decision_id,
            row.strength,
            row.flag,
        )
        for row in rows
    }


def by_hand(older: Snapshot, newer: Snapshot) -> dict[str, set[int]]:
    """The pairs of each kind of change."""
    then, now = stands(older), stands(newer)
    found: dict[str, set[int]] = {kind: set() for kind in KINDS}
    found["came"] = set(now) - set(then)
    for pk, was in then.items():
        verdict, preference, probability, decision, _, flag = now[pk]
        if (was[0], was[2]) != (verdict, probability):
            found["verdict"].add(pk)
        elif was[3] != decision:
            found["again"].add(pk)
        if was[1] != preference:
            found["label"].add(pk)
        if was[5] != flag:
            found["flag"].add(pk)
    return found


def listed(older: Moment, newer: Moment, kind: str) -> list[int]:
    """All pages of a kind, two pairs each."""
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = changes.page(older, newer, kind=kind, after=after, size=2)
        seen += [row.pair.pk for row in page.rows]
        after = page.next_cursor
    return seen


def check_rows(found: Changes, older: Snapshot, newer: Snapshot) -> None:
    """What is said of a file for training, against the two files' pairs."""
    then = {pk: row[1] for pk, row in stands(older).items() if row[1] in ("a", "b")}
    now = {pk: row[1] for pk, row in stands(newer).items() if row[1] in ("a", "b")}
    there = set(stands(older))
    assert (found.rows.before, found.rows.after) == (len(then), len(now))
    assert found.rows.came == len(set(now) - there)
    assert found.rows.gained == len((set(now) & there) - set(then))
    assert found.rows.lost == len(set(then) - set(now))
    assert found.rows.flipped == sum(then[pk] != now[pk] for pk in set(then) & set(now))


class AnyTwoSnapshots(HypothesisTestCase):
    @settings(max_examples=25)
    @given(steps=st.lists(STEPS, min_size=3, max_size=14))
    def test_are_told_apart_as_by_hand(self, steps: list[Step]) -> None:
        casey = factories.user("casey")
        into = factories.dataset("random", curators=[casey])
        factories.pairs(into, PAIRS)
        for step in [("freeze",), *steps, ("freeze",)]:
            take(step, into, casey)
        frozen = list(into.snapshots.order_by("pk"))
        for older, newer in pairwise(frozen):
            self.compare(older, newer, Moment(into, newer))
        self.compare(frozen[0], frozen[-1], Moment(into))  # which is how it stands now

    def compare(self, older: Snapshot, newer: Snapshot, as_asked: Moment) -> None:
        if older == newer:
            return
        then, expected = Moment(older.dataset, older), by_hand(older, newer)
        found = changes.compute(then, as_asked)
        for kind, pairs in expected.items():
            assert found.of_kind(kind) == len(pairs), kind
            assert listed(then, as_asked, kind) == sorted(pairs), kind
        before, after = stands(older), stands(newer)
        verdicts = Counter((before[pk][0], after[pk][0]) for pk in expected["verdict"])
        del verdicts["soften", "soften"]
        assert found.verdicts == verdicts
        assert found.labels == Counter((before[pk][1], after[pk][1]) for pk in expected["label"])
        assert sum(count for _, count in found.actors) == found.decided
        assert sum(count for _, count in found.reasons) == found.decided
        assert found.strengths == sum(before[pk][4] != after[pk][4] for pk in before)
        check_rows(found, older, newer)


# --- What a person is told ------------------------------------------------------------------------


@pytest.fixture
def two(dataset: Dataset, casey: User) -> tuple[Moment, Moment]:
    """Two snapshots, between which one pair was flipped and one dropped."""
    one, other, *_ = factories.pairs(dataset, 4)
    older = snapshots.freeze(dataset=dataset, by=casey)
    decide(one, "flip", casey, reason="B is right")
    decide(other, "drop", casey)
    return Moment(dataset, older), Moment(dataset, snapshots.freeze(dataset=dataset, by=casey))


def test_changes_say_which_way_by_whom_and_why(two: tuple[Moment, Moment]) -> None:
    found = changes.between(*two)
    assert found.verdicts == {("", "flip"): 1, ("", "drop"): 1}
    assert [(actor.name, actor.words, count) for actor, count in found.actors] == [
        ("casey", "decided one by one", 2)
    ]
    assert set(found.reasons) == {("B is right", 1), ("", 1)}
    assert (found.rows.before, found.rows.after, found.rows.lost) == (4, 3, 1)


def test_a_pair_of_the_list_stands_as_it_did_and_does(two: tuple[Moment, Moment]) -> None:
    (row,) = changes.page(*two, was="", now="flip").rows
    assert row.before is not None
    assert (row.before.verdict, row.before.preference) == ("", "a")
    assert (row.after.verdict, row.after.preference) == ("flip", "b")
    assert row.decision is not None
    assert row.decision.reason == "B is right"


def test_an_undone_decision_changes_no_verdict(dataset: Dataset, casey: User) -> None:
    pair = factories.pairs(dataset, 2)[0]
    older = Moment(dataset, snapshots.freeze(dataset=dataset, by=casey))
    decisions.undo(decision=decide(pair, "drop", casey), by=casey)
    found = changes.between(older, Moment(dataset))
    assert (found.decided, found.again, found.rows.lost) == (0, 1, 0)


def test_later_is_compared_with_earlier_and_never_two_datasets(
    two: tuple[Moment, Moment], casey: User
) -> None:
    older, newer = two
    with pytest.raises(NotToCompare, match="the other way round"):
        changes.between(newer, older)
    with pytest.raises(NotToCompare, match="one dataset"):
        changes.between(older, Moment(factories.dataset("other")))
    with pytest.raises(NotToCompare, match="Compare a snapshot"):
        changes.between(Moment(older.dataset), newer)


def test_the_list_asks_as_often_for_many_as_for_few(
    two: tuple[Moment, Moment], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        assert len(changes.page(*two).rows) == 2
