"""Which strength finds wrong labels best: in-sample, cross-fitted, out-of-bag, the dynamics of a
training, or cleanlab?

    python -m benchmarks.flags [--quick] [--json PATH]

On several sets of real pairs, labels are flipped on purpose: a share of 5 to 30 %, at random, where
an ensemble sees a near tie, or where the shorter response was preferred. Every detector sees the
same labels, once a seed. What labels were wrong before counts as a false alarm for all alike, so
the differences between detectors mean more than the figures themselves.

Detectors, of heads on the same frozen backbone:

- in-sample: one head that has seen every label, as the paper's models have;
- in-sample, halves: all ten heads of halves are asked of every pair, the product's in-sample mode;
- out-of-bag: of the same ten, those that have not seen the pair, the product's default;
- cross-fitted: ten heads, two rounds of five folds, each asked of the fold it has not seen;
- hidden, out-of-bag: heads with a hidden layer, led downhill for some epochs, of the same halves;
- area under the margin: the margins of these on what they learn from, averaged over their epochs
  (Pleiss et al. 2020, arXiv 2001.10528);
- joined rank: mean of the percentiles of out-of-bag strength and area under the margin;
- cleanlab: label quality and confident learning by the members' own out-of-bag probabilities.

All but cleanlab and the joined rank are flagged by the product's default rule. The joined rank has
no probabilities, so that it flags as many as out-of-bag does.
"""

import io
import lzma
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from annotations.formats.parsed import ParsedPair
from benchmarks.measuring import DATA, BenchmarkError
from benchmarks.planted_flips import CASES, Case
from benchmarks.prepared import Prepared, prepare, read, read_file
from benchmarks.reporting import Report, Row, options_of, say
from scoring.core import audit, label_quality, strength
from scoring.core.bags import bags, in_bag
from scoring.core.flags import FLIPPED, FlagRule
from scoring.core.judging import judge
from scoring.core.recipe_presets import PRESETS
from scoring.engine.heads import Slices
from scoring.training.heads import TrainingPairs, train
from scoring.training.teaching import teach

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Key = TypeVar("Key")

PAIRS = DATA / "pairs"
ALPACA = Case("alpaca-eval", PAIRS / "alpaca_eval_gpt4turbo.jsonl.xz")
SETS = (
    *(case for case in CASES if case.name in ("demo", "vicuna80", "hh-harmless")),
    Case("llmfao", PAIRS / "llmfao.jsonl.gz"),
    ALPACA,
)
EVERY = 18  # line of AlpacaEval is read
RATES = (0.05, 0.10, 0.20, 0.30)
SEEDS = range(3)
MEMBERS = 10
FOLDS = 5
ELSEWHERE = 1000  # the seed of the ensemble that says what a near tie is
DEFAULT = "out-of-bag"
MEASURES = {"auroc": "AUROC", "average_precision": "average precision"}
FLAGGED = ("flagged", "precision", "recall")

UNIFORM, NEAR_TIE, LENGTH = "uniform", "near tie", "length"
KINDS = (UNIFORM, NEAR_TIE, LENGTH)


@dataclass(frozen=True)
class Condition:
    """What is planted into a set."""

    pairs: str
    kind: str
    rate: float


@dataclass(frozen=True)
class Found:
    """What one detector found of one planting; shares are of all labels."""

    condition: Condition
    seed: int
    detector: str
    auroc: float
    average_precision: float
    flagged: float
    precision: float | None
    recall: float
    planted: float
    estimated: float | None  # noise rate, where the detector says one
    below_zero: float | None


@dataclass(frozen=True)
class Detection:
    """How suspect each label is, (n,), larger meaning more; which are flagged; and what the
    detector says of them all."""

    suspicion: Floats
    flagged: Booleans
    estimated: float | None = None
    below_zero: float | None = None


def main() -> None:
    options = options_of("flags", "Which strength finds wrong labels best.")
    report, found = Report("flags", baseline=DEFAULT), []
    sets = SETS[:1] if options.quick else SETS
    rates, seeds = ((0.10,), range(1)) if options.quick else (RATES, SEEDS)
    for case in sets:
        if not case.path.exists():
            report.skip(f"{case.name}, because {case.path} is absent (set CURATOR_BENCH_DATA).")
            continue
        say(f"{case.name}:")
        prepared = prepare(pairs_of(case))
        report.details.append({"set": case.name, **facts(prepared)})
        found += list(of_set(case.name, prepared, rates, seeds))
    report.rows = rows(found)
    report.details += [asdict(one) for one in found]
    report.show(options.json)


def pairs_of(case: Case) -> list[ParsedPair]:
    """The pairs of a set; of AlpacaEval every eighteenth, which are as many as the others have."""
    if case is not ALPACA:
        return read(case)
    with lzma.open(case.path) as file:
        lines = b"".join(line for number, line in enumerate(file) if number % EVERY == 0)
    return read_file(io.BytesIO(lines))


def facts(prepared: Prepared) -> dict[str, float]:
    """What the set is like before anything is planted."""
    longer = prepared.longer_a * prepared.pairs.labels
    return {
        "pairs": len(longer),
        "prompts": len(set(prepared.groups)),
        "shorter_preferred": float((longer < 0).mean()),
    }


def of_set(
    name: str, prepared: Prepared, rates: Sequence[float], seeds: Iterable[int]
) -> Iterator[Found]:
    """What every detector finds of every planting into a set."""
    closeness = _out_of_bag(prepared, prepared.pairs.labels, ELSEWHERE)
    for kind in KINDS:
        for rate in rates:
            say(f"  {kind}, {rate:.0%}")
            condition = Condition(name, kind, rate)
            for seed in seeds:
                planted = plant(prepared, closeness, condition, seed)
                labels = np.where(planted, -prepared.pairs.labels, prepared.pairs.labels)
                for detector, detection in detections(prepared, labels, seed).items():
                    yield judged(condition, seed, detector, detection, planted)


def plant(prepared: Prepared, closeness: Floats, condition: Condition, seed: int) -> Booleans:
    """Which labels (n,) to flip."""
    generator = np.random.default_rng([seed, round(1000 * condition.rate)])
    if condition.kind == NEAR_TIE:
        return audit.plant_near_ties(closeness, condition.rate, generator)
    if condition.kind == LENGTH:
        shorter_preferred = prepared.longer_a * prepared.pairs.labels < 0
        return audit.plant_among(shorter_preferred, condition.rate, generator)
    return audit.plant(len(closeness), condition.rate, generator)


def detections(
    prepared: Prepared, labels: npt.NDArray[np.float32], seed: int
) -> dict[str, Detection]:
    """What every detector makes of the same labels (n,)."""
    pairs = replace(prepared.pairs, labels=labels.astype(np.float32))
    halves = in_bag(prepared.digests, bags(MEMBERS, seed=seed))
    everything = np.ones((len(labels), 1), dtype=np.bool_)
    margins = _linear(prepared, pairs, np.concatenate([halves, everything], axis=1))
    unseen = np.where(halves, np.nan, margins[:, :MEMBERS])
    folds = folds_of(len(labels), np.random.default_rng([seed, FOLDS]))
    crossed = np.where(folds, np.nan, _linear(prepared, pairs, folds))
    hidden = teach(
        pairs,
        halves,
        PRESETS["hidden layer"],
        space=prepared.space,
        slices=Slices.none(),
        seed=seed,
    )
    if hidden.area_margins is None:
        raise BenchmarkError("A training of hidden heads kept no margins of its epochs.")
    areas = np.where(halves, hidden.area_margins, np.nan).astype(np.float64)
    by_bag, by_area = by_margins(unseen), by_margins(areas)
    return {
        "in-sample": by_margins(margins[:, MEMBERS:]),
        "in-sample, halves": by_margins(margins[:, :MEMBERS]),
        DEFAULT: by_bag,
        "cross-fitted": by_margins(crossed),
        "hidden, out-of-bag": by_margins(
            np.where(halves, np.nan, hidden.margins.astype(np.float64))
        ),
        "area under the margin": by_area,
        "joined rank": joined(by_bag, by_area),
        "cleanlab": by_cleanlab(unseen, seed),
    }


def folds_of(count: int, generator: np.random.Generator) -> Booleans:
    """Which of `count` pairs each of ten heads is trained on, (count, 2 x FOLDS): all but its fold,
    twice."""
    rounds = [generator.permutation(count) % FOLDS for _ in range(MEMBERS // FOLDS)]
    return np.stack([fold != own for fold in rounds for own in range(FOLDS)], axis=1)


def by_margins(margins: Floats) -> Detection:
    """Margins (n, m), NaN where a member is not asked, judged as a run judges them."""
    found = judge(margins, FlagRule())
    if found.calibrated is None:
        raise BenchmarkError("The default rule has calibrated nothing.")
    return Detection(
        suspicion=-found.strengths,
        flagged=found.flagging.flags == FLIPPED,
        estimated=found.calibrated.noise.estimate,
        below_zero=float((found.strengths < 0).mean()),
    )


def joined(one: Detection, other: Detection) -> Detection:
    """The mean rank of two detections, flagging as many as the first does."""
    ranks = strength.percentile(one.suspicion) + strength.percentile(other.suspicion)
    count = int(one.flagged.sum())
    flagged = np.zeros(len(ranks), dtype=np.bool_)
    flagged[np.argsort(-ranks, kind="stable")[:count]] = True
    return Detection(ranks, flagged)


def by_cleanlab(margins: Floats, seed: int) -> Detection:
    """cleanlab's label quality and confident learning of margins (n, m), A and B given at random;
    the noise rate is the share that it calls wrong."""
    probabilities = label_quality.members_probability(margins)
    says_a = np.random.default_rng([seed, 1]).random(len(margins)) < 0.5
    issues = label_quality.confident_issues(probabilities, says_a)
    suspicion = -label_quality.self_confidence(probabilities)
    return Detection(suspicion, issues, float(issues.mean()))


def judged(
    condition: Condition, seed: int, detector: str, detection: Detection, planted: Booleans
) -> Found:
    """A detection held against what was planted."""
    result = audit.audit(detection.suspicion, planted, detection.flagged)
    return Found(
        condition=condition,
        seed=seed,
        detector=detector,
        auroc=result.auroc,
        average_precision=result.average_precision,
        flagged=result.flagged / len(planted),
        precision=result.precision,
        recall=result.recall,
        planted=float(planted.mean()),
        estimated=detection.estimated,
        below_zero=detection.below_zero,
    )


def rows(found: Sequence[Found]) -> list[Row]:
    """Means over everything, and by set, kind and rate, each beside the default's."""
    cuts: dict[str, Callable[[Found], str]] = {
        "": lambda one: "all",
        "set": lambda one: one.condition.pairs,
        "kind": lambda one: one.condition.kind,
        "rate": lambda one: f"{one.condition.rate:.0%}",
    }
    return [
        row
        for cut in cuts.values()
        for part, some in _grouped(found, cut).items()
        for row in _rows_of(part, some, is_whole=part == "all")
    ]


def _rows_of(part: str, found: Sequence[Found], *, is_whole: bool) -> list[Row]:
    by_detector = _grouped(found, lambda one: one.detector)
    default = {measure: _mean(by_detector[DEFAULT], measure) for measure in MEASURES}
    rows = []
    for detector, own in by_detector.items():
        for measure, words in MEASURES.items():
            rows.append(
                Row(
                    f"{part}, {detector}: {words}",
                    _mean(own, measure),
                    baseline=None if detector == DEFAULT else default[measure],
                    note=_against(own, by_detector[DEFAULT], measure),
                )
            )
        if is_whole:
            rows += _flag_rows(own)
    return rows


def _flag_rows(found: Sequence[Found]) -> list[Row]:
    """What is flagged, and the noise rate beside the planted one."""
    rows = [Row(f"  {name}", _mean(found, name)) for name in FLAGGED]
    said = [(one.estimated, one.planted) for one in found if one.estimated is not None]
    if said:
        errors = [estimate - planted for estimate, planted in said]
        note = f"mean error {fmean(errors):+.3f}, of a planted {fmean(p for _, p in said):.3f}"
        rows.append(Row("  noise rate said", fmean(estimate for estimate, _ in said), note=note))
    return rows


def _against(own: Sequence[Found], default: Sequence[Found], measure: str) -> str:
    """The paired difference from the default, its standard error over conditions, and in how many
    of these it is ahead."""
    of_condition = {
        key: _mean(some, measure) for key, some in _grouped(default, lambda o: o.condition).items()
    }
    gains = [
        _mean(some, measure) - of_condition[key]
        for key, some in _grouped(own, lambda one: one.condition).items()
    ]
    if own is default or own[0].detector == DEFAULT:
        return ""
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    ahead = sum(gain > 0 for gain in gains)
    return f"{fmean(gains):+.3f} ± {error:.3f}, ahead in {ahead} of {len(gains)}"


def _mean(found: Sequence[Found], measure: str) -> float:
    values = [getattr(one, measure) for one in found]
    known = [value for value in values if value is not None]
    return fmean(known) if known else math.nan


def _grouped(found: Iterable[Found], key: Callable[[Found], Key]) -> dict[Key, list[Found]]:
    groups: dict[Key, list[Found]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    return groups


def _out_of_bag(prepared: Prepared, labels: npt.NDArray[np.float32], seed: int) -> Floats:
    """Strengths (n,) by the members that have not seen the pair."""
    halves = in_bag(prepared.digests, bags(MEMBERS, seed=seed))
    margins = _linear(prepared, replace(prepared.pairs, labels=labels), halves)
    unseen = np.where(halves, np.nan, margins)
    return strength.preference_strength(
        strength.standardise(unseen, strength.member_scales(unseen))
    )


def _linear(prepared: Prepared, pairs: TrainingPairs, bag: Booleans) -> Floats:
    """Margins (n, m) of the labels, by the product's heads."""
    trained = train(pairs, bag, space=prepared.space, slices=Slices.none())
    return trained.margins.astype(np.float64)


if __name__ == "__main__":
    main()
