"""Cut a run into shards, and say what a run needs next. The rows are the truth; a bell rung
twice changes nothing."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotations.models import Dataset
from curator.lib import work
from curator.lib.batches import batches
from curator.lib.doorbell import is_quiet, ring
from curator.lib.refusals import Refusal
from curator.lib.work import Work
from scoring.models import Audit, ScoringRun, ScoringShard, TrainingRun, TrainingShard

logger = logging.getLogger(__name__)

PAIRS_PER_SHARD = 256
MOST_MESSAGES = 10_000
UNHEARD = timedelta(seconds=10)

PLAN_TRAINING = "scoring.tasks.plan_training"
PLAN_SCORING = "scoring.tasks.plan_scoring"
FINISH_SCORING = "scoring.tasks.finish_scoring"
EMBED_SHARD = "scoring.device_tasks.embed_shard"
FIT_ENSEMBLE = "scoring.device_tasks.fit_ensemble"
SCORE_SHARD = "scoring.device_tasks.score_shard"
RUN_AUDIT = "scoring.device_tasks.run_audit"

AnyRun = TrainingRun | ScoringRun
AnyShard = TrainingShard | ScoringShard


@dataclass(frozen=True)
class Steps:
    """The tasks that a kind of run is made of, and its kind of shard."""

    shards: type[TrainingShard] | type[ScoringShard]
    plan: str
    shard: str
    end: str


STEPS: dict[type[TrainingRun] | type[ScoringRun], Steps] = {
    TrainingRun: Steps(TrainingShard, PLAN_TRAINING, EMBED_SHARD, FIT_ENSEMBLE),
    ScoringRun: Steps(ScoringShard, PLAN_SCORING, SCORE_SHARD, FINISH_SCORING),
}


class NotEnoughPairs(Refusal):
    """There is too little to train on or to score."""


def plan(run: AnyRun, dataset: Dataset) -> None:
    """Cut the dataset's pairs into shards, once; pairs of one prompt stand together so that it is
    embedded once.

    Raises NotEnoughPairs when there are none.
    """
    if run.planned_at is None:
        pairs = dataset.pairs.order_by("group", "pk").values_list("pk", flat=True)
        kind: Any = run.shards.model
        with transaction.atomic():
            total = 0
            for position, pair_ids in enumerate(batches(pairs.iterator(), PAIRS_PER_SHARD)):
                kind.objects.create(
                    run=run, position=position, pair_ids=pair_ids, pairs_count=len(pair_ids)
                )
                total += len(pair_ids)
            if not total:
                raise NotEnoughPairs(f"{dataset.name} holds no pairs yet: import some first.")
            work.release(run, planned_at=timezone.now(), pairs_total=total)
        logger.info(
            "planned %s=%s shards=%d pairs=%d", type(run).__name__, run.pk, position + 1, total
        )
    else:
        work.release(run)  # rung for twice
    go_on(run)


def go_on(run: AnyRun) -> None:
    """Ring for every shard that waits, or for the end of the run when all are done; fail the run
    with its first shard."""
    steps = STEPS[type(run)]
    if run.is_over:
        return
    if run.planned_at is None:
        ring(steps.plan, run_id=run.pk)
        return
    open_shards = run.shards.filter(status__in=work.OPEN)
    failed = run.shards.filter(status=Work.Status.FAILED).first()
    if failed is not None:
        fail(run, f"Shard {failed.position + 1} of {run.shards.count()} failed: {failed.problem}")
    elif open_shards.exists():
        waiting = open_shards.filter(status=Work.Status.QUEUED).values_list("pk", flat=True)
        for shard_id in waiting[:MOST_MESSAGES]:
            if not ring(steps.shard, shard_id=shard_id):
                break  # the sweep rings for the rest when the broker is back
    else:
        ring(steps.end, run_id=run.pk)


def after_shard(shard: AnyShard) -> None:
    """Go on with the run when this was its last open shard, or when the shard failed for good."""
    shard.refresh_from_db()
    run = shard.run
    run.refresh_from_db()
    if shard.status == Work.Status.FAILED or not run.shards.filter(status__in=work.OPEN).exists():
        go_on(run)


@transaction.atomic
def fail(run: AnyRun, problem: str) -> None:
    """End the run with the problem, and its open shards with it."""
    now = timezone.now()
    open_run = type(run)._default_manager.filter(pk=run.pk, status__in=work.OPEN)
    if open_run.update(
        status=Work.Status.FAILED,
        problem=problem,
        finished_at=now,
        lease_expires_at=None,
        holder="",
    ):
        _cancel_shards(run)


@transaction.atomic
def cancel(run: AnyRun) -> bool:
    """Stop the run; workers notice at the next batch. False when it was over already."""
    cancelled = work.cancel(run)
    _cancel_shards(run)
    return cancelled


@transaction.atomic
def retry(run: AnyRun) -> bool:
    """Let a failed or cancelled run go on from where it stands: what is scored stays scored."""
    if not work.requeue(run):
        return False
    for shard in run.shards.filter(status__in=(Work.Status.FAILED, Work.Status.CANCELLED)):
        work.requeue(shard)
    return True


def sweep() -> None:
    """Ring for what is due: rows whose worker died, and, where a queue is quiet, rows whose
    message was lost."""
    device_quiet, default_quiet = is_quiet("scoring"), is_quiet("default")
    for kind, steps in STEPS.items():
        for shard_id in work.due(steps.shards, unheard=UNHEARD, quiet=device_quiet):
            ring(steps.shard, shard_id=shard_id)
        since = timezone.now() - UNHEARD
        for run in kind._default_manager.filter(status__in=work.OPEN, queued_at__lt=since):
            lost = run.lease_expires_at is not None and work.is_free(run)
            idle = run.lease_expires_at is None and (
                device_quiet if run.planned_at else default_quiet
            )
            waiting = run.shards.filter(status__in=work.OPEN).exists()
            if lost or (idle and not waiting):
                go_on(run)
    for audit_id in work.due(Audit, unheard=UNHEARD, quiet=device_quiet):
        ring(RUN_AUDIT, audit_id=audit_id)


def _cancel_shards(run: AnyRun) -> None:
    now = timezone.now()
    shards = run.shards.filter(status__in=work.OPEN)
    shards.update(status=Work.Status.CANCELLED, finished_at=now, lease_expires_at=None, holder="")
