"""Fine-tuning an ensemble, cut into its members: each is the work of one task. Nothing here loads
torch."""

import logging
from dataclasses import asdict

from django.db import transaction
from django.utils import timezone

from curator.lib import work
from scoring.labels import Until
from scoring.models import MemberTraining, TrainingRun
from scoring.shards import NotEnoughPairs

logger = logging.getLogger(__name__)

UNTIL = "until"  # in a run's summary: what is decided or imported later, no member learns from


def plan(run: TrainingRun) -> None:
    """Write down the members that are to be trained, once. Raises NotEnoughPairs."""
    if run.planned_at is not None:
        work.release(run, plan_is_complete=True)  # rung for twice
        return
    ensemble = run.ensemble
    pairs = ensemble.dataset.pairs.labelled().count()
    if not pairs:
        raise NotEnoughPairs(f"{ensemble.dataset.name} holds no pairs to learn from yet.")
    made = [
        MemberTraining(run=run, position=position) for position in range(ensemble.members_count)
    ]
    with transaction.atomic():
        MemberTraining.objects.bulk_create(made)
        work.release(
            run,
            planned_at=timezone.now(),
            plan_is_complete=True,
            pairs_total=pairs,
            summary={UNTIL: asdict(Until.now(ensemble.dataset))},
        )
    logger.info("planned training=%s members=%d pairs=%d", run.pk, len(made), pairs)


def until(run: TrainingRun) -> Until:
    """Members are trained one after the other, and all of them on the same labels."""
    return Until(**run.summary[UNTIL])
