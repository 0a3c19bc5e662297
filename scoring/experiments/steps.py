"""Say what an experiment needs next: its trials, or its end; stop it, and let it go on. The rows
are the truth; a bell rung twice changes nothing."""

from django.db import transaction
from django.utils import timezone

from curator.lib import work
from curator.lib.doorbell import is_quiet, ring
from curator.lib.work import Work
from scoring import shards
from scoring.models import Experiment, Trial

RUN_TRIAL = "scoring.device_tasks.run_trial"
FINISH_EXPERIMENT = "scoring.tasks.finish_experiment"
LARGE = ("pair_ids", "margins")  # columns of a trial


def go_on(experiment: Experiment) -> None:
    """Ring for every trial that waits, seed by seed, or for the end when all are over."""
    if experiment.is_over:
        return
    trials = Trial.objects.filter(arm__experiment=experiment)
    if not trials.filter(status__in=work.OPEN).exists():
        ring(FINISH_EXPERIMENT, experiment_id=experiment.pk)
        return
    for trial_id in (
        trials.filter(status=Work.Status.QUEUED).order_by("pk").values_list("pk", flat=True)
    ):
        if not ring(RUN_TRIAL, trial_id=trial_id):
            break  # the sweep rings for the rest when the broker is back


def begin(experiment: Experiment) -> None:
    """Show that a worker is at it, from the first trial that is taken up."""
    waiting = Experiment.objects.filter(pk=experiment.pk, status=Work.Status.QUEUED)
    waiting.update(status=Work.Status.RUNNING, started_at=timezone.now())


def after_trial(trial_id: int) -> None:
    """Bring the experiment together when none of its trials is open any more."""
    trials = Trial.objects.select_related("arm__experiment").defer(
        *LARGE, "arm__experiment__truths"
    )
    trial = trials.filter(pk=trial_id).first()
    if trial is None or not trial.is_over:
        return
    experiment = trial.arm.experiment
    if not Trial.objects.filter(arm__experiment=experiment, status__in=work.OPEN).exists():
        go_on(experiment)


@transaction.atomic
def cancel(experiment: Experiment) -> bool:
    """Stop the experiment; workers notice at their next step. False when it was over already."""
    cancelled = work.cancel(experiment)
    open_trials = Trial.objects.filter(arm__experiment=experiment, status__in=work.OPEN)
    open_trials.update(
        status=Work.Status.CANCELLED,
        finished_at=timezone.now(),
        lease_expires_at=None,
        holder="",
    )
    return cancelled


@transaction.atomic
def retry(experiment: Experiment) -> bool:
    """Let an experiment go on that failed, was cancelled, or lacks trials: those that are done stay
    done. False when there is nothing to go on with."""
    trials = Trial.objects.filter(arm__experiment=experiment)
    ended = trials.filter(status__in=(Work.Status.FAILED, Work.Status.CANCELLED))
    lost = list(ended.defer(*LARGE))
    if not work.requeue(experiment, also_done=bool(lost)):
        return False
    for trial in lost:
        work.requeue(trial)
    transaction.on_commit(lambda: go_on(Experiment.objects.defer("truths").get(pk=experiment.pk)))
    return True


def sweep() -> None:
    """Ring for trials whose worker died or whose message was lost, and for experiments that nobody
    has brought together."""
    on_device, quiet = is_quiet("scoring"), is_quiet("default")
    for trial_id in work.due(Trial, unheard=shards.UNHEARD, quiet=on_device):
        ring(RUN_TRIAL, trial_id=trial_id)
    since = timezone.now() - shards.UNHEARD
    quiet_for_long = Experiment.objects.filter(status__in=work.OPEN, queued_at__lt=since)
    for experiment in quiet_for_long.defer("truths"):
        lost = experiment.lease_expires_at is not None and work.is_free(experiment)
        idle = experiment.lease_expires_at is None and quiet
        trials = Trial.objects.filter(arm__experiment=experiment, status__in=work.OPEN)
        if (lost or idle) and not trials.exists():
            go_on(experiment)
