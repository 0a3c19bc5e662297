"""Thin Celery tasks of the `scoring` queue: one process a device, which loads torch and keeps
its models."""

from celery import shared_task

from curator.lib import work
from scoring import audits, embedding, fitting, margins, shards
from scoring.models import Audit, ScoringShard, TrainingRun, TrainingShard


@shared_task
def embed_shard(*, shard_id: int) -> None:
    if work.perform(TrainingShard, shard_id, embedding.embed_shard):
        shards.after_shard(TrainingShard.objects.get(pk=shard_id))


@shared_task
def fit_ensemble(*, run_id: int) -> None:
    work.perform(TrainingRun, run_id, fitting.fit)


@shared_task
def score_shard(*, shard_id: int) -> None:
    if work.perform(ScoringShard, shard_id, margins.score_shard):
        shards.after_shard(ScoringShard.objects.get(pk=shard_id))


@shared_task
def run_audit(*, audit_id: int) -> None:
    work.perform(Audit, audit_id, audits.run)
