"""How often the interval of a dataset's noise rate covers the truth, and what reviewing the weakest
labels finds.

    python -m benchmarks.noise_interval [--quick] [--json PATH]

On HH a tenth of the labels is flipped in the file before it is imported, so that the product knows
nothing of it; it trains and scores as always. Then audits are simulated, a seed each: so many pairs
are drawn as the evidence page draws them, and the verdict is whether the label was flipped. Beside
it stands a simple random sample of as many, with Wilson's interval, which knows nothing of how many
pairs there are. The same on made-up strengths, for other noise rates.
Intervals are of 95 %; widths are from the lower bound to the upper.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measuring import BenchmarkError, Installation, installation
from benchmarks.planted_flips import ENSEMBLE, HH, SEEDS, SHARE
from benchmarks.reporting import Report, Row, mean_row, options_of, say
from curator.lib.intervals import Estimate, wilson
from scoring.core import audit, sampling
from scoring.core.calibration import sigmoid

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]
Audits = list[Estimate]

REVIEWS = (150, 300, 600)
AUDITS = 400
QUICK_AUDITS = 100
LEAST_COVERED = 0.90
LEAST_LIFT = 2.0
RATES = (0.01, 0.05, 0.10, 0.20, 0.30)
MADE_UP = 5000  # pairs
SLOPES = {"no ensemble": 0.0, "a fair one": 1.5, "a good one": 6.0}
QUICK_PAIRS = 400
SCORES = (
    "import json; from scoring.models import PairScore; print(json.dumps(list(PairScore.objects"
    ".filter(run={run}).exclude(flag='').values_list('pair__source_id', 'strength', 'flag'))))"
)


@dataclass(frozen=True)
class Population:
    """Labels of n pairs as an ensemble sees them, and which are wrong."""

    strengths: Floats
    flags: Names
    wrong: Booleans


def main() -> None:
    options = options_of("noise_interval", "How often the interval of the noise rate covers.")
    report = Report("noise_interval", baseline="random, Wilson")
    audits = QUICK_AUDITS if options.quick else AUDITS
    if HH.exists():
        with installation() as curator, curator.serving():
            seeds = range(1) if options.quick else SEEDS
            populations = [planted_hh(curator, seed, options.quick) for seed in seeds]
        report.rows += found_by_reviewing(populations)
        report.rows += coverage("HH, 10 % planted", populations[0], audits)
        report.rows += of_flags(populations[0], audits)
    else:
        report.skip(f"HH, because {HH} is absent (set CURATOR_BENCH_DATA).")
    for name, slope in SLOPES.items():
        for rate in RATES:
            say(f"{name}, {rate:.0%} wrong")
            report.rows += coverage(f"{name}, {rate:.0%} wrong", made_up(rate, slope), audits)
    report.show(options.json)


def planted_hh(curator: Installation, seed: int, is_quick: bool) -> Population:
    """HH with a tenth of its labels flipped, imported, trained on and scored by the product."""
    say(f"HH, planted with seed {seed}:")
    slug, path = f"hh-{seed}", curator.home / f"hh-{seed}.jsonl"
    lines = _labelled_lines(QUICK_PAIRS if is_quick else None)
    planted = audit.plant(len(lines), SHARE, np.random.default_rng(seed))
    with path.open("w", encoding="utf-8") as target:
        target.writelines(map(_written, lines, planted.tolist()))
    curator.run("import_pairs", path, "--dataset", slug)
    curator.run("train_ensemble", slug, "--name", ENSEMBLE)
    run = curator.run("score", slug, "--ensemble", ENSEMBLE).found["run"]
    ids, strengths, flags = zip(*json.loads(curator.ask(SCORES.format(run=run))), strict=True)
    is_planted = dict(zip((line["id"] for line in lines), planted.tolist(), strict=True))
    wrong = np.array([is_planted[source_id] for source_id in ids])
    return Population(np.array(strengths), np.array(flags), wrong)


def found_by_reviewing(populations: Sequence[Population]) -> list[Row]:
    """How many times as many planted flips as random review the weakest fifth holds."""
    lifts = [audit.lift(-of.strengths, of.wrong) for of in populations]
    aurocs = [audit.auroc(-of.strengths, of.wrong) for of in populations]
    return [
        mean_row(
            "HH, 10 % planted: lift of reviewing the weakest 20 %",
            lifts,
            target=LEAST_LIFT,
            note=f"{len(populations[0].wrong):,} pairs, {len(lifts)} seeds",
        ),
        mean_row("  AUROC", aurocs),
    ]


def coverage(case: str, of: Population, audits: int) -> list[Row]:
    """The share of simulated audits that cover, and their mean width, for every sample size."""
    truth = float(of.wrong.mean())
    rows = []
    for reviews in REVIEWS:
        ours = [_stratified(of, reviews, seed) for seed in range(audits)]
        random = [_random(of, reviews, seed) for seed in range(audits)]
        rows += [
            Row(
                f"{case}, {reviews} reviews: covers",
                _covering(ours, truth),
                target=LEAST_COVERED,
                baseline=_covering(random, truth),
            ),
            Row("  mean width", _width(ours), baseline=_width(random), smaller_is_better=True),
        ]
    return rows


def of_flags(of: Population, audits: int) -> list[Row]:
    """The same for precision and recall of what is flagged as flipped."""
    strata, own = sampling.strata(of.strengths), of.flags == "flipped"
    counts = {
        name: np.bincount(strata[of.flags == name], minlength=sampling.BINS)
        for name in np.unique(of.flags)
    }
    truths = {"precision": of.wrong[own].mean(), "recall": own[of.wrong].mean()}
    found: dict[str, Audits] = {name: [] for name in truths}
    for seed in range(audits):
        drawn = sampling.draw(strata, REVIEWS[1], np.random.default_rng(seed))
        reviewed = sampling.Reviewed(strata[drawn], of.wrong[drawn], of.flags[drawn])
        shares = sampling.flag_shares(counts, reviewed)["flipped"]
        figures = {"precision": shares.precision.figure, "recall": shares.recall}
        for name, figure in figures.items():
            found[name] += [figure] if figure is not None else []
    return [
        Row(
            f"HH, {REVIEWS[1]} reviews: {name} of likely flipped covers",
            _covering(found[name], float(truth)),
            target=LEAST_COVERED,
            note=f"truth {truth:.3f}, mean width {_width(found[name]):.3f}",
        )
        for name, truth in truths.items()
    ]


def made_up(rate: float, slope: float) -> Population:
    """Strengths of which the lower ones are the likelier wrong, by an ensemble of the slope."""
    generator = np.random.default_rng(round(1000 * rate))
    wrong = audit.plant(MADE_UP, rate, generator)
    size = np.abs(generator.normal(size=MADE_UP))
    agrees = (generator.random(MADE_UP) < sigmoid(slope * size)) != wrong
    return Population(np.where(agrees, size, -size), np.full(MADE_UP, ""), wrong)


def _stratified(of: Population, reviews: int, seed: int) -> Estimate:
    strata = sampling.strata(of.strengths)
    drawn = sampling.draw(strata, reviews, np.random.default_rng(seed))
    sizes = sampling.sizes_of(strata)
    return _known(sampling.noise_rate(sizes, strata[drawn], of.wrong[drawn]).figure)


def _random(of: Population, reviews: int, seed: int) -> Estimate:
    drawn = np.random.default_rng(seed).permutation(len(of.wrong))[:reviews]
    return _known(wilson(int(of.wrong[drawn].sum()), len(drawn)))


def _known(figure: Estimate | None) -> Estimate:
    if figure is None:
        raise BenchmarkError("A sample of reviews has no noise rate.")
    return figure


def _covering(found: Audits, truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in found]))


def _width(found: Audits) -> float:
    return float(np.mean([one.high - one.low for one in found]))


def _labelled_lines(most: int | None) -> list[dict[str, Any]]:
    """HH's pairs of which one response is preferred."""
    with gzip.open(HH, "rt", encoding="utf-8") as source:
        rows = [json.loads(line) for line in source]
    return [row for row in rows if row["labels"][0]["label"] in ("a", "b")][:most]


def _written(row: dict[str, Any], is_planted: bool) -> str:
    """The line to import, its label turned round where it is planted."""
    label = {"a": "b", "b": "a"} if is_planted else {"a": "a", "b": "b"}
    turned = [{**one, "label": label[one["label"]]} for one in row["labels"]]
    return json.dumps({**row, "labels": turned}, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
