"""A worker killed in the middle of its work: the next one finishes it, and nothing differs."""

import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from annotations.models import Dataset, Import
from curator.lib.work import Work
from scoring import launch, slicing, tasks
from scoring.models import Ensemble, ScoringRun
from tests import factories, tiny_models
from tests.workers.conftest import Worker, wait_until

pytestmark = pytest.mark.worker

PAIRS = 240
KILLS = 20


@pytest.fixture
def ensemble(workers: Any, tiny_backbone: str) -> Ensemble:
    into = factories.dataset("killed")
    rows = [factories.row(n, label="b" if n % 5 == 0 else "a") for n in range(PAIRS)]
    done = factories.imported(into, rows)
    assert done.status == Import.Status.DONE, done.problem
    return factories.trained(into, tiny_backbone)


def assert_same_scores(run: ScoringRun, other: ScoringRun) -> None:
    """Every pair has one score of the same members with the same flag in both runs, and all figures
    are the same but for the last bit of a float, which some processors round differently in another
    process."""
    columns = ("margins", "strength", "spread", "votes", "label_probability", "flag")
    ours, theirs = (
        list(one.scores.order_by("pair_id").values_list("pair_id", *columns))
        for one in (run, other)
    )
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    assert [row[-1] for row in ours] == [row[-1] for row in theirs]
    for number in range(1, len(columns)):
        figures, expected = (
            np.array([row[number] for row in rows], dtype=np.float64) for rows in (ours, theirs)
        )
        np.testing.assert_allclose(figures, expected, rtol=1e-5, atol=1e-6)


def done_shards(run: ScoringRun) -> int:
    return int(run.shards.filter(status=Work.Status.DONE).count())


def is_over(row: Any) -> bool:
    row.refresh_from_db()
    return bool(row.is_over)


def test_a_run_whose_worker_is_killed_ends_as_an_undisturbed_one(
    workers: dict[str, Worker], ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slicing, "MOST_PAIRS", 4)
    undisturbed = factories.scored(ensemble)
    workers["default"].start()  # it carries the sweep
    workers["scoring"].start()
    run = launch.start_scoring(ensemble=ensemble, by=None)
    tasks.plan_scoring(run_id=run.pk)
    for already in (3, 15):
        wait_until(lambda at=already: done_shards(run) >= at, "shards to be scored")  # type: ignore[misc]
        workers["scoring"].kill()
        killed_at = done_shards(run)
        assert killed_at < run.shards.count()
        run.refresh_from_db()
        assert not run.is_over
        workers["scoring"].start()
    wait_until(lambda: is_over(run), "the run to end")
    assert (run.status, run.problem) == (Work.Status.DONE, "")
    assert run.scores.count() == run.scores.values("pair").distinct().count() == PAIRS
    assert_same_scores(run, undisturbed)
    assert run.summary["flags"] == undisturbed.summary["flags"]


def test_twenty_kills_leave_exactly_the_scores_of_an_undisturbed_run(
    workers: dict[str, Worker],
    ensemble: Ensemble,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Heads and two registered models; the process that works is killed at random moments, and at
    times the whole worker with it."""
    monkeypatch.setattr(slicing, "MOST_PAIRS", 4)
    monkeypatch.setattr(slicing, "MOST_SCORED_PAIRS", 4)
    models = [
        factories.registered(tiny_models.decoder(tmp_path / name, seed=seed), name)
        for seed, name in enumerate(["one", "two"])
    ]
    mixed = launch.assemble(
        dataset=ensemble.dataset, name="mixed", by=None, checkpoints=models, heads_of=ensemble
    )
    # by workers too, and planned here too: rounding depends on what is scored together
    undisturbed = launch.start_scoring(ensemble=mixed, by=None)
    tasks.plan_scoring(run_id=undisturbed.pk)
    workers["default"].start()
    workers["scoring"].start()
    wait_until(lambda: is_over(undisturbed), "the undisturbed run to end")
    for worker in workers.values():
        worker.kill()
    shutil.rmtree(settings.CURATOR_HOME / "rewards")
    run = launch.start_scoring(ensemble=mixed, by=None)
    tasks.plan_scoring(run_id=run.pk)
    workers["default"].start()
    workers["scoring"].start()
    moments = random.Random(0)
    for kill in range(KILLS):
        before = done_shards(run)
        wait_until(lambda at=before: done_shards(run) > at, "a shard to be scored")  # type: ignore[misc]
        time.sleep(moments.uniform(0.0, 0.1))
        assert done_shards(run) < run.shards.count(), f"over before kill {kill + 1}"
        if kill % 10 == 9:
            workers["scoring"].kill()
            workers["scoring"].start()
        else:
            workers["scoring"].kill_child()
    wait_until(lambda: is_over(run), "the run to end")
    assert (run.status, run.problem) == (Work.Status.DONE, "")
    assert_same_scores(run, undisturbed)
    assert run.summary["flags"] == undisturbed.summary["flags"]


def test_an_import_whose_worker_is_killed_is_made_once(
    workers: dict[str, Worker], transactional_db: Any
) -> None:
    into: Dataset = factories.dataset("importing")
    count = 12_000
    file = factories.file_of(factories.row(number) for number in range(count))
    workers["default"].start()
    row = factories.start_import(into, file)

    def begun() -> bool:
        row.refresh_from_db()
        return row.read >= 500

    wait_until(begun, "the import to begin")
    workers["default"].kill()
    row.refresh_from_db()
    assert row.status == Work.Status.RUNNING
    assert not into.pairs.exists()
    workers["default"].start()
    wait_until(lambda: is_over(row), "the import to end")
    assert (row.status, row.problem) == (Work.Status.DONE, "")
    assert (row.read, row.created, into.pairs.count()) == (count, count, count)
    wait_until(lambda: not row.staged_pairs.exists(), "the staged rows to be deleted")
