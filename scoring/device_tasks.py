"""Thin Celery tasks of the `scoring` queue: one process a device, which loads torch and keeps
its models."""

from collections.abc import Callable
from typing import TypeVar

from celery import shared_task

from curator.lib import processes, work
from curator.lib.doorbell import ring
from scoring import (
    audits,
    checkpoints,
    embedding,
    fitting,
    iterating,
    launch,
    margins,
    placing,
    shards,
)
from scoring.engine.devices import DeviceLost
from scoring.experiments import kept, steps, trials
from scoring.finetuning import members
from scoring.models import (
    Audit,
    Checkpoint,
    MemberTraining,
    ScoringShard,
    TopicMap,
    TrainingRun,
    TrainingShard,
    Trial,
)

Row = TypeVar("Row", bound=work.Work)


@shared_task
def embed_shard(*, shard_id: int) -> None:
    if shards.is_paused(TrainingShard, shard_id):
        return
    _perform(TrainingShard, shard_id, embedding.embed_shard)
    shards.after_shard(TrainingShard, shard_id)


@shared_task
def fit_ensemble(*, run_id: int) -> None:
    _perform(TrainingRun, run_id, _fit)
    after_training(run_id)


def after_training(run_id: int) -> None:
    """What an ensemble that is trained sets off: its topics, and the next step of an iteration."""
    run = TrainingRun.objects.filter(pk=run_id).first()
    launch.find_topics_after(run)
    for iteration_id in iterating.waiting_for(run.ensemble_id) if run else ():
        ring(iterating.GO_ON_ITERATING, iteration_id=iteration_id)


def _fit(run: TrainingRun) -> None:
    """Heads are trained here; whole models were, each by a task of its own."""
    if run.ensemble.is_fine_tuned:
        members.bring_together(run)
    else:
        fitting.fit(run)


@shared_task
def finetune_member(*, member_id: int) -> None:
    if shards.is_member_paused(member_id):
        return
    kept.forget()  # a training needs the memory
    _perform(MemberTraining, member_id, members.train)
    shards.after_member(member_id)


@shared_task
def score_shard(*, shard_id: int) -> None:
    if shards.is_paused(ScoringShard, shard_id):
        return
    _perform(ScoringShard, shard_id, margins.score_shard)
    shards.after_shard(ScoringShard, shard_id)


@shared_task
def run_audit(*, audit_id: int) -> None:
    _perform(Audit, audit_id, audits.run)


@shared_task
def run_trial(*, trial_id: int) -> None:
    _perform(Trial, trial_id, trials.run)
    kept.forget_ended()
    steps.after_trial(trial_id)


@shared_task
def place_prompts(*, map_id: int) -> None:
    _perform(TopicMap, map_id, placing.place)


@shared_task
def register_checkpoint(*, checkpoint_id: int) -> None:
    _perform(Checkpoint, checkpoint_id, checkpoints.register)


def _perform(kind: type[Row], pk: int, do: Callable[[Row], None]) -> None:
    """`work.perform`, after which a process whose device is gone makes room for a fresh one: the
    row is free again by then."""
    if kind is not Trial:
        kept.forget_ended()
    lost = False

    def on_device(row: Row) -> None:
        nonlocal lost
        try:
            do(row)
        except DeviceLost:
            lost = True
            raise

    work.perform(kind, pk, on_device)
    if lost:
        processes.end_at_once()
