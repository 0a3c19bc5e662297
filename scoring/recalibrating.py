"""How likely a label is right by what people decided on a sample: fit it, let the dataset's pairs
carry it, and go back to the run's own calibration.

What a run found for a pair never changes; only the standing of the pair does, which policies read.
"""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import Case, F, OuterRef, Subquery, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Exp, Greatest, Least

from annotations import permissions, queue, whose_scores
from annotations.models import Dataset
from curator.lib import work
from curator.lib.batches import batches
from curator.lib.doorbell import ring_on_commit
from curator.lib.refusals import Conflict, Refusal
from curator.models import User
from scoring import sampling
from scoring.core import recalibration as core
from scoring.core import sampling as core_sampling
from scoring.models import (
    CalibrationUse,
    Flag,
    PairScore,
    Recalibration,
    ReviewSample,
    ScoringRun,
)

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

USE_CALIBRATION = "scoring.tasks.use_calibration"
BATCH = 500
STEEPEST = 30.0  # of a logit, beyond which the curve is flat to the last digit shown


# Fitting


@transaction.atomic
def recalibrate(sample: ReviewSample, *, by: User | None = None) -> Recalibration:
    """Fit the probability that a label is right to the verdicts that count. What is unclear is left
    out: neither right nor wrong. Raises Refusal where the verdicts are too few or all of a kind."""
    run = sample.run
    if by is not None:
        permissions.check_can_curate(by, run.dataset)
    strengths, right, weights = _verdicts(sample)
    slope = float(run.summary.get("slope", 0.0))
    try:
        fitted = core.recalibrate(strengths, right, weights, slope=slope)
    except core.NotEnoughVerdicts as few:
        raise Refusal(str(few)) from few
    before = core.apply(core.symmetric(slope), strengths)
    return Recalibration.objects.create(
        sample=sample,
        description=dict(fitted.description),
        quality={
            "verdicts": fitted.verdicts,
            "losses": {name: asdict(loss) for name, loss in fitted.losses.items()},
            "after": _quality(fitted.reliability, fitted.calibration_error),
            "before": _quality(
                core.reliability(before, right, weights),
                core.calibration_error(before, right, weights),
            ),
        },
        created_by=by,
    )


def lacks(found: sampling.Evidence) -> str:
    """What the verdicts on the sample lack for `recalibrate`, such as “28 of 30 verdicts”; empty
    where they are enough. Those that are unclear do not count."""
    said = found.right + found.wrong
    if said < core.FEWEST_VERDICTS:
        return f"{said:,} of {core.FEWEST_VERDICTS} verdicts that say right or wrong"
    if not found.right or not found.wrong:
        kind = "right" if found.right else "wrong"
        return f"all {said:,} verdicts call their label {kind}, and both kinds are needed"
    return ""


def _verdicts(sample: ReviewSample) -> tuple[Floats, Booleans, Floats]:
    """Of each verdict that says right or wrong: the strength, which of the two, and how many labels
    it stands for; (n,) each."""
    verdicts = sampling.verdicts_of(sample)
    said = ~verdicts.unclear
    sizes = np.array([each.pairs for each in sampling.strata_of(sample)], dtype=np.int64)
    pair_ids = [
        pair_id for pair_id, is_said in zip(verdicts.pair_ids, said, strict=True) if is_said
    ]
    known: dict[int, float] = {}
    for some in batches(pair_ids, BATCH):
        scores: Any = PairScore.objects.filter(run=sample.run, pair__in=some)
        known |= dict(scores.values_list("pair", "strength"))
    strengths = np.array([known[pair_id] for pair_id in pair_ids], dtype=np.float64)
    strata = verdicts.strata[said]
    weights = core_sampling.weights(sizes, strata) if len(strata) else np.array([])
    return strengths, ~verdicts.wrong[said], weights


def _quality(bins: tuple[core.Bin, ...], error: float) -> dict[str, Any]:
    return {"ece": error, "reliability": [asdict(each) for each in bins]}


# Using


@transaction.atomic
def use(
    run: ScoringRun, recalibration: Recalibration | None, *, by: User | None = None
) -> CalibrationUse:
    """Let the pairs of the dataset carry the recalibration's probabilities, in the background; None
    goes back to the run's own. Raises Refusal, and Conflict while another is being written."""
    dataset = run.dataset
    if by is not None:
        permissions.check_can_curate(by, dataset)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    _check_current(run)
    if recalibration is not None and recalibration.sample.run_id != run.pk:
        raise Refusal(f"Recalibration {recalibration.pk} was not fitted to run {run.pk}.")
    whose_scores.check_no_run(dataset)
    if CalibrationUse.objects.filter(run__dataset=dataset, status__in=work.OPEN).exists():
        raise Conflict("Probabilities are being written already: wait for the end of that.")
    row = CalibrationUse.objects.create(run=run, recalibration=recalibration, created_by=by)
    ring_on_commit(USE_CALIBRATION, use_id=row.pk)
    return row


def run(row: CalibrationUse) -> None:
    """Write the probabilities, step by step: each step may be taken again. Raises Refusal where
    another run is handed over before or meanwhile, which brings its own."""
    dataset, mark = row.run.dataset, mark_of(row)
    with transaction.atomic():
        whose_scores.check_no_run(dataset)
        _check_current(row.run)
        whose_scores.take(dataset, mark)
    done = 0
    for count in queue.set_scores(dataset, by=mark, label_probability=_probability(row)):
        done += count
        work.renew(row, pairs_done=done)
    with transaction.atomic():
        whose_scores.end(dataset, mark, calibration=name_of(row.recalibration))
        _check_current(row.run)
        work.finish(row)


def in_use(run: ScoringRun) -> Recalibration | None:
    """The recalibration that the pairs carry; None where they carry the run's own."""
    number = run.dataset.calibration.removeprefix(PREFIX)
    if not number:
        return None
    return Recalibration.objects.filter(sample__run=run, pk=int(number)).first()


def latest_use(run: ScoringRun) -> CalibrationUse | None:
    return CalibrationUse.objects.filter(run=run).select_related("recalibration").first()


def mark_of(row: CalibrationUse) -> str:
    """What the dataset carries while the probabilities are being written."""
    return f"calibration {row.pk}"


def is_half_written(row: CalibrationUse) -> bool:
    """Whether the work has failed in the midst of it: some pairs may carry one probability and
    some the other, and the mark stays, so that nobody decides by both."""
    dataset = Dataset.objects.get(pk=row.run.dataset_id)
    return row.is_over and dataset.scores_being_written_by == mark_of(row)


def way_out(row: CalibrationUse) -> str:
    """What to do about a row that failed in the midst of it; empty where nothing is to be done."""
    if not is_half_written(row):
        return ""
    return (
        "Some pairs may carry the new probabilities and others those of before, so no policy is "
        "applied until all carry the same: use it once more, or go back to the run's own."
    )


PREFIX = "recalibration "


def name_of(recalibration: Recalibration | None) -> str:
    """What the evidence of decisions calls it; nothing for the run's own calibration."""
    return f"{PREFIX}{recalibration.pk}" if recalibration else ""


def _check_current(run: ScoringRun) -> None:
    current = ScoringRun.objects.current(run.dataset)
    if current is None or current.pk != run.pk:
        raise Refusal(
            f"Run {run.pk} is not the one that {run.dataset.name} goes by, so its pairs cannot "
            f"carry its probabilities."
        )


def _probability(row: CalibrationUse) -> Combinable:
    """What a standing takes on, as SQL; what is not of the run stays as it is."""
    if row.recalibration is None:
        scores = PairScore.objects.filter(run=row.run, pair=OuterRef("pk"))
        found: Combinable = Subquery(scores.values("label_probability")[:1])
    else:
        found = expression(row.recalibration.description)
    is_labelled = When(run_id=row.run_id, flag__in=Flag.values, then=found)
    return Case(is_labelled, default=F("label_probability"))


def expression(description: Any) -> Combinable:
    """`scoring.core.recalibration.apply` on the column `strength`, as SQL."""
    if description["knots"]:
        return Case(
            *_straight_lines(description["knots"]), default=Value(description["knots"][-1][1])
        )
    logit = Value(-description["slope"]) * F("strength") - Value(description["intercept"])
    bounded = Least(Greatest(logit, Value(-STEEPEST)), Value(STEEPEST))
    return Value(1.0) / (Value(1.0) + Exp(bounded))


def _straight_lines(knots: list[list[float]]) -> Iterator[When]:
    """Flat up to the first knot, then straight from each to the next."""
    yield When(strength__lte=knots[0][0], then=Value(knots[0][1]))
    for (x, y), (to_x, to_y) in pairwise(knots):
        slope = (to_y - y) / (to_x - x)
        line = Value(y) + Value(slope) * (F("strength") - Value(x)) if slope else Value(y)
        yield When(strength__lte=to_x, then=line)
