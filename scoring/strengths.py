"""Bring a scoring run together: from the margins of its shards to strengths, flags, and the
figures of the whole."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db.models import F, OuterRef, Subquery, Sum

from annotations import queue
from annotations.models import Preference
from curator.lib import work
from curator.lib.batches import batches
from scoring.core import strength
from scoring.core.flags import Flagging, FlagRule, PercentileRule
from scoring.core.judging import Judged, judge
from scoring.models import Flag, Mode, PairScore, ScoringRun, rule_of

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

BATCH = 1000
FEWEST_TO_CALIBRATE = 10
BINS = 40
MAP_POINTS = 3000
FIGURES = ["strength", "spread", "votes", "label_probability", "percentile", "flag"]


@dataclass(frozen=True)
class Collected:
    """A run's margins as arrays; `labelled` marks the pairs of which the source prefers one
    response."""

    pair_ids: list[int]
    raw: list[list[float | None]]
    margins: Floats  # (n_pairs, n_members), NaN where a member was not asked
    labelled: Booleans  # (n_pairs,)


@dataclass(frozen=True)
class Found:
    """What follows from the margins; per-pair arrays are (n_pairs,), NaN or empty where a figure
    does not apply."""

    scales: Floats
    strength: Floats
    spread: Floats
    votes: Floats
    probability: Floats
    percentile: Floats
    flags: npt.NDArray[np.str_]
    summary: dict[str, Any]


def bring_together(run: ScoringRun) -> None:
    """Compute and store what the run found, hand the review priorities over, and mark the run
    done."""
    collected = collect(run)
    found = find(collected, rule_of(run))
    found.summary["truncated"] = run.shards.aggregate(pairs=Sum("truncated"))["pairs"] or 0
    _store(run, collected, found)
    _hand_over_priorities(run)
    work.finish(run, member_scales=found.scales.tolist(), summary=found.summary)
    logger.info("run finished run=%s pairs=%d", run.pk, len(collected.pair_ids))


def collect(run: ScoringRun) -> Collected:
    """The run's margins, in the order of the pairs' ids."""
    rows = PairScore.objects.filter(run=run).order_by("pair_id")
    values: Any = rows.values_list("pair_id", "margins", "pair__source_preference").iterator(BATCH)
    pair_ids: list[int] = []
    raw: list[list[float | None]] = []
    labelled: list[bool] = []
    for pair_id, margins, preference in values:
        pair_ids.append(pair_id)
        raw.append(margins)
        labelled.append(preference in (Preference.A, Preference.B))
    array = np.array(raw, dtype=np.float64).reshape(len(raw), -1)
    return Collected(pair_ids, raw, array, np.array(labelled, dtype=np.bool_))


def find(collected: Collected, rule: FlagRule | PercentileRule) -> Found:
    """Everything that follows from the margins of a run under its rule."""
    labelled, count = collected.labelled, len(collected.pair_ids)
    probability, percentile = np.full(count, np.nan), np.full(count, np.nan)
    flags = np.full(count, "", dtype="<U9")
    summary: dict[str, Any] = {
        "pairs": count,
        "labelled": int(labelled.sum()),
        "flags": dict.fromkeys(Flag.values, 0),
    }
    if labelled.sum() >= FEWEST_TO_CALIBRATE:
        judged = judge(collected.margins[labelled], rule)
        scales = judged.scales
        flags[labelled] = judged.flagging.flags
        percentile[labelled] = strength.percentile(judged.strengths)
        if judged.calibrated is not None:
            probability[labelled] = judged.calibrated.probabilities
        summary |= _summary_of(judged)
    else:
        scales = strength.member_scales(collected.margins)
    margins = strength.standardise(collected.margins, scales)
    strengths, spreads = strength.preference_strength(margins), strength.spread(margins)
    summary["map"] = _map(collected, strengths, spreads, flags)
    votes = strength.votes(margins)
    return Found(scales, strengths, spreads, votes, probability, percentile, flags, summary)


def _summary_of(judged: Judged) -> dict[str, Any]:
    """The figures of the whole run."""
    summary: dict[str, Any] = {
        "accuracy": judged.accuracy,
        "member_accuracy": judged.member_accuracy.tolist(),
        **_summary_of_flags(judged.flagging, judged.strengths),
    }
    if judged.calibrated is not None:
        summary |= {
            "slope": judged.calibrated.slope,
            "noise_rate": asdict(judged.calibrated.noise),
            "noise_rate_is_known": judged.calibrated.noise_is_known,
        }
    return summary


def _summary_of_flags(flagging: Flagging, strengths: Floats) -> dict[str, Any]:
    """Counts, the cut and a histogram of strength by flag."""
    lowest, highest = np.quantile(strengths, [0.001, 0.999])
    edges = np.linspace(min(lowest, -0.01), max(highest, 0.01), BINS + 1)
    inside = np.clip(strengths, edges[0], edges[-1])
    by_flag = {
        name: np.histogram(inside[flagging.flags == name], edges)[0].tolist()
        for name in Flag.values
    }
    return {
        "flags": {name: int((flagging.flags == name).sum()) for name in Flag.values},
        "cut": flagging.cut if np.isfinite(flagging.cut) else None,
        "cut_by": flagging.cut_by,
        "below_zero": float((strengths < 0).mean()),
        "histogram": {"edges": edges.tolist(), "by_flag": by_flag},
    }


def _map(
    collected: Collected, strengths: Floats, spreads: Floats, flags: npt.NDArray[np.str_]
) -> dict[str, list[Any]]:
    """Points of the mean × spread map: all labelled pairs, or an even sample of them."""
    index = np.flatnonzero(flags != "")
    if len(index) > MAP_POINTS:
        index = index[np.linspace(0, len(index) - 1, MAP_POINTS).astype(np.intp)]
    return {
        "pair": [collected.pair_ids[i] for i in index],
        "strength": np.round(strengths[index], 4).tolist(),
        "spread": np.round(spreads[index], 4).tolist(),
        "flag": flags[index].tolist(),
    }


def _store(run: ScoringRun, collected: Collected, found: Found) -> None:
    """Write the figures beside the margins they follow from; the same margins always give the
    same rows."""
    rows = (
        PairScore(
            run=run,
            pair_id=pair_id,
            margins=collected.raw[i],
            strength=_number(found.strength[i]),
            spread=_number(found.spread[i]),
            votes=_number(found.votes[i]),
            label_probability=_number(found.probability[i]),
            percentile=_number(found.percentile[i]),
            flag=str(found.flags[i]),
        )
        for i, pair_id in enumerate(collected.pair_ids)
    )
    for batch in batches(rows, BATCH):
        PairScore.objects.bulk_create(
            batch, update_conflicts=True, unique_fields=["run", "pair"], update_fields=FIGURES
        )
        work.renew(run)


def _hand_over_priorities(run: ScoringRun) -> None:
    """The lower the strength of a label, the earlier its pair is reviewed; pairs without a label
    are not queued. Only a run that becomes the dataset's current one orders its queue."""
    current = ScoringRun.objects.current(run.dataset)
    if current is not None and (run.mode, current.mode) == (Mode.IN_SAMPLE, Mode.OUT_OF_BAG):
        return
    scores = PairScore.objects.filter(run=run, pair=OuterRef("pk")).exclude(flag="")
    priority = Subquery(scores.annotate(priority=-F("strength")).values("priority")[:1])
    for _ in queue.set_priorities(run.dataset, priority):
        work.renew(run)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
