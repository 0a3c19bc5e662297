"""Many pairs decided at once, and taken back as one; people are not overruled, nothing is lost."""

from typing import Any

import pytest

from annotations import decisions, launch, policies, snapshots, tasks
from annotations.conditions import parse
from annotations.fields import Use
from annotations.models import (
    Dataset,
    Decision,
    DecisionBatch,
    Export,
    PairStanding,
    PreferencePair,
    Verdict,
)
from annotations.proposals import Bulk
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
    batch = applied(dataset, casey)
    after = state(dataset)
    for expected in (before, after, before, after):
        batch = undone(batch, casey)
        assert state(dataset) == expected
