"""Figures 1 to 4, 21 and 22 of the paper: how preference strength lies over the labels, and what
training on labels of one strength gives."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from benchmarks.paper_scene import (
    IN_SAMPLE,
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
    interval,
    is_gain,
    mean_of,
    said,
    shown,
    taught_on,
)
from benchmarks.reporting import say
from scoring.core import strength
from scoring.core.distribution import DECILES, PROFILE_GROUPS

Order = npt.NDArray[np.int64]

MODES = (IN_SAMPLE, OUT_OF_BAG)
BINS = np.linspace(-4.0, 4.0, 33)  # of strength, in units of a member's own scale
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PAPERS_SHARE, NEAR = 0.25, 0.05  # of labels below zero, and how near is the same
ABOUT_CHANCE = 0.03  # of accuracy from one half


def strengths(taught: Sequence[Taught]) -> list[Finding]:
    """Figures 1 and 2: the histogram, the share below zero and the spread over twenty groups."""
    say("  strength and spread")
    below = Table("Share of labels with a strength below zero", "strength")
    histogram = Table("Share of labels by strength", "from")
    spreads = Table("Mean spread by group of strength, weakest first", "group")
    for one in taught:
        for mode in MODES:
            margins = one.asked(mode)
            standard = strength.standardise(margins, strength.member_scales(margins))
            own, wide = strength.preference_strength(standard), strength.spread(standard)
            below.add("share", mode, float((own < 0).mean()))
            counts, _ = np.histogram(np.clip(own, BINS[0], BINS[-1]), BINS)
            for start, count in zip(BINS[:-1], counts, strict=True):
                histogram.add(mode, f"{start:+.2f}", count / len(own))
            groups = np.array_split(np.argsort(own, kind="stable"), PROFILE_GROUPS)
            for number, group in enumerate(groups, start=1):
                spreads.add(mode, str(number), float(wide[group].mean()))
    shares = {mode: fmean(below.values("share", mode)) for mode in MODES}
    return [
        Finding(
            "1",
            "How many labels does the ensemble contradict?",
            "about 25 % of the training labels have a strength below zero, by models that have "
            "seen them.",
            f"{shares[IN_SAMPLE]:.1%} in-sample, {shares[OUT_OF_BAG]:.1%} by heads that have not "
            "seen the label.",
            from_truth(abs(shares[IN_SAMPLE] - PAPERS_SHARE) <= NEAR),
            [below, histogram],
        ),
        u_shape(spreads),
    ]


def u_shape(spreads: Table) -> Finding:
    """Whether members disagree most at both ends of strength."""
    verdicts, words = [], []
    for mode in MODES:
        column = mean_of(spreads.columns[mode])
        middle = fmean(column[str(group)] for group in range(6, 16))
        ends = [column["1"] / middle, column[str(PROFILE_GROUPS)] / middle]
        verdicts.append(from_truth(min(ends) > 1.1))
        words.append(f"{mode} {ends[0]:.2f} and {ends[1]:.2f} times the middle ten groups' spread")
    return Finding(
        "2",
        "Do members disagree most where the ensemble is most decided?",
        "the spread is U-shaped over twenty groups of strength: flat in the middle, rising at both "
        "ends.",
        f"the weakest and the strongest group have, {'; '.join(words)}.",
        verdicts[0],
        [spreads],
    )


def agreement(taught: Sequence[Taught], planted: Sequence[Taught]) -> Finding:
    """Figure 3: whether a second source agrees the more, the stronger the label."""
    say("  agreement with a second source")
    table = Table("Agreement with the label by decile of out-of-bag strength", "decile")
    _agreeing(table, "GPT-3.5 says the same", taught)
    _agreeing(table, "not a planted flip", planted)
    column = mean_of(table.columns["GPT-3.5 says the same"])
    values = list(column.values())
    ranks = np.corrcoef(np.argsort(np.argsort(values)), np.arange(DECILES))[0, 1]
    return Finding(
        "3",
        "Does a second source agree with stronger labels more often?",
        "agreement with GPT-4 rises from .164 in the weakest group over .544 near zero to .956 in "
        "the strongest.",
        f"agreement with GPT-3.5, asked for the same objective, rises from {values[0]:.3f} over "
        f"{fmean(values[4:6]):.3f} in the middle to {values[-1]:.3f} (rank correlation of the "
        f"deciles {ranks:.2f}).",
        NO if ranks < 0.9 else YES if values[0] < 0.5 < values[-1] else UNCLEAR,
        [table],
    )


def _agreeing(table: Table, column: str, taught: Sequence[Taught]) -> None:
    for one in taught:
        labels = one.scene.labels[one.rows]
        trusted = one.scene.trusted[one.rows]
        order = np.argsort(one.strengths(OUT_OF_BAG), kind="stable")
        order = order[trusted[order] != 0]
        for number, group in enumerate(np.array_split(order, DECILES), start=1):
            share = float((labels[group] == trusted[group]).mean())
            table.add(column, str(number), share)


def deciles(taught: Sequence[Taught]) -> list[Finding]:
    """Figure 4: what an ensemble learns from one tenth of the labels alone."""
    findings = []
    for mode in MODES:
        say(f"  training on each decile of {mode} strength")
        table = Table(f"Validation accuracy by the decile of {mode} strength learnt from", "decile")
        for one in taught:
            order = np.argsort(one.strengths(mode), kind="stable")
            for number, group in enumerate(np.array_split(order, DECILES), start=1):
                found = taught_on(one.scene, rows=one.rows[group]).accuracies()
                for kind in (RAW, TRUSTED):
                    table.add(f"{kind} labels", str(number), found[kind])
        findings.append(_of_deciles(mode, table))
    return findings


def _of_deciles(mode: str, table: Table) -> Finding:
    column = table.columns["raw labels"]
    means = mean_of(column)
    weakest = is_gain([0.5 - fmean(pair) for pair in zip(column["1"], column["2"], strict=True)])
    next_ones = [fmean(pair) for pair in zip(column["3"], column["4"], strict=True)]
    near_chance = from_truth(abs(fmean(next_ones) - 0.5) <= ABOUT_CHANCE)
    rest = from_truth(min(means[str(number)] for number in range(6, 11)) > 0.5)
    best = max(means, key=lambda number: means[number])
    top = from_truth(best != str(DECILES))
    return Finding(
        "4",
        f"What does each tenth of the labels teach alone, by {mode} strength?",
        "the weakest two deciles teach less than chance, the next two about chance, the others "
        "clearly more, and the strongest decile is not the best.",
        f"deciles 1 and 2 give {means['1']:.3f} and {means['2']:.3f}, 3 and 4 {means['3']:.3f} and "
        f"{means['4']:.3f}, the strongest {means[str(DECILES)]:.3f}; the best is decile {best}. "
        f"Below chance: {weakest}; then about chance: {near_chance}; the upper half above: {rest}; "
        f"the strongest not the best: {top}.",
        all_of(weakest, near_chance, rest, top),
        [table],
    )


def sweeps(taught: Sequence[Taught]) -> list[Finding]:
    """Figures 21 and 22: accuracy by how many labels are learnt from, in order of strength."""
    table = Table("Accuracy on trusted labels by share of the labels learnt from", "share")
    for one in taught:
        say(f"  sweeps of seed {one.scene.seed}")
        weakest = np.argsort(one.strengths(OUT_OF_BAG), kind="stable")
        at_random = np.random.default_rng(one.scene.seed).permutation(len(weakest))
        orders: dict[str, Order] = {
            "weakest first": weakest,
            "strongest first": weakest[::-1],
            "at random": at_random,
        }
        everything = taught_on(one.scene).accuracies()[TRUSTED]
        for name, order in orders.items():
            for share in SHARES:
                rows = np.sort(one.rows[order[: round(share * len(order))]])
                found = everything
                if share < 1.0:
                    found = taught_on(one.scene, rows=rows).accuracies()[TRUSTED]
                table.add(name, f"{share:.0%}", found)
    return [_weakest_first(table), _strongest_first(table)]


def _weakest_first(table: Table) -> Finding:
    name = "weakest first"
    early = table.values(name, "20%")
    half = table.values(name, "50%")
    all_of_them = table.values(name, "100%")
    recovered = is_gain([a - b for a, b in zip(all_of_them, half, strict=True)])
    below = is_gain([0.5 - value for value in early])
    return Finding(
        "21",
        "How much clean data makes up for wrong labels?",
        "starting from the weakest labels, much of the data is needed before the model recovers.",
        f"with a fifth of the labels planted wrong, the weakest 20 % give {shown(early)}, the "
        f"weakest 50 % {shown(half)}, all {shown(all_of_them)}.",
        all_of(below, recovered),
        [table],
    )


def _strongest_first(table: Table) -> Finding:
    column = mean_of(table.columns["strongest first"])
    best = max(column, key=lambda share: column[share])
    gains = table.gains("strongest first", best, "100%")
    low, _ = interval(gains)
    verdict = YES if best != "100%" and low > 0 else NO if best == "100%" else UNCLEAR
    return Finding(
        "22",
        "Is it better to stop before the weakest labels?",
        "starting from the strongest labels, accuracy holds as long as no wrong labels are "
        "included, and falls once they are.",
        f"accuracy is highest with the strongest {best} of the labels, {said(gains)} over all of "
        "them (the share was chosen by the same figures, which flatters it).",
        verdict,
        [],
    )
