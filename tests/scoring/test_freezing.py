"""Snapshots with what the current run says, and exports with its margins."""

import pytest

from annotations.models import Dataset, Export, Snapshot
from curator.models import User
from scoring import freezing
from scoring.models import Mode, ScoringRun
from tests import factories


@pytest.fixture
def snapshot(run: ScoringRun, casey: User) -> Snapshot:
    return freezing.freeze(dataset=run.dataset, by=casey)


def test_a_snapshot_names_its_run_and_keeps_strengths_towards_a(
    snapshot: Snapshot, run: ScoringRun
) -> None:
    assert snapshot.scored_by == f"run {run.pk} (out-of-bag, ensemble heads)"
    for row in snapshot.rows.select_related("pair"):
        score = run.scores.get(pair=row.pair)
        assert score.strength is not None
        sign = -1 if row.pair.source_preference == "b" else 1
        assert row.strength == pytest.approx(sign * score.strength)
        assert (row.flag, row.votes) == (score.flag, score.votes)


def test_an_export_has_the_margin_of_the_chosen_response(
    snapshot: Snapshot, run: ScoringRun
) -> None:
    lines = factories.lines_of(factories.exported(snapshot, Export.Format.TRL_REWARD))
    assert snapshot.margin_scale is not None
    found = {line["prompt"][0]["content"]: line["margin"] for line in lines}
    assert len(found) == 28
    for score in run.scores.exclude(flag="").select_related("pair"):
        assert score.strength is not None
        expected = max(-3.0, min(3.0, score.strength / snapshot.margin_scale))
        assert found[score.pair.prompt[0]["content"]] == pytest.approx(expected, abs=1e-6)


def test_in_sample_scores_never_take_the_place_of_out_of_bag_ones(
    snapshot: Snapshot, casey: User
) -> None:
    """Neither in a snapshot nor in the order of the review queue."""
    dataset = snapshot.dataset
    queue = list(dataset.standings.queued_for_review())
    factories.scored(dataset.ensembles.get(), mode=Mode.IN_SAMPLE)
    assert freezing.freeze(dataset=dataset, by=casey) == snapshot
    assert list(dataset.standings.queued_for_review()) == queue


def test_other_strengths_are_another_snapshot(
    snapshot: Snapshot, casey: User, tiny_backbone: str
) -> None:
    factories.scored(factories.trained(snapshot.dataset, tiny_backbone, members=2, name="other"))
    assert freezing.freeze(dataset=snapshot.dataset, by=casey).number == 2


def test_a_dataset_that_was_never_scored_is_frozen_without_evidence(
    thirty: Dataset, casey: User
) -> None:
    snapshot = freezing.freeze(dataset=thirty, by=casey)
    assert (snapshot.scored_by, snapshot.margin_scale) == ("", None)
    lines = factories.lines_of(factories.exported(snapshot, Export.Format.TRL_REWARD))
    assert {line["margin"] for line in lines} == {0.0}
