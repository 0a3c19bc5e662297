"""Bring an experiment together once its trials are over: figures of all arms, how far they differ,
and one sentence of what that means."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.models import PreferencePair
from curator.lib import work
from curator.lib.bulk import among
from curator.lib.intervals import Estimate
from curator.lib.refusals import Refusal
from curator.lib.work import Work
from scoring import responses
from scoring.core import experiments
from scoring.core.experiments import AGREEING, RAW, TRUSTED, ArmFigures, Evaluation, Found
from scoring.models import Arm, Experiment, Trial

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

PAGE = 2000
DIRECTIONS = {"a": 1.0, "b": -1.0}
MANY_ARMS = 4
BY = {
    RAW: "labels as imported",
    TRUSTED: "trusted labels",
    AGREEING: "labels as imported that are trusted to be right",
}
REWARDS_NOISE = (
    "Accuracy on raw labels rewards fitting their noise: a cleaning that works may look worse "
    "there. Go by trusted labels."
)


def bring_together(experiment: Experiment) -> None:
    """Compute the result and finish the experiment. Raises Refusal where a whole arm is missing."""
    trials = Trial.objects.filter(arm__experiment=experiment).select_related("arm").order_by("pk")
    if trials.filter(status__in=work.OPEN).exists():  # rung for too early
        work.release(experiment)
        return
    arms = list(experiment.arms.all())
    done = list(trials.filter(status=Work.Status.DONE))
    failed = list(trials.exclude(status=Work.Status.DONE).defer("pair_ids", "margins"))
    judged = {trial.arm_id for trial in done}
    if not done or arms[0].pk not in judged:
        raise Refusal(_nothing_to_compare(arms[0], failed))
    result = result_of(experiment, [arm for arm in arms if arm.pk in judged], done)
    result["failed"] = [
        {"arm": trial.arm.name, "seed": trial.seed, "problem": trial.problem} for trial in failed
    ]
    result["left_out"] = [arm.name for arm in arms if arm.pk not in judged]
    work.finish(experiment, result=result)


def result_of(
    experiment: Experiment, arms: Sequence[Arm], trials: Sequence[Trial]
) -> dict[str, Any]:
    """The figures of these arms from trials that are done, as JSON."""
    evaluation = _evaluation(experiment, arms, trials)
    found = experiments.find(evaluation, seed=experiment.seeds[0])
    by_arm = {arm.pk: [trial for trial in trials if trial.arm_id == arm.pk] for arm in arms}
    best_of = _best_of(experiment, arms, trials)
    figures = [
        {
            "name": arm.name,
            **_figures(of),
            "best_of_n": best_of[arm.pk] if best_of else None,
            **_cost(by_arm[arm.pk]),
        }
        for arm, of in zip(arms, found.arms, strict=True)
    ]
    differences = [
        {
            "arm": arm.name,
            "against": arms[0].name,
            "on": on,
            **(_estimate(of[on]) or {"estimate": None, "low": None, "high": None}),
        }
        for arm, of in zip(arms[1:], found.differences[1:], strict=True)
        for on in (RAW, TRUSTED, AGREEING)
    ]
    return {
        "pairs": found.pairs,
        "prompts": found.groups,
        "arms": figures,
        "differences": differences,
        "verdict": verdict([arm.name for arm in arms], found),
        "warnings": [REWARDS_NOISE, *experiment.warnings, *_warnings(arms, trials)],
    }


def verdict(names: Sequence[str], found: Found) -> str:
    """What the differences on trusted labels come to, in a sentence."""
    better, worse, same = [], [], []
    for name, difference in zip(names[1:], found.differences[1:], strict=True):
        of = difference[TRUSTED]
        if of is None:
            continue
        if of.low > 0:
            better.append((of.estimate, f"{name} beats {names[0]} by {points(of)}"))
        elif of.high < 0:
            worse.append((of.estimate, f"{name} falls behind {names[0]} by {points(_turned(of))}"))
        else:
            same.append(f"{name} ({points(of, signed=True, brackets=False)})")
    said = [text for _, text in sorted(better, reverse=True)]
    said += [text for _, text in sorted(worse)]
    if same:
        said.append(f"no difference to {names[0]} can be told for {_listed(same)}")
    if not said:
        return "There are no trusted pairs to compare the arms on."
    text = "; ".join(said)
    return f"On trusted labels, {text}."


def points(of: Estimate, *, signed: bool = False, brackets: bool = True) -> str:
    """A difference of shares in percentage points, with its interval."""
    sign = "+" if signed else ""
    low, high = f"{100 * of.low:{sign}.1f}", f"{100 * of.high:{sign}.1f}"
    span = f"{low} to {high}" if of.low < 0 or signed else f"{low}–{high}"
    around = f" ({span})" if brackets else f", {span}"
    return f"{100 * of.estimate:{sign}.1f} points{around}".replace("-", "−")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _turned(of: Estimate) -> Estimate:
    return Estimate(-of.estimate, -of.high, -of.low)


def _evaluation(experiment: Experiment, arms: Sequence[Arm], trials: Sequence[Trial]) -> Evaluation:
    """What the trials' rows hold, as arrays over all pairs that any of them was asked of."""
    asked = [np.frombuffer(bytes(trial.pair_ids or b""), dtype=np.int64) for trial in trials]
    ids = np.unique(np.concatenate(asked))
    seeds = {seed: number for number, seed in enumerate(experiment.seeds)}
    rows = {arm.pk: number for number, arm in enumerate(arms)}
    margins = np.full((len(arms), len(seeds), len(ids)), np.nan)
    slopes = np.zeros((len(arms), len(seeds)))
    for trial, own in zip(trials, asked, strict=True):
        place = rows[trial.arm_id], seeds[trial.seed]
        said = np.frombuffer(bytes(trial.margins or b""), dtype=np.float32)
        margins[place][np.searchsorted(ids, own)] = said
        slopes[place] = trial.figures["slope"]
    groups, raw = _known(ids)
    truths = {int(pk): float(truth) for pk, truth in experiment.truths.items()}
    trusted = np.array([truths.get(pk, 0.0) for pk in ids.tolist()])
    return Evaluation(groups, raw, trusted, margins, slopes)


def _best_of(
    experiment: Experiment, arms: Sequence[Arm], trials: Sequence[Trial]
) -> dict[int, dict[str, Any]] | None:
    """What each arm's best of n is worth, by arm; None where no scored response was judged."""
    if experiment.responses is None:
        return None
    scores = [
        np.array([each for each in row.scores if each is not None])
        for row in responses.read(experiment.responses)
    ]
    seeds = {seed: number for number, seed in enumerate(experiment.seeds)}
    places = {arm.pk: number for number, arm in enumerate(arms)}
    chosen = np.full((len(arms), len(seeds), len(scores)), np.nan)
    for trial in trials:
        of = trial.figures.get("best_of", {"prompts": [], "chosen": []})
        chosen[places[trial.arm_id], seeds[trial.seed]][of["prompts"]] = of["chosen"]
    judged = np.flatnonzero(np.isfinite(chosen).any(axis=(0, 1)))
    if not len(judged):
        return None
    found = experiments.choices(
        chosen[:, :, judged],
        np.array([scores[i].mean() for i in judged]),
        np.array([scores[i].max() for i in judged]),
        seed=experiment.seeds[0],
    )
    bounds = {"prompts": found.prompts, "random": found.random, "best": found.best}
    return {
        arm.pk: {
            "chosen": asdict(of.chosen),
            "difference": asdict(of.difference),
            "gain": of.gain,
            **bounds,
        }
        for arm, of in zip(arms, found.arms, strict=True)
    }


def _known(ids: Indices) -> tuple[Indices, Floats]:
    """Numbers of the pairs' prompt groups, and their labels as imported, (n,)."""
    rows: Any = PreferencePair.objects.filter(pk__in=among(ids.tolist())).order_by("pk")
    names, raw = [], []
    for _, group, source in rows.values_list("pk", "group", "source_preference").iterator(PAGE):
        names.append(group)
        raw.append(DIRECTIONS.get(source, 0.0))
    _, groups = np.unique(np.array(names), return_inverse=True)
    return groups.astype(np.int64), np.array(raw)


def _figures(of: ArmFigures) -> dict[str, Any]:
    return {
        "accuracy": {name: _estimate(estimate) for name, estimate in of.accuracy.items()},
        "brier": _estimate(of.brier),
        "ece": _estimate(of.ece),
        "auroc": _estimate(of.auroc),
        "bins": [
            {"from": at.low, "to": at.high, "pairs": at.pairs, "accuracy": _estimate(at.accuracy)}
            for at in of.bins
        ],
        "confidences": [asdict(confidence) for confidence in of.confidences],
    }


def _cost(trials: Sequence[Trial]) -> dict[str, Any]:
    """Seconds of all trials together, and what their training was like on average."""
    figures = [trial.figures for trial in trials]
    return {
        "seconds": sum(of["seconds"] for of in figures),
        "trials": len(trials),
        "treated": {
            name: round(sum(of["treated"][name] for of in figures) / len(figures))
            for name in figures[0]["treated"]
        },
    }


def _warnings(arms: Sequence[Arm], trials: Sequence[Trial]) -> list[str]:
    said = list(
        dict.fromkeys(
            f"{trial.arm.name}: {warning}"
            for trial in trials
            for warning in trial.figures.get("warnings", [])
        )
    )
    if len(arms) >= MANY_ARMS:
        said.append(
            f"{len(arms) - 1} arms are compared with the first: of so many intervals, one may miss "
            f"the truth by chance. Repeat what matters with other seeds."
        )
    return said


def _estimate(of: Estimate | None) -> Mapping[str, float] | None:
    return None if of is None else asdict(of)


def _nothing_to_compare(first: Arm, failed: Sequence[Trial]) -> str:
    problem = next(
        (trial.problem for trial in failed if trial.arm_id == first.pk and trial.problem),
        next((trial.problem for trial in failed if trial.problem), "its trials were cancelled"),
    )
    return f"There is nothing to compare with: no trial of the arm {first.name!r} ended. {problem}"
