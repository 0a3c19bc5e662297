"""A run's scores on their way into the pairs' standings: whatever comes in between, in the end all
standings speak for the dataset's current run."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotations import queue
from annotations.models import Dataset
from curator.lib.refusals import Refusal
from scoring import device_tasks, launch, shards, strengths, tasks
from scoring.models import Ensemble, ScoringRun
from tests import factories

pytestmark = pytest.mark.django_db

Act = Callable[[], object]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "BATCH", 10)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], None]:
    """Has something happen once, after the first step of the next that writes."""
    steps, acts = queue.set_scores, list[Act]()

    def set_scores(*arguments: Any, **scores: Any) -> Iterator[int]:
        for count in steps(*arguments, **scores):
            if acts:
                acts.pop()()
            yield count

    monkeypatch.setattr(queue, "set_scores", set_scores)
    return acts.append


def ready(ensemble: Ensemble) -> ScoringRun:
    """A run all of whose shards are scored, and that waits for its end."""
    run = launch.start_scoring(ensemble=ensemble, by=None)
    tasks.plan_scoring(run_id=run.pk)
    for shard in run.shards.all():
        device_tasks.score_shard(shard_id=shard.pk)
    run.refresh_from_db()
    return run


def carried(dataset: Dataset) -> list[tuple[Any, ...]]:
    columns = ("run_id", "flag", "strength", "label_probability", "review_priority")
    return list(dataset.standings.order_by("pair").values_list(*columns))


def runs_of(dataset: Dataset) -> set[int | None]:
    return set(dataset.standings.values_list("run_id", flat=True))


def mark_of(dataset: Dataset) -> str:
    return Dataset.objects.get(pk=dataset.pk).scores_being_written_by


def test_the_dataset_says_whose_scores_it_is_being_given(
    ensemble: Ensemble, between: Callable[[Act], None]
) -> None:
    run, seen = ready(ensemble), list[str]()
    between(lambda: seen.append(mark_of(run.dataset)))
    tasks.finish_scoring(run_id=run.pk)
    assert seen == [f"run {run.pk}"]
    assert (runs_of(run.dataset), mark_of(run.dataset)) == ({run.pk}, "")


def test_a_run_that_is_cancelled_while_it_is_handed_over_is_taken_back(
    ensemble: Ensemble, between: Callable[[Act], None]
) -> None:
    first = factories.scored(ensemble)
    before = carried(first.dataset)
    second = ready(ensemble)
    between(lambda: shards.cancel(second))
    tasks.finish_scoring(run_id=second.pk)
    assert carried(first.dataset) == before
    assert mark_of(first.dataset) == ""
    assert shards.retry(second)
    tasks.finish_scoring(run_id=second.pk)
    assert (runs_of(first.dataset), mark_of(first.dataset)) == ({second.pk}, "")


def test_a_run_that_fails_while_it_is_handed_over_is_taken_back(
    ensemble: Ensemble, between: Callable[[Act], None]
) -> None:
    def fail() -> None:
        raise Refusal("The disk is full.")

    run = ready(ensemble)
    between(fail)
    tasks.finish_scoring(run_id=run.pk)
    run.refresh_from_db()
    assert (run.status, run.problem) == (ScoringRun.Status.FAILED, "The disk is full.")
    assert set(carried(run.dataset)) == {(None, "", None, None, None)}  # no run came before
    assert mark_of(run.dataset) == ""


def test_the_sweep_finds_what_a_killed_worker_left_of_a_cancelled_run(
    ensemble: Ensemble, between: Callable[[Act], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    first, rung = factories.scored(ensemble), list[tuple[str, dict[str, int]]]()
    before = carried(first.dataset)
    second = ready(ensemble)
    between(kill)
    with pytest.raises(Killed):
        tasks.finish_scoring(run_id=second.pk)
    assert len(runs_of(first.dataset)) == 2
    shards.cancel(second)
    assert strengths.half_handed_over() == []  # somebody was at it just now
    long_ago = timezone.now() - timedelta(minutes=5)
    ScoringRun.objects.filter(pk=second.pk).update(heartbeat_at=long_ago)
    monkeypatch.setattr(tasks, "ring", lambda task, **about: rung.append((task, about)))
    tasks.sweep()
    assert (shards.FINISH_SCORING, {"run_id": second.pk}) in rung
    tasks.finish_scoring(run_id=second.pk)
    assert carried(first.dataset) == before
    assert mark_of(first.dataset) == ""


@pytest.mark.parametrize("is_later", [True, False])
def test_of_two_runs_that_end_at_once_the_later_is_carried_by_all_pairs(
    ensemble: Ensemble, between: Callable[[Act], None], is_later: bool
) -> None:
    earlier, later = ready(ensemble), ready(ensemble)
    one, other = (later, earlier) if is_later else (earlier, later)
    between(lambda: tasks.finish_scoring(run_id=other.pk))
    tasks.finish_scoring(run_id=one.pk)
    statuses = ScoringRun.objects.filter(pk__in=[one.pk, other.pk]).values_list("status", flat=True)
    assert set(statuses) == {ScoringRun.Status.DONE}
    assert (runs_of(one.dataset), mark_of(one.dataset)) == ({later.pk}, "")


def test_steps_lock_standings_in_their_order_before_they_write(thirty: Dataset) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL locks rows")
    with CaptureQueriesContext(connection) as asked:
        list(queue.set_scores(thirty, review_priority=None))
    said = [query["sql"] for query in asked if "annotations_pairstanding" in query["sql"]][1:]
    assert len(said) == 6
    for lock, write in zip(said[::2], said[1::2], strict=True):
        assert lock.startswith('SELECT "annotations_pairstanding"."pair_id" AS "pk" FROM')
        assert lock.endswith("ORDER BY 1 ASC FOR NO KEY UPDATE")
        assert write.startswith("UPDATE")
