"""Many pairs decided at once, and taken back as one; people are not overruled, nothing is lost."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from annotations import (
    batch_records,
    batches,
    decisions,
    launch,
    policies,
    proposals,
    snapshots,
    tasks,
)
from annotations.conditions import parse
from annotations.fields import Use
from annotations.models import (
    Dataset,
    Decision,
    DecisionBatch,
    Export,
    PairStanding,
    PreferencePair,
    PutForward,
    Snapshot,
    SnapshotPair,
    Verdict,
)
from annotations.policies import PRESETS
from annotations.proposals import Bulk
from curator.lib import work
from curator.lib.refusals import Conflict, Forbidden
from curator.models import User
from tests import factories

FLIPPED = {"field": "flag", "is": ["flipped"]}
CLEAN = policies.parse(
    {
        "name": "clean",
        "rules": [
            {"when": [{"field": "strength", "below": -2}], "then": {"action": "drop"}},
            {
                "when": [FLIPPED],
                "then": {"action": "soften", "probability": "calibrated"},
                "because": "The ensemble alone contradicts the label.",
            },
            {"when": [{"field": "flag", "is": ["ambiguous"]}], "then": {"action": "queue"}},
            {"when": [{"field": "flag", "is": ["strong"]}], "then": {"action": "keep"}},
        ],
    }
)


def bulk(verdict: str, *conditions: dict[str, Any], **options: Any) -> Bulk:
    return Bulk(tuple(parse(each, use=Use.EXPLORE) for each in conditions), verdict, **options)


def done(row: DecisionBatch) -> DecisionBatch:
    """The batch after its task has run."""
    tasks.decide_batch(batch_id=row.pk)
    row.refresh_from_db()
    assert row.status == DecisionBatch.Status.DONE, row.problem
    return row


def refused(row: DecisionBatch) -> str:
    tasks.decide_batch(batch_id=row.pk)
    row.refresh_from_db()
    assert row.status == DecisionBatch.Status.FAILED
    return row.problem


def decided(dataset: Dataset, given: Bulk, by: User, **options: Any) -> DecisionBatch:
    return done(launch.start_bulk(dataset=dataset, bulk=given, by=by, **options))


def applied(dataset: Dataset, by: User, policy: policies.Policy = CLEAN) -> DecisionBatch:
    return done(launch.start_policy(dataset=dataset, policy=policy, by=by))


def undone(batch: DecisionBatch, by: User) -> DecisionBatch:
    return done(launch.start_undo(batch=batch, by=by))


def state(dataset: Dataset) -> list[Any]:
    """Where each pair stands, whichever rows it took to come there."""
    rows = dataset.standings.select_related("decision__restores").order_by("pk")
    return [_state(row) for row in rows]


def _state(row: PairStanding) -> tuple[Any, ...]:
    held = row.decision.holding if row.decision else None
    held_pk = held.pk if held else None
    repeated = (row.verdict, row.decided_by, row.decided_at, row.put_forward_by_id)
    return (row.pk, held_pk, held and held.label_probability, *repeated)


def decide(pair: PreferencePair, verdict: Verdict, by: User) -> Decision:
    latest = decisions.latest_decision(pair)
    return decisions.decide(
        pair=pair, verdict=verdict, by=by, based_on=latest.pk if latest else None
    )


@pytest.fixture
def pairs(dataset: Dataset) -> list[PreferencePair]:
    """Eight pairs: two dropped by CLEAN, two softened, two put forward, one kept, one left."""
    found = factories.pairs(dataset, 8)
    strengths = (-3.0, -2.5, -1.0, -0.5, 0.1, 0.2, 2.0, 1.0)
    flags = ["flipped"] * 4 + ["ambiguous"] * 2 + ["strong", "clear"]
    for pair, strength, flag in zip(found, strengths, flags, strict=True):
        PairStanding.objects.filter(pk=pair.pk).update(
            strength=strength, flag=flag, run_id=1, label_probability=0.5 + strength / 10
        )
    return found


def test_a_policy_decides_what_it_proposes_and_says_why(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    batch = applied(dataset, casey)
    assert batch.counts == {"drop": 2, "soften": 2, "keep": 1, "queue": 2}
    assert (batch.total, batch.done) == (7, 7)
    softened = PairStanding.objects.get(pk=pairs[2].pk)
    assert (softened.verdict, softened.decided_by) == (Verdict.SOFTEN, "policy")
    decision = softened.decision
    assert decision is not None
    assert decision.actor == "clean, applied by casey"
    assert decision.label_probability == pytest.approx(0.4)
    assert decision.reason == "The ensemble alone contradicts the label."
    assert decision.evidence == {
        "policy": policies.digest(CLEAN),
        "policy_name": "clean",
        "rule": 2,
        "run": 1,
        "flag": "flipped",
        "strength": -1.0,
        "spread": None,
        "votes": None,
        "label_probability": 0.4,
        "percentile": None,
        "people_for": 1,
        "people_against": 0,
        "ai_for": 0,
        "ai_against": 0,
    }
    forward = dataset.standings.filter(put_forward_by=batch).order_by("pk")
    assert [row.pk for row in forward] == [pairs[4].pk, pairs[5].pk]
    assert {row.verdict for row in forward} == {""}


def test_undone_it_leaves_everything_as_it_was_exports_byte_for_byte(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    decide(pairs[0], Verdict.KEEP, casey)
    before = state(dataset)
    first = snapshots.freeze(dataset=dataset, by=casey)
    batch = applied(dataset, casey)
    assert state(dataset) != before
    back = undone(batch, casey)
    assert back.counts == {"undecided": 4, "queue": 2}
    assert state(dataset) == before
    second = snapshots.freeze(dataset=dataset, by=casey)
    assert (second.digest, second.number) == (first.digest, first.number + 1)
    for layout in Export.Format.values:
        ours, theirs = (factories.exported(each, layout) for each in (first, second))
        assert ours.sha256 == theirs.sha256
        with ours.file.open("rb") as one, theirs.file.open("rb") as other:
            assert one.read() == other.read()


def test_the_undo_of_an_undo_brings_it_back_and_that_can_be_undone_too(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    before = state(dataset)
    first = batch = applied(dataset, casey)
    after = state(dataset)
    for number, expected in enumerate((before, after, before, after)):
        batch = undone(batch, casey)
        assert state(dataset) == expected
        holds_no_more = batch_records.taken_back_by(first)
        assert (holds_no_more is not None) == (number % 2 == 0)
        [listed] = [row for row in batch_records.recent(dataset) if row.batch == first]
        assert listed.undone_by == holds_no_more


# --- People, and what changed meanwhile -----------------------------------------------------------


def test_a_policy_never_overrides_a_person(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    decide(pairs[0], Verdict.KEEP, casey)
    batch = applied(dataset, casey)
    assert batch.passed_over == {"people": 1}
    assert PairStanding.objects.get(pk=pairs[0].pk).verdict == Verdict.KEEP


def test_applied_again_a_policy_changes_nothing(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    applied(dataset, casey)
    before = state(dataset)
    again = applied(dataset, casey)
    assert (again.counts, again.passed_over) == ({}, {"same": 7})
    assert state(dataset) == before
    assert dataset.policies.count() == 1


def test_the_same_verdict_by_other_rules_is_decided_anew(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    applied(dataset, casey, PRESETS["paper-soft-labels"])
    batch = applied(dataset, casey)
    assert batch.counts["soften"] == 2
    assert batch.counts["drop"] == 2


def test_what_a_policy_has_decided_is_not_put_forward(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    decided(dataset, bulk("keep", {"field": "flag", "is": ["ambiguous"]}), casey)
    applied(dataset, casey, PRESETS["paper-soft-labels"])
    batch = applied(dataset, casey, PRESETS["review-first"])
    assert batch.counts == {}
    assert batch.passed_over == {"people": 2, "decided": 4}


def test_in_bulk_people_are_overruled_only_where_the_curator_says_so(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    decide(pairs[0], Verdict.KEEP, casey)
    batch = decided(dataset, bulk("flip", FLIPPED), casey)
    assert (batch.counts, batch.passed_over) == ({"flip": 3}, {"people": 1})
    batch = decided(dataset, bulk("drop", FLIPPED, overrules_people=True), casey, reason="spam")
    assert (batch.counts, batch.passed_over) == ({"drop": 4}, {})
    decision = decisions.latest_decision(pairs[0])
    assert decision is not None
    assert (decision.kind, decision.decided_by, decision.actor) == ("person", casey, "casey")
    assert (decision.reason, decision.evidence["filter"]) == ("spam", "flag likely flipped")


def test_pairs_without_a_label_to_flip_are_passed_over(dataset: Dataset, casey: User) -> None:
    labels = ("a", "tie", "skip")
    rows = [factories.row(number, label=label) for number, label in enumerate(labels)]
    factories.imported(dataset, rows)
    for verdict, counts in (("flip", 1), ("keep", 2), ("a", 2), ("tie", 3)):
        found = proposals.preview_bulk(dataset, bulk(verdict))
        assert dict(found.effect.counts) == {verdict: counts}
        assert found.effect.passed_over["senseless"] == 3 - counts


def test_what_would_now_do_something_else_than_was_shown_is_refused(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    given = bulk("flip", FLIPPED)
    shown = proposals.preview_bulk(dataset, given).expected
    dataset.standings.filter(pk=pairs[7].pk).update(flag="flipped")
    before = state(dataset)
    row = launch.start_bulk(dataset=dataset, bulk=given, by=casey, expected=shown)
    assert refused(row) == (
        "The filter matched 4 pairs when you looked and 5 now: look again. Nothing was changed."
    )
    assert state(dataset) == before
    assert not Decision.objects.exists()


def test_a_policy_whose_proposals_changed_is_refused_though_the_number_is_the_same(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    shown = proposals.preview(dataset, CLEAN).expected
    dataset.standings.filter(pk=pairs[2].pk).update(strength=-5.0)
    row = launch.start_policy(dataset=dataset, policy=CLEAN, by=casey, expected=shown)
    assert "would do something else now" in refused(row)


def test_what_people_decided_meanwhile_is_passed_over_and_counted(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    shown = proposals.preview(dataset, CLEAN).expected
    decide(pairs[0], Verdict.KEEP, casey)
    decide(pairs[4], Verdict.KEEP, casey)
    row = launch.start_policy(dataset=dataset, policy=CLEAN, by=casey, expected=shown)
    assert done(row).passed_over == {"people": 2}
    assert row.counts == {"drop": 1, "soften": 2, "keep": 1, "queue": 1}


@pytest.mark.parametrize("overrules", [False, True])
def test_who_decides_while_another_looks_is_not_overruled(
    dataset: Dataset, pairs: list[PreferencePair], casey: User, overrules: bool
) -> None:
    decide(pairs[1], Verdict.TIE, casey)
    undecided = {"field": "status", "is": ["undecided"]}
    for given in (bulk("flip", FLIPPED, undecided), bulk("drop", FLIPPED)):
        shown = proposals.preview_bulk(
            dataset, Bulk(given.clauses, given.verdict, overrules_people=overrules)
        )
        pair = pairs[0] if given.verdict == "flip" else pairs[3]
        decide(pair, Verdict.KEEP, casey)
        row = launch.start_bulk(
            dataset=dataset,
            bulk=Bulk(given.clauses, given.verdict, overrules_people=overrules),
            by=casey,
            expected=shown.expected,
        )
        done(row)
        assert PairStanding.objects.get(pk=pair.pk).verdict == Verdict.KEEP


def test_the_very_first_decision_is_not_overruled_by_who_has_not_seen_it(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    given = bulk("drop", FLIPPED, overrules_people=True)
    shown = proposals.preview_bulk(dataset, given).expected
    decide(pairs[0], Verdict.KEEP, casey)
    batch = decided(dataset, given, casey, expected=shown)
    assert (batch.counts, batch.passed_over) == ({"drop": 3}, {"people": 1})
    assert batch_records.fell_short(batch) == 1


# --- Taken back -----------------------------------------------------------------------------------


def test_what_was_decided_again_since_stays(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    batch = applied(dataset, casey)
    decide(pairs[0], Verdict.KEEP, casey)
    back = undone(batch, casey)
    assert back.counts == {"undecided": 4, "queue": 2}
    assert back.passed_over == {"since": 1}
    assert PairStanding.objects.get(pk=pairs[0].pk).verdict == Verdict.KEEP


def test_one_pair_of_a_batch_is_taken_back_alone(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    batch = decided(dataset, bulk("flip", FLIPPED), casey)
    decision = decisions.latest_decision(pairs[0])
    assert decision is not None
    decisions.undo(decision=decision, by=casey)
    back = undone(batch, casey)
    assert (back.counts, back.passed_over) == ({"undecided": 3}, {"since": 1})


def test_an_undo_goes_back_to_what_held_not_to_nothing(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    kept = decide(pairs[0], Verdict.KEEP, casey)
    before = state(dataset)
    batch = decided(dataset, bulk("drop", FLIPPED, overrules_people=True), casey)
    back = undone(batch, casey)
    assert back.counts == {"keep": 1, "undecided": 3}
    assert state(dataset) == before
    latest = decisions.latest_decision(pairs[0])
    assert latest is not None
    assert (latest.holding, latest.decided_by) == (kept, casey)


def test_batches_one_over_the_other_are_unwound_to_where_they_began(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    states, stacked = [state(dataset)], []
    for verdict in ("keep", "drop", "tie"):
        given = bulk(verdict, FLIPPED, overrules_people=True)
        stacked.append(decided(dataset, given, casey))
        states.append(state(dataset))
    for batch, before in zip(reversed(stacked), reversed(states[:-1]), strict=True):
        shown = batch_records.taken_back(batch)
        back = undone(batch, casey)
        assert (back.counts, back.passed_over) == (shown.restored, {})
        assert shown.stays == 0
        assert state(dataset) == before


def test_an_undo_that_holds_again_is_undone_although_another_batch_came_and_went(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    batch = applied(dataset, casey)
    after = state(dataset)
    back = undone(batch, casey)
    undone(decided(dataset, bulk("drop"), casey), casey)
    undone(back, casey)
    assert state(dataset) == after


def test_a_pair_taken_back_and_brought_back_alone_goes_with_its_batch(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    before = state(dataset)
    batch = decided(dataset, bulk("flip", FLIPPED), casey)
    for _ in range(2):
        latest = decisions.latest_decision(pairs[0])
        assert latest is not None
        decisions.undo(decision=latest, by=casey)
    decisions.undo(decision=decide(pairs[0], Verdict.DROP, casey), by=casey)
    assert batch_records.taken_back(batch).restored == {"undecided": 4}
    assert undone(batch, casey).counts == {"undecided": 4}
    assert state(dataset) == before


def test_one_decision_is_taken_back_once_the_one_after_it_was(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    before = state(dataset)
    first = decide(pairs[0], Verdict.KEEP, casey)
    second = decide(pairs[0], Verdict.DROP, casey)
    with pytest.raises(Conflict, match="superseded since"):
        decisions.undo(decision=first, by=casey)
    decisions.undo(decision=second, by=casey)
    decisions.undo(decision=first, by=casey)
    assert state(dataset) == before
    with pytest.raises(Conflict, match="superseded since"):
        decisions.undo(decision=second, by=casey)


def test_a_batch_is_undone_once_and_the_second_is_told_by_whom(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    batch = applied(dataset, casey)
    back = undone(batch, casey)
    with pytest.raises(Conflict, match=f"undone by casey on .* as batch {back.pk}: undo that one"):
        launch.start_undo(batch=batch, by=casey)
    again = undone(back, casey)
    with pytest.raises(Conflict, match=f"brought back by casey, as batch {again.pk}"):
        launch.start_undo(batch=batch, by=casey)


def test_an_undo_that_failed_is_tried_again(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    batch = applied(dataset, casey)
    back = launch.start_undo(batch=batch, by=casey)
    with pytest.raises(Conflict, match="undoing batch"):
        launch.start_undo(batch=batch, by=casey)
    work.cancel(back)
    again = launch.start_undo(batch=batch, by=casey)
    assert again.pk == back.pk
    assert done(again).counts == {"undecided": 5, "queue": 2}


def test_what_has_changed_nothing_is_not_undone(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    row = launch.start_policy(dataset=dataset, policy=CLEAN, by=casey)
    with pytest.raises(Conflict, match="has changed nothing: it is queued"):
        launch.start_undo(batch=row, by=casey)


def test_one_batch_at_a_time_and_the_sentence_names_the_other(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    row = launch.start_policy(dataset=dataset, policy=CLEAN, by=casey)
    with pytest.raises(Conflict, match=f"casey is having batch {row.pk} done in Pairs .policy"):
        launch.start_bulk(dataset=dataset, bulk=bulk("flip"), by=casey)


def test_nothing_is_decided_by_scores_while_they_are_being_written(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    batch = applied(dataset, casey)
    row = launch.start_bulk(dataset=dataset, bulk=bulk("flip", FLIPPED), by=casey)
    Dataset.objects.update(scores_being_written_by="run 7")
    sentence = "The pairs of Pairs are being given new scores just now (run 7)"
    assert sentence in refused(row)
    attempts: list[Callable[[], object]] = [
        lambda: launch.start_bulk(dataset=dataset, bulk=bulk("flip"), by=casey),
        lambda: launch.start_policy(dataset=dataset, policy=CLEAN, by=casey),
    ]
    for attempt in attempts:
        with pytest.raises(Conflict, match="wait until they all have them, and look again"):
            attempt()
    undone(batch, casey)
    Dataset.objects.update(scores_being_written_by="")
    applied(dataset, casey)


@pytest.mark.parametrize("role", ["annotator", None])
def test_only_curators_and_owners_decide_in_bulk(
    dataset: Dataset, pairs: list[PreferencePair], casey: User, role: str | None
) -> None:
    batch = applied(dataset, casey)
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    anna = factories.user("anna")
    if role:
        dataset.memberships.create(user=anna, role=role)
    attempts: list[Callable[[], object]] = [
        lambda: launch.start_bulk(dataset=dataset, bulk=bulk("flip"), by=anna),
        lambda: launch.start_policy(dataset=dataset, policy=CLEAN, by=anna),
        lambda: launch.start_undo(batch=batch, by=anna),
        lambda: launch.start_restore(snapshot=snapshot, by=anna),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden):
            attempt()


# --- Snapshots restored ---------------------------------------------------------------------------


def restored(snapshot: Snapshot, by: User) -> DecisionBatch:
    return done(launch.start_restore(snapshot=snapshot, by=by))


def test_the_decisions_of_a_snapshot_hold_again_and_the_restore_is_undone_as_one(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    applied(dataset, casey, PRESETS["paper-soft-labels"])
    then = [each[:6] for each in state(dataset)]
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    applied(dataset, casey, PRESETS["remove-suspects"])
    decide(pairs[6], Verdict.KEEP, casey)
    after = state(dataset)
    factories.imported(dataset, [factories.row(99)])
    batch = restored(snapshot, casey)
    assert batch.counts == {"soften": 4, "undecided": 1}
    assert batch.passed_over == {"now": 3, "later": 1}
    assert [each[:6] for each in state(dataset)[:-1]] == then
    again = snapshots.freeze(dataset=dataset, by=casey)
    assert again.counts["verdicts"] == {"soften": 4, "": 5}
    undone(batch, casey)
    assert state(dataset)[:-1] == after


def test_what_people_decide_after_the_page_of_a_restore_stays(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    applied(dataset, casey)
    taken_back = decide(pairs[0], Verdict.TIE, casey)
    seen = {"counts": {"all": 5}, "last_decision": proposals.last_decision()}
    decide(pairs[1], Verdict.KEEP, casey)
    decisions.undo(decision=taken_back, by=casey)
    decide(pairs[7], Verdict.FLIP, casey)
    batch = done(launch.start_restore(snapshot=snapshot, by=casey, expected=seen))
    assert batch.counts == {"undecided": 3}
    assert batch.passed_over == {"since": 3, "now": 2}
    verdicts = dataset.standings.order_by("pk").values_list("verdict", flat=True)
    assert list(verdicts) == ["drop", "keep", "", "", "", "", "", "flip"]


def test_a_restore_that_would_change_other_pairs_by_now_is_refused(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    applied(dataset, casey)
    seen = {"counts": {"all": 3}, "last_decision": proposals.last_decision()}
    row = launch.start_restore(snapshot=snapshot, by=casey, expected=seen)
    assert "differed in 3 pairs when you looked and in 5 now" in refused(row)


def test_an_undo_takes_back_what_its_own_batch_did_and_no_more(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    """A pair that the first undo left to a person was not brought back by the redo, so the redo's
    undo leaves it too; it stands by the first batch, and is taken back on its own."""
    before = state(dataset)
    first = decided(dataset, bulk("keep", overrules_people=True), casey)
    by_hand = decide(pairs[0], Verdict.KEEP, casey)
    back = undone(first, casey)
    assert back.passed_over == {"since": 1}
    again = undone(back, casey)
    decisions.undo(decision=by_hand, by=casey)
    assert batch_records.taken_back(again).stays == 0
    undone(again, casey)
    assert dataset.standings.filter(verdict="keep").count() == 1
    decisions.undo(decision=Decision.objects.get(batch=first, pair=pairs[0]), by=casey)
    assert state(dataset) == before
    assert_consistent(dataset)


def test_a_snapshot_that_holds_already_changes_nothing(
    dataset: Dataset, pairs: list[PreferencePair], casey: User
) -> None:
    applied(dataset, casey)
    snapshot = snapshots.freeze(dataset=dataset, by=casey)
    rows = Decision.objects.count()
    assert restored(snapshot, casey).counts == {}
    assert Decision.objects.count() == rows


# --- Any mix --------------------------------------------------------------------------------------


def held_by_chain(pair: PreferencePair) -> Decision | None:
    """What holds by walking the pair's rows from the first: the reference of its standing."""
    rows = pair.decisions.select_related("batch").order_by("pk")
    before: dict[int, Decision | None] = {}
    after: dict[int, Decision | None] = {}
    held: Decision | None = None
    last: int | None = None
    for row in rows:
        assert row.supersedes_id == last, "a fork"
        before[row.pk], last = held, row.pk
        if row.undoes_id is not None:
            held = before[row.undoes_id]
        elif row.batch is not None and row.batch.kind == DecisionBatch.Kind.RESTORE:
            then = SnapshotPair.objects.get(snapshot=row.batch.snapshot, pair=pair).decision_id
            held = after[then] if then is not None else None
        else:
            held = row
        after[row.pk] = held
    return held


def put_forward_by_batches(dataset: Dataset) -> dict[int, int]:
    """Which batch puts each pair forward, by going through the batches from the first."""
    found: dict[int, int] = {}
    for batch in dataset.batches.filter(status=work.Work.Status.DONE).order_by("pk"):
        origin, undos = batch, 0
        while origin.undoes is not None:
            origin, undos = origin.undoes, undos + 1
        for pair in PutForward.objects.filter(batch=origin).values_list("pair", flat=True):
            if undos % 2 and found.get(pair) == origin.pk:
                del found[pair]
            elif not undos % 2:
                found.setdefault(pair, origin.pk)
    return found


def assert_consistent(dataset: Dataset) -> None:
    """Every standing repeats the end of one chain without forks."""
    forward = put_forward_by_batches(dataset)
    for standing in dataset.standings.select_related("pair", "decision__restores"):
        held, end = held_by_chain(standing.pair), standing.decision
        assert end == decisions.latest_decision(standing.pair)
        assert (end.holding if end else None) == held
        assert standing.verdict == (held.verdict if held else "")
        assert standing.decided_by == (held.kind if held else "")
        assert standing.decided_at == (held.created_at if held else None)
        assert standing.put_forward_by_id == forward.get(standing.pk)
        if end is not None:
            assert end.verdict == standing.verdict
            assert end.label_probability == (held.label_probability if held else None)


class History(RuleBasedStateMachine):
    """Decisions one by one and in bulk, policies, restores and undos of all of them, in any order:
    the history stays one that can be read, and nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        name = f"u{User.objects.count()}"
        self.person = factories.user(name)
        self.dataset = factories.dataset(name, curators=[self.person])
        self.pairs = factories.pairs(self.dataset, 5)
        for pair, flag in zip(
            self.pairs, ("flipped", "flipped", "ambiguous", "strong", ""), strict=True
        ):
            self.scores(pair, flag, -1.0)
        self.rows = 0
        self.snapshots: list[Snapshot] = []
        self.digests: dict[Any, str] = {}

    def scores(self, pair: PreferencePair, flag: str, strength: float) -> None:
        changes = {"flag": flag, "strength": strength, "run_id": 1, "label_probability": 0.25}
        self.dataset.standings.filter(pk=pair.pk).update(**changes)

    @rule(place=st.integers(0, 4), verdict=st.sampled_from(["keep", "flip", "tie", "drop"]))
    def decide_one(self, place: int, verdict: str) -> None:
        decide(self.pairs[place], Verdict(verdict), self.person)

    @rule(place=st.integers(0, 4))
    def undo_one(self, place: int) -> None:
        latest = decisions.latest_decision(self.pairs[place])
        if latest is not None:
            decisions.undo(decision=latest, by=self.person)

    @rule(place=st.integers(0, 4), flag=st.sampled_from(["flipped", "strong"]))
    def score_again(self, place: int, flag: str) -> None:
        self.scores(self.pairs[place], flag, -3.0 if flag == "flipped" else 1.0)

    @rule(verdict=st.sampled_from(["keep", "flip", "soften", "drop"]), overrules=st.booleans())
    def decide_in_bulk(self, verdict: str, overrules: bool) -> None:
        chance = 0.25 if verdict == "soften" else None
        given = bulk(verdict, FLIPPED, probability=chance, overrules_people=overrules)
        people = self.decided_by_people()
        decided(self.dataset, given, self.person)
        if not overrules:
            assert people.items() <= self.decided_by_people().items()

    @rule(name=st.sampled_from(["clean", "review-first", "remove-suspects"]))
    def apply_policy(self, name: str) -> None:
        people = self.decided_by_people()
        policy = CLEAN if name == "clean" else PRESETS[name]
        applied(self.dataset, self.person, policy)
        assert people == self.decided_by_people()
        assert not applied(self.dataset, self.person, policy).counts

    @rule(name=st.sampled_from(["clean", "review-first"]))
    def apply_and_undo(self, name: str) -> None:
        before = state(self.dataset)
        policy = CLEAN if name == "clean" else PRESETS[name]
        undone(applied(self.dataset, self.person, policy), self.person)
        assert state(self.dataset) == before

    @rule(data=st.data(), count=st.integers(2, 3))
    def stack_and_unwind(self, data: st.DataObject, count: int) -> None:
        """Whatever the first is, and the ones over it: taken back from the last, all is as it
        was."""
        states = [state(self.dataset)]
        stack: list[DecisionBatch | Decision] = []
        for _ in range(count):
            stack.append(self.step(data, stack))
            states.append(state(self.dataset))
        while stack:
            self.take_back(stack.pop())
            states.pop()
            assert state(self.dataset) == states[-1]

    def step(
        self, data: st.DataObject, stack: list[DecisionBatch | Decision]
    ) -> DecisionBatch | Decision:
        """A decision or a batch, the undo of one among them: of the last step or of what was there
        before the stack. Of what lies deeper, it would leave what the steps over it have decided,
        and so would all that follows from it."""
        kind = data.draw(st.sampled_from(["one", "bulk", "policy", "undo"]))
        verdict = data.draw(st.sampled_from(["keep", "flip", "tie", "drop"]))
        if kind == "bulk":
            return decided(self.dataset, bulk(verdict, overrules_people=True), self.person)
        if kind == "policy":
            return applied(self.dataset, self.person)
        last = self.dataset.batches.filter(undone_by=None).first()
        if last in stack[:-1]:
            last = None
        if kind == "undo" and last is not None:
            return undone(last, self.person)
        return decide(self.pairs[data.draw(st.integers(0, 4))], Verdict(verdict), self.person)

    def take_back(self, made: DecisionBatch | Decision) -> None:
        if isinstance(made, Decision):
            decisions.undo(decision=made, by=self.person)
            return
        made = batch_records.chain(made)[-1]  # what has brought it back, if it was undone
        shown = batch_records.taken_back(made)
        back = undone(made, self.person)
        assert {name: n for name, n in back.counts.items() if name != "queue"} == shown.restored
        assert back.passed_over.get("since", 0) == shown.stays

    @rule(back=st.integers(0, 4))
    def undo_batch(self, back: int) -> None:
        rows = list(self.dataset.batches.filter(undone_by=None).order_by("-pk"))
        if back < len(rows):
            undone(rows[back], self.person)

    @rule()
    def freeze(self) -> None:
        self.snapshots.append(snapshots.freeze(dataset=self.dataset, by=self.person))

    @precondition(lambda self: self.snapshots)
    @rule(place=st.integers(0, 20))
    def restore(self, place: int) -> None:
        snapshot = self.snapshots[place % len(self.snapshots)]
        batch = restored(snapshot, self.person)
        frozen = SnapshotPair.objects.filter(snapshot=snapshot).order_by("pair")
        verdicts = self.dataset.standings.order_by("pk").values_list("verdict", flat=True)
        assert list(verdicts) == [row.verdict for row in frozen]
        assert not batches.differing(snapshot).exists()
        assert batch.passed_over.get("now", 0) + sum(batch.counts.values()) == 5

    @invariant()
    def every_standing_repeats_the_end_of_one_chain(self) -> None:
        assert_consistent(self.dataset)

    @invariant()
    def nothing_is_ever_lost(self) -> None:
        rows = Decision.objects.filter(pair__dataset=self.dataset).count()
        assert rows >= self.rows
        self.rows = rows

    @invariant()
    def the_same_state_has_the_same_digest(self) -> None:
        snapshot = snapshots.freeze(dataset=self.dataset, by=self.person)
        columns = ("pk", "verdict", "decision__label_probability")
        stand = tuple(self.dataset.standings.order_by("pk").values_list(*columns))
        assert self.digests.setdefault(stand, snapshot.digest) == snapshot.digest

    def decided_by_people(self) -> dict[int, int]:
        rows = self.dataset.standings.filter(decided_by="person")
        return dict(rows.values_list("pk", "decision"))


class TestHistory(HypothesisTestCase):
    def test_decisions_batches_and_undos_in_any_order(self) -> None:
        run_state_machine_as_test(
            History,
            settings=settings(max_examples=25, stateful_step_count=12, derandomize=False),
        )


# --- At the same time -----------------------------------------------------------------------------


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_people_decide_while_a_batch_is_at_work_and_nobodys_decision_is_lost(
    dataset: Dataset, casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK", 7)
    pairs = factories.pairs(dataset, 60)
    made: list[Decision] = []
    told: list[str] = []
    begin = threading.Barrier(4)

    def by_hand(which: list[PreferencePair]) -> None:
        try:
            begin.wait()
            for pair in which:
                try:
                    made.append(decide(pair, Verdict.KEEP, casey))
                except Conflict as conflict:
                    told.append(str(conflict))
        finally:
            connection.close()

    def at_once() -> None:
        try:
            begin.wait()
            row = launch.start_bulk(dataset=dataset, bulk=bulk("flip"), by=casey)
            tasks.decide_batch(batch_id=row.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=by_hand, args=(pairs[n::3],)) for n in range(3)]
    threads.append(threading.Thread(target=at_once))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batch = dataset.batches.get()
    assert batch.status == DecisionBatch.Status.DONE, batch.problem
    assert len(made) + len(told) == 60
    assert_consistent(dataset)
    assert Decision.objects.filter(batch=None).count() == len(made)
    assert batch.decided + batch.passed_over.get("people", 0) == 60
