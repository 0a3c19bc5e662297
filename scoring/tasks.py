"""Thin Celery tasks of the `default` queue: what a run needs beside a device. Nothing here loads
torch."""

from celery import shared_task

from curator.lib import work
from scoring import planning, shards, strengths
from scoring.models import ScoringRun, TrainingRun


@shared_task
def plan_training(*, run_id: int) -> None:
    work.perform(TrainingRun, run_id, planning.plan_training)


@shared_task
def plan_scoring(*, run_id: int) -> None:
    work.perform(ScoringRun, run_id, planning.plan_scoring)


@shared_task
def finish_scoring(*, run_id: int) -> None:
    work.perform(ScoringRun, run_id, strengths.bring_together)


@shared_task
def sweep() -> None:
    shards.sweep()
