"""Thin Celery tasks of the `default` queue: what a run needs beside a device. Nothing here loads
torch."""

from celery import shared_task

from annotations.models import Round, SnapshotRequest
from curator.lib import work
from curator.lib.doorbell import is_quiet, ring
from scoring import (
    counting,
    freezing,
    iterating,
    launch,
    planning,
    recalibrating,
    routing,
    shards,
    strengths,
)
from scoring.experiments import steps, together
from scoring.models import (
    CalibrationUse,
    DatasetFigures,
    Experiment,
    Iteration,
    ScoringRun,
    TrainingRun,
)


@shared_task
def plan_training(*, run_id: int) -> None:
    work.perform(TrainingRun, run_id, planning.plan_training)


@shared_task
def plan_scoring(*, run_id: int) -> None:
    work.perform(ScoringRun, run_id, planning.plan_scoring)


@shared_task
def finish_scoring(*, run_id: int) -> None:
    work.perform(ScoringRun, run_id, strengths.bring_together)
    strengths.take_back(run_id)
    run = ScoringRun.objects.filter(pk=run_id).first()
    launch.find_topics_after(run)
    for iteration_id in iterating.waiting_for(run.ensemble_id) if run else ():
        ring(iterating.GO_ON_ITERATING, iteration_id=iteration_id)


@shared_task
def go_on_iterating(*, iteration_id: int) -> None:
    work.perform(Iteration, iteration_id, iterating.advance)


@shared_task
def finish_experiment(*, experiment_id: int) -> None:
    work.perform(Experiment, experiment_id, together.bring_together)


@shared_task
def fill_round(*, round_id: int) -> None:
    work.perform(Round, round_id, routing.fill)


@shared_task
def freeze_dataset(*, request_id: int) -> None:
    work.perform(SnapshotRequest, request_id, freezing.run)


@shared_task
def count_figures(*, figures_id: int) -> None:
    work.perform(DatasetFigures, figures_id, counting.run)


@shared_task
def use_calibration(*, use_id: int) -> None:
    work.perform(CalibrationUse, use_id, recalibrating.run)


@shared_task
def sweep() -> None:
    """Ring for runs and snapshots that are due, for runs to take back, for rounds that nobody has
    filled, figures that nobody has counted, calibrations that nobody has written, and iterations
    whose next step is due."""
    shards.sweep()
    steps.sweep()
    for run_id in strengths.half_handed_over():
        ring(shards.FINISH_SCORING, run_id=run_id)
    counting.ask_where_lately_changed()
    for figures_id in work.due(DatasetFigures, unheard=shards.UNHEARD, quiet=is_quiet("default")):
        ring(counting.COUNT_FIGURES, figures_id=figures_id)
    for round_id in work.due(Round, unheard=shards.UNHEARD, quiet=is_quiet("default")):
        ring(launch.FILL_ROUND, round_id=round_id)
    for iteration_id in iterating.due():
        ring(iterating.GO_ON_ITERATING, iteration_id=iteration_id)
    for request_id in work.due(SnapshotRequest, unheard=shards.UNHEARD, quiet=is_quiet("default")):
        ring(launch.FREEZE_DATASET, request_id=request_id)
    for use_id in work.due(CalibrationUse, unheard=shards.UNHEARD, quiet=is_quiet("default")):
        ring(recalibrating.USE_CALIBRATION, use_id=use_id)
