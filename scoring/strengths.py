"""Bring a scoring run together: from the margins of its shards to strengths, flags, and the
figures of the whole."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotations import queue, rounds, whose_scores
from annotations.models import Dataset, Preference
from curator.lib import work
from curator.lib.batches import batches
from curator.lib.refusals import Refusal
from scoring import counting, slicing
from scoring.collecting import Collected, collect
from scoring.core import adaptive, distribution, strength
from scoring.core.confounds import length_confound
from scoring.core.flags import Flagging, FlagRule, PercentileRule
from scoring.core.judging import FEWEST_TO_CALIBRATE, Judged, judge
from scoring.models import Flag, Mode, PairScore, ScoringRun, rule_of

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

BATCH = 1000
BINS = 40
MAP_POINTS = 3000
SHOWN_MEMBERS = 3
SHOWN_REFUSALS = 100
MARK = whose_scores.RUN
TAKEN_BACK = " taken back"
LOST = (work.Work.Status.FAILED, work.Work.Status.CANCELLED)
HANDED_OVER = ["strength", "spread", "votes", "label_probability", "percentile"]
FIGURES = ["margins", "strength", "spread", "votes", "label_probability", "percentile", "flag"]


class NothingScored(Refusal):
    """No shard of a run came to its end."""


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
    done. Shards that failed are left out and told of. Raises NothingScored when all have."""
    problem = _problem(run)
    collected = collect(run)
    if not len(collected.pair_ids):
        raise NothingScored(problem or "No shard of the run holds a margin.")
    waves = slicing.positions_of(slicing.waves_of(run)) if run.is_adaptive else None
    found = find(collected, rule_of(run), waves=waves)
    found.summary.update(_work_of(run, collected))
    found.summary.update(_confounds(run, collected, found))
    _store(run, collected, found)
    end = {"member_scales": found.scales.tolist(), "summary": found.summary, "problem": problem}
    while not _finish(run, is_handed_over=_hand_over(run), **end):
        pass  # who displaced us has given up meanwhile
    counting.ask(run.dataset)
    logger.info("run finished run=%s pairs=%d", run.pk, len(collected.pair_ids))


def _problem(run: ScoringRun) -> str:
    """Which members could not be asked of which part of the pairs, and why; empty when all
    could."""
    failed = run.shards.filter(status=work.Work.Status.FAILED)
    first = failed.first()
    if first is None:
        return ""
    names = dict(run.ensemble.members.values_list("position", "name"))
    of = {position for members in failed.values_list("members", flat=True) for position in members}
    who = ", ".join(names[position] for position in sorted(of)[:SHOWN_MEMBERS])
    return (
        f"{failed.count()} of {run.shards.count()} shards failed (of {who}); what they would have "
        f"said is left out. {first.problem}"
    )


def _work_of(run: ScoringRun, collected: Collected) -> dict[str, Any]:
    """What the run took, and what it could not do."""
    sums = run.shards.aggregate(calls=Sum("calls"), tokens=Sum("tokens"), refused=Sum("refused"))
    cut = {pk for ids in run.shards.values_list("truncated_pairs", flat=True) for pk in ids}
    refusals = [row for rows in run.shards.values_list("refusals", flat=True) for row in rows]
    names = dict(run.ensemble.members.values_list("position", "name"))
    return {
        "truncated": len(cut),
        "calls": sums["calls"] or 0,
        "calls_of_all": int(collected.askable.sum()),
        "tokens": sums["tokens"] or 0,
        "refused": sums["refused"] or 0,
        "refusals": [
            {"pair": pk, "member": names[position], "reason": reason}
            for pk, position, reason in refusals[:SHOWN_REFUSALS]
        ],
    }


def _confounds(run: ScoringRun, collected: Collected, found: Found) -> dict[str, Any]:
    """What strength may follow instead of quality: how much longer, in characters, the preferred
    response is, and the side on which it stands."""
    index = np.flatnonzero(collected.labelled)
    strengths, flipped = found.strength[index], found.flags[index] == Flag.FLIPPED
    prefers_a, longer = _traits(run, [collected.pair_ids[i] for i in index])
    correlation = length_confound(strengths, longer)
    position = distribution.position(prefers_a, strengths)
    interval = (
        None if correlation is None else distribution.rank_correlation(correlation, len(index))
    )
    by_length = distribution.groups_by_length(strengths, longer, flipped)
    return {
        "length_confound": correlation,
        "length": {
            "correlation": interval and asdict(interval),
            "groups": [asdict(group) for group in by_length],
        },
        "position": position and asdict(position),
    }


def _traits(run: ScoringRun, pair_ids: list[int]) -> tuple[Booleans, Floats]:
    """Of each of these labels, whether it prefers A, and how many characters longer the response
    is that it prefers."""
    traits: dict[int, tuple[bool, int]] = {}
    for some in batches(pair_ids, BATCH):
        rows = run.dataset.standings.filter(pk__gte=some[0], pk__lte=some[-1])
        for pk, preference, longer_a in rows.values_list("pk", "source_preference", "longer_a"):
            prefers_a = preference == Preference.A
            traits[pk] = (prefers_a, longer_a if prefers_a else -longer_a)
    found = [traits[pk] for pk in pair_ids]
    return (
        np.array([prefers_a for prefers_a, _ in found], dtype=np.bool_),
        np.array([longer for _, longer in found], dtype=np.float64),
    )


def find(
    collected: Collected, rule: FlagRule | PercentileRule, *, waves: adaptive.Waves | None = None
) -> Found:
    """Everything that follows from the margins of a run under its rule; `waves` are those of an
    adaptive run, whose margins are missing by choice."""
    labelled, count = collected.labelled, len(collected.pair_ids)
    probability, percentile = np.full(count, np.nan), np.full(count, np.nan)
    flags = np.full(count, "", dtype="<U9")
    summary: dict[str, Any] = {
        "pairs": count,
        "labelled": int(labelled.sum()),
        "flags": dict.fromkeys(Flag.values, 0),
    }
    if labelled.sum() >= FEWEST_TO_CALIBRATE:
        judged = _judged(collected, rule, waves)
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
    summary |= _views_of(strengths, spreads, votes, flags)
    return Found(scales, strengths, spreads, votes, probability, percentile, flags, summary)


def _judged(
    collected: Collected, rule: FlagRule | PercentileRule, waves: adaptive.Waves | None
) -> Judged:
    """The labelled pairs, judged by the margins that there are."""
    margins = collected.margins[collected.labelled]
    if waves is None:
        return judge(margins, rule)
    askable = collected.askable[collected.labelled]
    return judge(
        margins,
        rule,
        scales=adaptive.scales_of_adaptive(margins, askable, waves),
        expected=adaptive.expected_strengths(margins, askable, waves),
    )


def _summary_of(judged: Judged) -> dict[str, Any]:
    """The figures of the whole run."""
    summary: dict[str, Any] = {
        "accuracy": judged.accuracy,
        "member_accuracy": [_number(accuracy) for accuracy in judged.member_accuracy],
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


def _views_of(
    strengths: Floats, spreads: Floats, votes: Floats, flags: npt.NDArray[np.str_]
) -> dict[str, Any]:
    """How strength lies over the labels that carry a flag; empty where none does."""
    flagged = flags != ""
    if not flagged.any():
        return {}
    strengths, spreads, votes, flags = (
        array[flagged] for array in (strengths, spreads, votes, flags)
    )
    deciles, profile = (
        distribution.groups_by_strength(strengths, spreads, votes, flags, groups=groups)
        for groups in (distribution.DECILES, distribution.PROFILE_GROUPS)
    )
    contradicted = distribution.below_zero(strengths)
    found: dict[str, Any] = {
        "deciles": [asdict(group) for group in deciles],
        "profile": [asdict(group) for group in profile],
        "contradicted": contradicted and asdict(contradicted),
    }
    if len(strengths) > MAP_POINTS:
        found["density"] = asdict(distribution.density(strengths, spreads, flags))
    return found


def _map(
    collected: Collected, strengths: Floats, spreads: Floats, flags: npt.NDArray[np.str_]
) -> dict[str, list[Any]]:
    """Points of the mean × spread map, a labelled pair each; none where they are so many that the
    map shows their density."""
    index = np.flatnonzero(flags != "")
    if len(index) > MAP_POINTS:
        index = index[:0]
    return {
        "pair": [collected.pair_ids[i] for i in index],
        "strength": np.round(strengths[index], 4).tolist(),
        "spread": np.round(spreads[index], 4).tolist(),
        "flag": flags[index].tolist(),
    }


def _store(run: ScoringRun, collected: Collected, found: Found) -> None:
    """Write margins and what follows from them; the same margins always give the same rows."""
    rows = (
        PairScore(
            run=run,
            pair_id=pair_id,
            margins=[_number(margin) for margin in collected.margins[i]],
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


def _hand_over(run: ScoringRun) -> bool:
    """Let the pairs' standings say what the run found. The lower the strength of a label, the
    earlier its pair is reviewed; pairs without a label are not queued. Only a run that becomes the
    dataset's current one is handed over; False where another comes before it."""
    mark = f"{MARK}{run.pk}"
    with transaction.atomic():
        if _comes_after(run, whose_scores.held(run.dataset)):
            return False
        whose_scores.take(run.dataset, mark)
    try:
        _write_standings(run.dataset, run, worked_on=run, by=mark)
    except whose_scores.Displaced:
        return False
    return True


@transaction.atomic
def _finish(run: ScoringRun, *, is_handed_over: bool, **end: Any) -> bool:
    """Mark the run done, and its scores as written, at once; False where they have to be written
    now, or anew."""
    mark = whose_scores.held(run.dataset)
    if is_handed_over and mark == f"{MARK}{run.pk}":
        whose_scores.end(run.dataset, mark, calibration="")
    elif not _comes_after(run, mark):
        return False
    work.finish(run, **end)
    return True


def _comes_after(run: ScoringRun, mark: str) -> bool:
    """Whether another run is the dataset's current one, or is being written, that is to be shown
    rather than this one."""
    number = _run_of(mark)
    writing = ScoringRun.objects.filter(pk__in=[number] if number else [], status__in=work.OPEN)
    others = [ScoringRun.objects.current(run.dataset), writing.first()]
    return any(other is not None and _precedes(other, run) for other in others)


def _precedes(other: ScoringRun, run: ScoringRun) -> bool:
    if other.mode != run.mode:
        return other.mode == Mode.OUT_OF_BAG
    return other.pk > run.pk


def _run_of(mark: str) -> int | None:
    """The run that hands its scores over, by the dataset's mark."""
    number = mark.removeprefix(MARK)
    return int(number) if mark.startswith(MARK) and number.isdecimal() else None


def _write_standings(
    dataset: Dataset, found_by: ScoringRun | None, *, worked_on: ScoringRun, by: str
) -> None:
    for _ in queue.set_scores(dataset, by=by, **_figures_of(found_by)):
        _beat(worked_on)
    for _ in rounds.reorder(dataset):
        _beat(worked_on)


def _beat(run: ScoringRun) -> None:
    """Say that we are still at it, whether the run is open or is being taken back."""
    if not run.is_over:
        work.renew(run)
        return
    ScoringRun.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now())


def _figures_of(run: ScoringRun | None) -> dict[str, Any]:
    """What each standing takes from the run; nothing where the run has not scored its pair, and no
    figures where there is no label for them to speak for. Nothing of no run."""
    if run is None:
        return {**dict.fromkeys([*HANDED_OVER, "run_id", "review_priority"]), "flag": ""}
    scores = PairScore.objects.filter(run=run, pair=OuterRef("pk"))
    urgent = scores.exclude(flag="").annotate(priority=-F("strength"))
    figures = {name: Subquery(urgent.values(name)[:1]) for name in HANDED_OVER}
    return figures | {
        "run_id": Subquery(scores.values("run")[:1]),
        "flag": Coalesce(Subquery(scores.values("flag")[:1]), Value("")),
        "review_priority": Subquery(urgent.values("priority")[:1]),
    }


# --- Taking back ----------------------------------------------------------------------------------


def take_back(run_id: int) -> None:
    """Where the run was cancelled or has failed while it was handed over, let the standings say
    again what the dataset's current run found. Harmless to repeat."""
    run = ScoringRun.objects.filter(pk=run_id, status__in=LOST).select_related("dataset").first()
    if run is None:
        return
    mark = f"{MARK}{run.pk}{TAKEN_BACK}"
    with transaction.atomic():
        if whose_scores.held(run.dataset) not in (f"{MARK}{run.pk}", mark):
            return
        whose_scores.take(run.dataset, mark)
        current = ScoringRun.objects.current(run.dataset)
    try:
        _write_standings(run.dataset, current, worked_on=run, by=mark)
        with transaction.atomic():
            whose_scores.end(run.dataset, mark, calibration="")
    except whose_scores.Displaced:  # another run is handed over by now
        return
    logger.info("run taken back run=%s current=%s", run.pk, current and current.pk)


def half_handed_over() -> list[int]:
    """Runs to take back, by their ids: they are lost, and nobody is at it."""
    marks = Dataset.objects.exclude(scores_being_written_by="")
    found = [
        _run_of(mark.removesuffix(TAKEN_BACK))
        for mark in marks.values_list("scores_being_written_by", flat=True)
    ]
    lost = ScoringRun.objects.filter(pk__in=[pk for pk in found if pk], status__in=LOST)
    silent = Q(heartbeat_at=None) | Q(heartbeat_at__lt=timezone.now() - work.LEASE)
    return list(lost.filter(silent).values_list("pk", flat=True))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
