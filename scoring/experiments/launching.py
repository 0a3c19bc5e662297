"""Start experiments, stop them and let them go on: write the rows that the user watches, then ring
for workers once they are committed."""

from django.db import transaction

from annotations import permissions
from curator.lib.refusals import Refusal
from curator.models import User
from scoring.experiments import planning, steps
from scoring.experiments.planning import Design
from scoring.experiments.trusted import Trusted
from scoring.models import Experiment


def check(design: Design, *, by: User | None) -> Trusted:
    """What the experiment would be judged by. Raises a Refusal where `start` would."""
    _check_may(design, by)
    return planning.check(design)


@transaction.atomic
def start(design: Design, *, by: User | None) -> Experiment:
    """Plan the experiment and ring for its trials. `by` is None on the command line of the
    machine."""
    _check_may(design, by)
    experiment = planning.plan(design, by=by)
    transaction.on_commit(lambda: steps.go_on(experiment))
    return experiment


def cancel(experiment: Experiment, *, by: User | None) -> None:
    """Stop it. Raises Refusal where it is over."""
    if by is not None:
        permissions.check_can_curate(by, experiment.dataset)
    if not steps.cancel(experiment):
        raise Refusal("Only an experiment that is queued or running can be cancelled.")


def start_again(experiment: Experiment, *, by: User | None) -> None:
    """Run the trials again that failed or were cancelled. Raises Refusal where none did."""
    if by is not None:
        permissions.check_can_curate(by, experiment.dataset)
    if not steps.retry(experiment):
        raise Refusal(
            "Only an experiment that failed, was cancelled or lacks trials can be started again."
        )


def _check_may(design: Design, by: User | None) -> None:
    if by is None:
        return
    permissions.check_can_curate(by, design.dataset)
    if design.evaluated_on is not None:
        permissions.check_can_curate(by, design.evaluated_on)
