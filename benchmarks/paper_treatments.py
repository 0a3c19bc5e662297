"""Figures 5 to 8, 23 to 25, 27 and 28 of the paper: what treating labels by their strength
gives."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from benchmarks.paper_scene import (
    AGREEING,
    NO,
    OUT_OF_BAG,
    RAW,
    TRUSTED,
    UNCLEAR,
    YES,
    Finding,
    Table,
    Taught,
    all_of,
    from_truth,
    is_gain,
    mean_of,
    said,
    shown,
    taught_on,
)
from benchmarks.reporting import say
from scoring.core.calibration import log_sigmoid
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe, parse
from scoring.core.targets import Measured

LOWEST = {"percentile": [0, 0.1]}


def _recipe(name: str, *treatments: Mapping[str, object], **parts: object) -> Recipe:
    return parse({"name": name, "treatments": list(treatments), **parts})


FLIPPED_TENTH, SOFTENED_TENTH = "flip the lowest tenth", "soften the lowest tenth"
BOTTOM = {
    FLIPPED_TENTH: PRESETS[FLIPPED_TENTH],
    SOFTENED_TENTH: _recipe(SOFTENED_TENTH, {"when": LOWEST, "then": {"alpha": 0.4}}),
}
ARMS = BOTTOM | {
    name: PRESETS[name]
    for name in (
        *("drop the lowest fifth", "adaptive margin", "soft labels", "soft labels + margin"),
        *("flip + margin", "calibrated labels"),
    )
}
CLEANED = ("soft labels", "soft labels + margin", FLIPPED_TENTH, "flip + margin")
EVERYTHING: Mapping[str, object] = {}
HIDDEN = {
    "model": {"kind": "hidden"},
    "optimiser": {"epochs": 40, "patience": 0, "learning_rate": 1e-3},
}
STRONG = {
    "plain": _recipe("plain", **HIDDEN),
    "margin": _recipe("margin", {"when": EVERYTHING, "then": {"margin": "strength"}}, **HIDDEN),
    "soft": _recipe("soft", {"when": EVERYTHING, "then": {"alpha": 0.1}}, **HIDDEN),
    "soft + margin": _recipe(
        "both", {"when": EVERYTHING, "then": {"alpha": 0.1, "margin": "strength"}}, **HIDDEN
    ),
}
DOUBTED, WEAK, STRONG_ONES = 0.4, "lowest 40 %", "others"
VANISHED = 0.02  # mean loss of the labels learnt from, below which it has gone to 0


def treatments(planted: Sequence[Taught], as_they_are: Sequence[Taught]) -> list[Finding]:
    """Figures 5, 8, 25, 27 and 28: every treatment with a fifth of the labels planted wrong, and
    those of the weakest tenth on the labels as they are."""
    table = Table("A fifth of the labels planted wrong", "treatment")
    real = Table("Labels as they are; trusted is GPT-3.5", "treatment")
    places = Table("Gain over plain on trusted labels", "treatment")
    for one, untouched in zip(planted, as_they_are, strict=True):
        say(f"  treatments of seed {one.scene.seed}")
        measured, plain = one.measured(), taught_on(one.scene)
        _judge(table, "plain", plain)
        for name, recipe in ARMS.items():
            arm = taught_on(one.scene, recipe, measured=measured)
            _judge(table, name, arm)
            _by_place(places, name, plain, arm)
        measured = untouched.measured()
        _judge(real, "plain", taught_on(untouched.scene))
        for name, recipe in BOTTOM.items():
            _judge(real, name, taught_on(untouched.scene, recipe, measured=measured))
    return [_weakest_tenth(table, real), _judged_by(table), _gains_by_place(places)]


def _judge(table: Table, name: str, taught: Taught) -> None:
    for kind, value in taught.accuracies().items():
        table.add(f"{kind} labels", name, value)


def _weakest_tenth(table: Table, real: Table) -> Finding:
    """Figures 5 and 25: flip or soften the weakest tenth."""
    flips = table.gains("trusted labels", FLIPPED_TENTH, "plain")
    soft = table.gains("trusted labels", SOFTENED_TENTH, "plain")
    apart = [one - other for one, other in zip(flips, soft, strict=True)]
    on_real = real.gains("trusted labels", FLIPPED_TENTH, "plain")
    return Finding(
        "5 and 25",
        "Does treating the weakest tenth of the labels help?",
        "flipping or softening the weakest 10 % raises accuracy on held-out clean labels, and both "
        "do about as well.",
        f"with a fifth planted wrong, flipping changes accuracy on trusted labels by "
        f"{said(flips)}, softening by {said(soft)}; flipping over softening {said(apart)}. On "
        f"labels as they are, judged by GPT-3.5, flipping changes it by {said(on_real)}.",
        all_of(is_gain(flips), is_gain(soft)),
        [real],
    )


def _by_place(table: Table, name: str, plain: Taught, arm: Taught) -> None:
    """Accuracy over plain on trusted labels among the validation labels that the plain ensemble
    puts lowest, the paper's wrong and ambiguous ones, and among the others."""
    gold = plain.scene.gold()
    before, after = plain.validation_margins(), arm.validation_margins()
    order = np.argsort(before * gold[RAW], kind="stable")
    border = round(DOUBTED * len(order))
    for part, rows in ((WEAK, order[:border]), (STRONG_ONES, order[border:])):
        right = [(margins[rows] * gold[TRUSTED][rows] > 0).mean() for margins in (after, before)]
        table.add(part, name, float(right[0] - right[1]))


def _judged_by(table: Table) -> Finding:
    gains = {
        kind: {name: table.gains(f"{kind} labels", name, "plain") for name in CLEANED}
        for kind in (RAW, TRUSTED, AGREEING)
    }
    flatters = [
        fmean(ours) - fmean(theirs)
        for ours, theirs in zip(
            zip(*gains[TRUSTED].values(), strict=True),
            zip(*gains[RAW].values(), strict=True),
            strict=True,
        )
    ]
    best = max(CLEANED, key=lambda name: fmean(gains[TRUSTED][name]))
    return Finding(
        "8",
        "Do raw validation labels judge a cleaning fairly?",
        "on the original labels plain and margin-only look best; on trusted and agreeing labels "
        "the cleaned arms are better.",
        f"the cleaned arms gain {said(flatters)} more over plain on trusted labels than on raw "
        f"ones. The best of them, {best}, gains {said(gains[TRUSTED][best])} on trusted and "
        f"{said(gains[RAW][best])} on raw labels.",
        all_of(is_gain(flatters), is_gain(gains[TRUSTED][best])),
        [table],
    )


def _gains_by_place(table: Table) -> Finding:
    weak, strong = (
        [fmean(a_seed) for a_seed in zip(*(column[name] for name in CLEANED), strict=True)]
        for column in (table.columns[WEAK], table.columns[STRONG_ONES])
    )
    apart = [one - other for one, other in zip(weak, strong, strict=True)]
    whole = [DOUBTED * a + (1 - DOUBTED) * b for a, b in zip(weak, strong, strict=True)]
    return Finding(
        "27 and 28",
        "Where do the gains sit?",
        "the cleaned arms gain among the weak validation labels; strong ones are right anyway.",
        f"the cleaned arms gain {said(weak)} among the lowest 40 % of the validation labels and "
        f"{said(strong)} among the others, {said(whole)} on the whole. The plain ensemble's own "
        "mistakes choose the groups, so that any other model gains in the one and loses in the "
        "other; without a gain on the whole that says nothing.",
        all_of(is_gain(apart), is_gain(weak), is_gain(whole)),
        [table],
    )


def strong(taught: Sequence[Taught]) -> Finding:
    """Figures 6, 7, 23 and 24: the strongest tenth, learnt from for long."""
    table = Table("The strongest tenth alone, heads with a hidden layer, 40 epochs", "treatment")
    for one in taught:
        say(f"  the strongest labels of seed {one.scene.seed}")
        own = one.strengths(OUT_OF_BAG)
        top = np.sort(np.argsort(own, kind="stable")[-(len(own) // 10) :])
        whole = one.measured()
        measured = Measured(
            whole.strengths[top],
            whole.percentiles[top],
            whole.flags[top],
            None if whole.probabilities is None else whole.probabilities[top],
        )
        for name, recipe in STRONG.items():
            found = taught_on(one.scene, recipe, rows=one.rows[top], measured=measured)
            seen = found.trained.margins.astype(np.float64)[found.bag]
            objective = found.trained.curve[-1].loss
            if objective is not None:
                table.add("training loss", name, objective)
            table.add("-log σ(Δ) of what is learnt from", name, float(-log_sigmoid(seen).mean()))
            table.add("margin of what is learnt from", name, float(seen.mean()))
            for kind, value in found.accuracies().items():
                table.add(f"{kind} labels", name, value)
    losses = mean_of(table.columns["training loss"])
    vanishes = from_truth(losses["plain"] < VANISHED)
    stays = from_truth(losses["soft + margin"] > VANISHED)
    gains = table.gains("trusted labels", "soft + margin", "plain")
    held = table.values("trusted labels", "plain")
    return Finding(
        "6, 7, 23 and 24",
        "Do soft labels with a margin keep the strongest labels from being overfitted?",
        "on the strongest tenth plain training drives the loss to 0; soft labels with a margin do "
        "not, and do best.",
        f"after 40 epochs the training loss is {losses['plain']:.3f} plain, "
        f"{losses['margin']:.3f} with a margin, {losses['soft']:.3f} soft and "
        f"{losses['soft + margin']:.3f} with both (it goes to 0 plain: {vanishes}; not with both: "
        f"{stays}, as it must, since a soft label's own entropy stays). Accuracy on trusted "
        f"labels is {shown(held)} plain; with both it changes by {said(gains)} (a gain: "
        f"{is_gain(gains)}).",
        NO if NO in (vanishes, stays) else YES if is_gain(gains) == YES else UNCLEAR,
        [table],
    )
