"""A worker killed in the middle of its work: the next one finishes it, and nothing differs."""

import random
import shutil
import time
from pathlib import Path
from typing import Any

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


def rows_of(run: ScoringRun) -> list[Any]:
    columns = ("pair_id", "margins", "strength", "spread", "votes", "label_probability", "flag")
    return list(run.scores.order_by("pair_id").values_list(*columns))


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
    assert rows_of(run) == rows_of(undisturbed)
    assert run.summary == undisturbed.summary


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
    undisturbed = factories.scored(mixed)
    shutil.rmtree(settings.CURATOR_HOME / "rewards")
    workers["default"].start()
    workers["scoring"].start()
    run = launch.start_scoring(ensemble=mixed, by=None)
    tasks.plan_scoring(run_id=run.pk)
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
    assert rows_of(run) == rows_of(undisturbed)
    assert {**run.summary, "tokens": 0} == {**undisturbed.summary, "tokens": 0}


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
