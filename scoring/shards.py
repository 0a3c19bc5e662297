"""Say what a run needs next: its plan, its shards, or its end. The rows are the truth; a bell rung
twice changes nothing."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from curator.lib import work
from curator.lib.doorbell import is_quiet, ring
from curator.lib.refusals import Refusal
from curator.lib.work import Work
from scoring.models import (
    Audit,
    Checkpoint,
    MemberTraining,
    ScoringRun,
    ScoringShard,
    TopicMap,
    TrainingRun,
    TrainingShard,
)

logger = logging.getLogger(__name__)

MOST_MESSAGES = 10_000
UNHEARD = timedelta(seconds=10)

PLAN_TRAINING = "scoring.tasks.plan_training"
PLAN_SCORING = "scoring.tasks.plan_scoring"
FINISH_SCORING = "scoring.tasks.finish_scoring"
EMBED_SHARD = "scoring.device_tasks.embed_shard"
FIT_ENSEMBLE = "scoring.device_tasks.fit_ensemble"
FINETUNE_MEMBER = "scoring.device_tasks.finetune_member"
SCORE_SHARD = "scoring.device_tasks.score_shard"
REGISTER_CHECKPOINT = "scoring.device_tasks.register_checkpoint"
RUN_AUDIT = "scoring.device_tasks.run_audit"
PLACE_PROMPTS = "scoring.device_tasks.place_prompts"

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


def go_on(run: AnyRun) -> None:
    """Ring for the run's plan, for every shard that waits, or for its end when all are over."""
    steps = STEPS[type(run)]
    if run.is_over or run.is_paused:
        return
    if run.planned_at is None:
        ring(steps.plan, run_id=run.pk)
        return
    if isinstance(run, TrainingRun) and run.member_trainings.exists():
        _go_on_with_members(run)
        return
    open_shards = run.shards.filter(status__in=work.OPEN)
    if isinstance(run, TrainingRun) and fail_with_a_shard(run):
        return  # members are trained on all pairs or not at all
    if open_shards.exists():
        waiting = open_shards.filter(status=Work.Status.QUEUED).values_list("pk", flat=True)
        for shard_id in waiting[:MOST_MESSAGES]:
            if not ring(steps.shard, shard_id=shard_id):
                break  # the sweep rings for the rest when the broker is back
    else:
        ring(steps.end if run.plan_is_complete else steps.plan, run_id=run.pk)


def _go_on_with_members(run: TrainingRun) -> None:
    """Ring for every member that waits to be fine-tuned. When all are over, the run ends, or fails
    with those that did: what others have learnt is kept for the next attempt."""
    members = run.member_trainings.all()
    if members.filter(status__in=work.OPEN).exists():
        waiting = members.filter(status=Work.Status.QUEUED).values_list("pk", flat=True)
        for member_id in waiting:
            if not ring(FINETUNE_MEMBER, member_id=member_id):
                break
        return
    failed = list(members.filter(status=Work.Status.FAILED))
    if failed:
        numbers = ", ".join(str(member.position + 1) for member in failed)
        what = f"Member {numbers}" if len(failed) == 1 else f"Members {numbers}"
        fail(run, f"{what} of {members.count()} failed: {failed[0].problem}")
    else:
        ring(STEPS[TrainingRun].end, run_id=run.pk)


def after_member(member_id: int) -> None:
    """Go on with the training when none of its members is open any more."""
    member = MemberTraining.objects.filter(pk=member_id).select_related("run").first()
    if member is None or not member.is_over:
        return
    if not member.run.member_trainings.filter(status__in=work.OPEN).exists():
        go_on(member.run)


def is_member_paused(member_id: int) -> bool:
    """Whether the member's training is paused, so that it is not to be taken up."""
    return MemberTraining.objects.filter(pk=member_id, run__paused_at__isnull=False).exists()


def fail_with_a_shard(run: AnyRun) -> bool:
    """Fail the run where one of its shards has; False where none has."""
    failed = run.shards.filter(status=Work.Status.FAILED).first()
    if failed is None:
        return False
    fail(run, f"Shard {failed.position + 1} of {run.shards.count()} failed: {failed.problem}")
    return True


def after_shard(kind: type[AnyShard], shard_id: int) -> None:
    """Go on with the run when none of its shards is open any more; a training at once when the
    shard failed for good. Asked for again when a message comes again: its first hearer may have
    died between the shard's end and this."""
    shard = kind._default_manager.filter(pk=shard_id).select_related("run").first()
    if shard is None or not shard.is_over:
        return
    failed = shard.status == Work.Status.FAILED and isinstance(shard.run, TrainingRun)
    if failed or not shard.run.shards.filter(status__in=work.OPEN).exists():
        go_on(shard.run)


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


def pause(run: AnyRun) -> bool:
    """Take up no further shard of the run; those that are worked on come to their end. False when
    it was over or paused already."""
    unpaused = type(run)._default_manager.filter(
        pk=run.pk, status__in=work.OPEN, paused_at__isnull=True
    )
    return bool(unpaused.update(paused_at=timezone.now()))


def resume(run: AnyRun) -> bool:
    """Go on with a paused run. False when it was not paused."""
    paused = type(run)._default_manager.filter(pk=run.pk, paused_at__isnull=False)
    if not paused.update(paused_at=None):
        return False
    run.refresh_from_db()
    transaction.on_commit(lambda: go_on(run))
    return True


def is_paused(kind: type[AnyShard], shard_id: int) -> bool:
    """Whether the shard's run is paused, so that it is not to be taken up."""
    return kind._default_manager.filter(pk=shard_id, run__paused_at__isnull=False).exists()


@transaction.atomic
def retry(run: AnyRun) -> bool:
    """Let a run go on from where it stands, when it failed, was cancelled, or ended without some of
    its shards: what is scored stays scored. The later waves of an adaptive run are planned anew,
    since they follow from the first."""
    ended = (Work.Status.FAILED, Work.Status.CANCELLED)
    lost = run.shards.filter(status__in=ended)
    if not work.requeue(run, also_done=lost.exists()):
        return False
    if isinstance(run, TrainingRun):
        for member in run.member_trainings.filter(status__in=ended):
            work.requeue(member)
    if isinstance(run, ScoringRun) and run.is_adaptive and run.planned_at is not None:
        run.shards.filter(wave__gt=0).delete()
        ScoringRun.objects.filter(pk=run.pk).update(wave=0, plan_is_complete=False)
    type(run)._default_manager.filter(pk=run.pk).update(paused_at=None)
    for shard in lost:
        work.requeue(shard)
    return True


def sweep() -> None:
    """Ring for what is due: rows whose worker died, and, where a queue is quiet, rows whose
    message was lost."""
    device_quiet, default_quiet = is_quiet("scoring"), is_quiet("default")
    for kind, steps in STEPS.items():
        for shard_id in work.due(
            steps.shards, unheard=UNHEARD, quiet=device_quiet, but=Q(run__paused_at__isnull=False)
        ):
            ring(steps.shard, shard_id=shard_id)
        since = timezone.now() - UNHEARD
        for run in kind._default_manager.filter(status__in=work.OPEN, queued_at__lt=since):
            lost = run.lease_expires_at is not None and work.is_free(run)
            on_device = isinstance(run, TrainingRun) and run.planned_at is not None
            idle = run.lease_expires_at is None and (device_quiet if on_device else default_quiet)
            waiting = _has_open_parts(run)
            if lost or (idle and not waiting):
                go_on(run)
    for member_id in work.due(
        MemberTraining, unheard=UNHEARD, quiet=device_quiet, but=Q(run__paused_at__isnull=False)
    ):
        ring(FINETUNE_MEMBER, member_id=member_id)
    for checkpoint_id in work.due(Checkpoint, unheard=UNHEARD, quiet=device_quiet):
        ring(REGISTER_CHECKPOINT, checkpoint_id=checkpoint_id)
    for audit_id in work.due(Audit, unheard=UNHEARD, quiet=device_quiet):
        ring(RUN_AUDIT, audit_id=audit_id)
    for map_id in work.due(TopicMap, unheard=UNHEARD, quiet=device_quiet):
        ring(PLACE_PROMPTS, map_id=map_id)


def _has_open_parts(run: AnyRun) -> bool:
    if run.shards.filter(status__in=work.OPEN).exists():
        return True
    members = MemberTraining.objects.filter(status__in=work.OPEN)
    return isinstance(run, TrainingRun) and members.filter(run=run).exists()


def _cancel_shards(run: AnyRun) -> None:
    cancelled = {
        "status": Work.Status.CANCELLED,
        "finished_at": timezone.now(),
        "lease_expires_at": None,
        "holder": "",
    }
    run.shards.filter(status__in=work.OPEN).update(**cancelled)
    if isinstance(run, TrainingRun):
        run.member_trainings.filter(status__in=work.OPEN).update(**cancelled)
