"""Figures 11, 16, 19 and 20 of the paper: what contrastive learning does to features, MetaRM to the
scores of sampled responses, and many epochs to rewards."""

import gzip
import json
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from benchmarks.measuring import DATA
from benchmarks.paper_scene import (
    NO,
    RAW,
    TRUSTED,
    UNCLEAR,
    YES,
    Doubles,
    Finding,
    Scene,
    Table,
    Taught,
    all_of,
    from_truth,
    is_gain,
    margins_of,
    mean_of,
    said,
    taught_on,
)
from benchmarks.prepared import response_features
from benchmarks.reporting import say
from scoring.core import audit, curves, strength
from scoring.core.calibration import log_sigmoid
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe, parse
from scoring.engine.heads import HiddenHead, rewards
from scoring.engine.texts import prompt_text

Features = npt.NDArray[np.float32]

SAMPLED = DATA / "pairs" / "arena_bench.multi.jsonl.gz"
PROMPTS = 120
RESPONSES = 8  # of a prompt, by as many models
STEPS = (0.0, 0.1, 1.0)  # of MetaRM's ascent
COUPLE = 2  # members: one for each half of the labels
RIDGE = 1.0  # of the discriminant, on standardised features
CONTRASTED = (
    *("hidden layer", "SimCSE on pairs", "SimCSE on differences"),
    *("SwAV on pairs", "SwAV on differences"),
)
LENGTHS = (1, 5, 20)  # epochs
CENTRING = 0.01


def separability(scenes: Sequence[Scene]) -> Finding:
    """Figure 11: how far apart chosen and rejected features lie, with and without contrastive
    learning."""
    table = Table("Heads with a hidden layer, features and accuracy of held-out prompts", "recipe")
    for scene in scenes:
        say(f"  contrastive learning, seed {scene.seed}")
        for name in CONTRASTED:
            found = taught_on(scene, PRESETS[name], members=COUPLE)
            ratio, apart = _apart(found)
            table.add("Fisher's ratio", name, ratio)
            table.add("AUROC of a discriminant", name, apart)
            for kind, value in found.accuracies().items():
                if kind in (RAW, TRUSTED):
                    table.add(f"{kind} labels", name, value)
    ratios = table.gains("Fisher's ratio", "SimCSE on pairs", "hidden layer")
    aurocs = table.gains("AUROC of a discriminant", "SimCSE on pairs", "hidden layer")
    return Finding(
        "11",
        "Does contrastive learning part chosen from rejected features?",
        "with SimCSE the features of chosen and rejected responses overlap less (seen by t-SNE).",
        f"SimCSE on pairs changes Fisher's ratio of chosen against rejected features by "
        f"{said(ratios)} and the AUROC of a linear discriminant by {said(aurocs)}; accuracy on raw "
        f"labels by {said(table.gains('raw labels', 'SimCSE on pairs', 'hidden layer'))}.",
        all_of(is_gain(ratios), is_gain(aurocs)),
        [table],
    )


def _apart(taught: Taught) -> tuple[float, float]:
    """Fisher's ratio of chosen against rejected features of the validation pairs, and the AUROC of
    a discriminant fitted on one half of these and judged on the other; means over members."""
    scene = taught.scene
    rows = np.flatnonzero(~scene.training & (scene.trusted != 0))
    prefers_a = scene.trusted[rows, None] > 0
    ratios, aurocs = [], []
    for head in taught.trained.heads:
        if not isinstance(head, HiddenHead):
            raise TypeError("only heads with a hidden layer have features of their own")
        a, b = (
            head.units(of[rows]).astype(np.float64) for of in (scene.prepared.a, scene.prepared.b)
        )
        chosen, rejected = np.where(prefers_a, a, b), np.where(prefers_a, b, a)
        ratios.append(_fisher(chosen, rejected))
        aurocs.append(_discriminant(chosen, rejected))
    return fmean(ratios), fmean(aurocs)


def _fisher(chosen: Doubles, rejected: Doubles) -> float:
    """The squared distance of the two centres over the mean variance around them."""
    between = np.square(chosen.mean(0) - rejected.mean(0)).sum()
    return float(2.0 * between / (chosen.var(0).sum() + rejected.var(0).sum()))


def _discriminant(chosen: Doubles, rejected: Doubles) -> float:
    half = np.arange(len(chosen)) % 2 == 0
    both = np.concatenate([chosen[half], rejected[half]])
    centre, scale = both.mean(0), both.std(0) + 1e-9
    one, other = (chosen - centre) / scale, (rejected - centre) / scale
    within = np.cov(one[half], rowvar=False) + np.cov(other[half], rowvar=False)
    direction = np.linalg.solve(
        within + RIDGE * np.eye(len(within)), one[half].mean(0) - other[half].mean(0)
    )
    scores = np.concatenate([other[~half], one[~half]]) @ direction
    is_chosen = np.arange(len(scores)) >= len(scores) // 2
    return audit.auroc(scores, is_chosen)


def spreading(scenes: Sequence[Scene], sampled: Features) -> Finding:
    """Figure 16: how far apart MetaRM scores responses that were sampled elsewhere; `sampled`
    (prompts, responses, width) are half for the ascent, half to judge by."""
    table = Table("MetaRM, by the step of its ascent, on sampled responses kept back", "step")
    taught_by, judged_by = sampled[::2], sampled[1::2]
    for scene in scenes:
        say(f"  MetaRM, seed {scene.seed}")
        space = scene.prepared.space
        responses = space.project(taught_by.reshape(-1, sampled.shape[2]))
        responses = responses.reshape(*taught_by.shape[:2], -1)
        for step in STEPS:
            found = taught_on(scene, _meta(step), members=COUPLE, responses=responses)
            spread, relative = _score_differences(found, judged_by)
            table.add("mean difference of two responses", f"{step:g}", spread)
            table.add("in units of the validation margins", f"{step:g}", relative)
            for kind, value in found.accuracies().items():
                if kind in (RAW, TRUSTED):
                    table.add(f"{kind} labels", f"{step:g}", value)
    own = "in units of the validation margins"
    wider = {step: table.gains(own, f"{step:g}", "0") for step in STEPS[1:]}
    words = ", ".join(f"{said(gain)} with a step of {step:g}" for step, gain in wider.items())
    return Finding(
        "16",
        "Does MetaRM spread the scores of responses from elsewhere?",
        "the distribution of normalised score differences on the shifted prompts widens.",
        f"the mean difference of two sampled responses' scores, in units of the same model's "
        f"validation margins, changes by {words}.",
        all_of(*map(is_gain, wider.values())),
        [table],
    )


def _meta(step: float) -> Recipe:
    return parse({"name": "meta", "model": {"kind": "hidden"}, "meta": {"step": step}})


def _score_differences(taught: Taught, sampled: Features) -> tuple[float, float]:
    """The mean absolute difference between two responses to a prompt, in the members' own units and
    beside the root mean square of their validation margins; means over members."""
    scene = taught.scene
    members = taught.trained.heads
    flat = sampled.reshape(-1, sampled.shape[2])
    nothing = np.zeros((len(flat), len(scene.prepared.slices.names)), dtype=np.float32)
    scores = rewards(members, flat, nothing, np.zeros(len(flat), dtype=np.int64))
    scores = scores.reshape(*sampled.shape[:2], len(members))
    first, second = np.triu_indices(sampled.shape[1], 1)
    spreads = np.abs(scores[:, first] - scores[:, second]).mean((0, 1))
    margins = margins_of(members, scene.prepared, np.flatnonzero(~scene.training))
    return float(spreads.mean()), float((spreads / strength.member_scales(margins)).mean())


def inflating(scenes: Sequence[Scene]) -> list[Finding]:
    """Figures 19 and 20: overfitting after few epochs, and rewards that rise while the gap does
    not."""
    table = Table("Heads with a hidden layer after so many epochs, on held-out prompts", "epochs")
    warned = []
    for scene in scenes:
        say(f"  long trainings of seed {scene.seed}")
        for epochs in LENGTHS:
            found = taught_on(scene, _long(epochs), members=COUPLE)
            _look(table, f"{epochs}", found)
        warned.append(curves.inflation(found.trained.curve) is not None)
        centred = taught_on(scene, _long(LENGTHS[-1], centring=CENTRING), members=COUPLE)
        _look(table, f"{LENGTHS[-1]}, centred", centred)
    return [_overfits(table), _inflates(table, warned)]


def _long(epochs: int, centring: float = 0.0) -> Recipe:
    return parse(
        {
            "name": "long",
            "model": {"kind": "hidden"},
            "loss": {"centring": centring},
            "optimiser": {"epochs": epochs, "patience": 0},
        }
    )


def _look(table: Table, x: str, taught: Taught) -> None:
    """Losses, the gap towards the raw label and rewards, means over members."""
    scene, heads = taught.scene, taught.trained.heads
    held_out = np.flatnonzero(~scene.training)
    codes = scene.prepared.pairs.codes[held_out]
    of_a, of_b = (
        rewards(heads, features[held_out], codes, keys[held_out]).astype(np.float64)
        for features, keys in zip(
            (scene.prepared.a, scene.prepared.b), scene.prepared.keys, strict=True
        )
    )
    gaps = (of_a - of_b) * scene.labels[held_out, None]
    seen = taught.trained.margins.astype(np.float64)[taught.bag]
    both = np.concatenate([of_a, of_b])
    table.add("loss of what is learnt from", x, float(-log_sigmoid(seen).mean()))
    table.add("loss", x, float(-log_sigmoid(gaps).mean()))
    table.add("accuracy", x, float((gaps > 0).mean()))
    table.add("gap", x, float(gaps.mean()))
    table.add("mean reward", x, float(both.mean()))
    table.add("deviation of rewards", x, float(both.std(axis=0).mean()))


def _overfits(table: Table) -> Finding:
    last = f"{LENGTHS[-1]}"
    losses = mean_of(table.columns["loss"])
    best = min((f"{epochs}" for epochs in LENGTHS), key=lambda epochs: losses[epochs])
    rise = table.gains("loss", last, best)
    learnt = "loss of what is learnt from"
    fall = [-gain for gain in table.gains(learnt, last, best)]
    return Finding(
        "19",
        "Does a reward model overfit within few epochs?",
        "after the first epoch the validation loss rises while the training loss goes on falling.",
        f"of {', '.join(map(str, LENGTHS))} epochs the loss on held-out prompts is least after "
        f"{best}; until {last} it rises by {said(rise)} while the loss of what is learnt from "
        f"falls by {said(fall)}.",
        all_of(is_gain(rise), is_gain(fall)) if best != last else NO,
        [table],
    )


def _inflates(table: Table, warned: Sequence[bool]) -> Finding:
    first, last = "5", f"{LENGTHS[-1]}"
    up, gap = (table.gains(figure, last, first) for figure in ("mean reward", "gap"))
    centred = table.gains("mean reward", f"{last}, centred", last)
    holds = from_truth(fmean(gap) < 0.25 * fmean(up)) if fmean(up) > 0 else NO
    return Finding(
        "20",
        "Do rewards inflate while the gap stays?",
        "with more epochs the scores of both responses rise while the gap between chosen and "
        "rejected does not.",
        f"on held-out prompts, from {first} to {last} epochs, the mean reward changes by "
        f"{said(up)} and the gap by {said(gap)}; the inflation watch warned in {sum(warned)} of "
        f"{len(warned)} trainings. Centring changes the mean reward by {said(centred)}.",
        YES if (is_gain(up), holds) == (YES, YES) else NO if holds == NO else UNCLEAR,
        [],
    )


def sampled_responses(most: int = PROMPTS) -> Features:
    """Features (prompts, RESPONSES, width) of answers to prompts by so many models each."""
    with gzip.open(SAMPLED, "rt", encoding="utf-8") as source:
        rows = [json.loads(line) for line in source][:most]
    rows = [row for row in rows if len(row["responses"]) >= RESPONSES]
    prompts = [prompt_text(row["prompt"]) for row in rows for _ in range(RESPONSES)]
    answers = [one["text"] for row in rows for one in row["responses"][:RESPONSES]]
    found = response_features(prompts, answers)
    return found.reshape(len(rows), RESPONSES, -1)
