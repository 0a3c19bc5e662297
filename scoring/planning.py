"""Cut a run into shards: the pairs to embed, or which members are asked of which pairs, and in
adaptive runs wave by wave."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db import transaction
from django.utils import timezone

from annotations.models import Dataset
from curator.lib import work
from scoring import shards, slicing
from scoring.collecting import collect
from scoring.core import adaptive
from scoring.core.judging import FEWEST_TO_CALIBRATE
from scoring.finetuning import plans
from scoring.models import (
    Ensemble,
    RewardModel,
    ScoringRun,
    ScoringShard,
    TrainingRun,
    TrainingShard,
    rule_of,
)
from scoring.slicing import Sized, Together

logger = logging.getLogger(__name__)

ROWS = 200  # of shards, each with the ids of its pairs, in one statement
EMBEDDING = Together((), is_heads=True, tokens_per_second=float("inf"))


def plan_training(run: TrainingRun) -> None:
    """Cut the dataset's pairs into shards to embed or, where whole models are trained, the training
    into members, once. Raises NotEnoughPairs."""
    if run.ensemble.is_fine_tuned:
        plans.plan(run)
    elif run.planned_at is None:
        dataset = run.ensemble.dataset
        pairs = list(slicing.sized(dataset.pairs.all()))
        cut = slicing.slices(pairs, EMBEDDING, total=_tokens(pairs))
        made = [
            TrainingShard(run=run, position=position, pair_ids=ids, pairs_count=len(ids))
            for position, ids in enumerate(cut)
        ]
        with transaction.atomic():
            TrainingShard.objects.bulk_create(made, batch_size=ROWS)
            _note(run, dataset, pairs_total=len(pairs), plan_is_complete=True)
    else:
        work.release(run, plan_is_complete=True)  # rung for twice
    _go_on(run)


def plan_scoring(run: ScoringRun) -> None:
    """Plan all shards of a run or, where it is adaptive, those of its next wave. Raises
    NotEnoughPairs."""
    if run.planned_at is None:
        pairs = list(slicing.sized(run.dataset.pairs.all()))
        waves = slicing.waves_of(run)
        made = _shards(run, waves[0], pairs)
        with transaction.atomic():
            ScoringShard.objects.bulk_create(made, batch_size=ROWS)
            _note(
                run,
                run.dataset,
                pairs_total=len(pairs),
                plan_is_complete=len(waves) == 1,
                members_record=record_of(run.ensemble),
            )
    elif not run.plan_is_complete and not run.shards.filter(status__in=work.OPEN).exists():
        _plan_next_wave(run)
    else:
        work.release(run)  # rung for twice
    _go_on(run)


def record_of(ensemble: Ensemble) -> list[dict[str, Any]]:
    """What scores: what a reader needs to know of each member to get the same margins again."""
    rows = ensemble.members.select_related("checkpoint")
    return [_record(member, ensemble) for member in rows]


def _record(member: RewardModel, ensemble: Ensemble) -> dict[str, Any]:
    found = {"position": member.position, "name": member.name, "digest": member.digest}
    if member.checkpoint is None:
        return {
            **found,
            "kind": "head",
            "backbone": ensemble.backbone,
            "backbone_digest": ensemble.backbone_digest,
            "dtype": ensemble.precision,
        }
    identity = member.checkpoint.identity
    names = ("architecture", "weights_digest", "template_digest", "dtype", "max_length", "score_at")
    return {
        **found,
        "kind": "checkpoint",
        "model": member.checkpoint.name,
        "reference": member.checkpoint.shown_reference,
        "revision": member.checkpoint.revision,
        **{name: identity[name] for name in names},
    }


def _plan_next_wave(run: ScoringRun) -> None:
    """Shards of the next wave's members for the pairs whose flag is still open."""
    waves = slicing.waves_of(run)
    left, open_ids = waves[run.wave + 1 :], _open_pairs(run, waves)
    made: list[ScoringShard] = []
    if left and open_ids:
        pairs = [pair for pair in slicing.sized(run.dataset.pairs.all()) if pair.pk in open_ids]
        made = _shards(run, left[0], pairs, wave=run.wave + 1)
    with transaction.atomic():
        ScoringShard.objects.bulk_create(made, batch_size=ROWS)
        last = not made or len(left) == 1
        work.release(run, wave=run.wave + bool(made), plan_is_complete=last)
    logger.info("planned wave=%d run=%s pairs=%d", run.wave, run.pk, len(open_ids))


def _open_pairs(run: ScoringRun, waves: slicing.Waves) -> set[int]:
    """The pairs whose flag further members may still change."""
    collected = collect(run)
    labelled = collected.labelled
    if labelled.sum() < FEWEST_TO_CALIBRATE:
        return set(collected.pair_ids)
    settled = adaptive.settled(
        collected.margins[labelled],
        collected.askable[labelled],
        rule_of(run),
        waves=slicing.positions_of(waves),
    )
    ids = np.array(collected.pair_ids)[labelled][~settled]
    return {int(pk) for pk in ids}


def _shards(
    run: ScoringRun, groups: Sequence[Together], pairs: Sequence[Sized], *, wave: int = 0
) -> list[ScoringShard]:
    position, total = run.shards.count(), _tokens(pairs)
    made: list[ScoringShard] = []
    for group in groups:
        for ids in slicing.slices(pairs, group, total=total):
            made.append(
                ScoringShard(
                    run=run,
                    position=position + len(made),
                    members=list(group.positions),
                    wave=wave,
                    pair_ids=ids,
                    pairs_count=len(ids),
                )
            )
    return made


def _go_on(run: TrainingRun | ScoringRun) -> None:
    """As the run stands now: it may have been paused while it was planned."""
    run.refresh_from_db()
    shards.go_on(run)


def _tokens(pairs: Sequence[Sized]) -> int:
    return sum(pair.tokens for pair in pairs)


def _note(
    run: TrainingRun | ScoringRun, dataset: Dataset, *, pairs_total: int, **changes: Any
) -> None:
    if not pairs_total:
        raise shards.NotEnoughPairs(f"{dataset.name} holds no pairs yet: import some first.")
    work.release(run, planned_at=timezone.now(), pairs_total=pairs_total, **changes)
    logger.info("planned %s=%s pairs=%d", type(run).__name__, run.pk, pairs_total)
