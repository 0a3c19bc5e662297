"""How fast agreement and consensus are, and how right consensus is:
`python -m benchmarks.agreement [--quick] [--json PATH]`.

Made-up crowds with three votes a pair, ties and strengths; then the crowd of METHOD.md 3.3 whose
truth is known, beside counting votes. The baseline of alpha is the krippendorff package, which
gives no interval; that of a consensus is the majority.
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import krippendorff
import numpy as np

from annotations.agreement import (
    VALUES,
    Agreement,
    Scale,
    agreement_with_others,
    kappa_matrix,
    krippendorff_alpha,
    observed_agreement,
)
from annotations.consensus import (
    Errors,
    crowdlab,
    dawid_skene,
    majority,
    voter_accuracy,
    with_ensemble,
)
from annotations.judgements import Judgements
from benchmarks.reporting import Report, Row, mean_row, options_of, say
from tests.annotations import crowds

Found = TypeVar("Found")

VOTES = 3
VOTERS = 200
SIZES = {100_000: 2.0, 1_000_000: 20.0}  # judgements, and the seconds that they may take
QUICK = {10_000: 2.0}
SEEDS = range(5)
ANCHORS = {"majority": 0.682, "Dawid–Skene": 0.793, "one coin": 0.794, "with the ensemble": 0.855}


def main() -> None:
    options = options_of("agreement", "How fast and how right agreement and consensus are.")
    report = Report("agreement")
    for size, most in (QUICK if options.quick else SIZES).items():
        say(f"{size:,} judgements:")
        report.rows += speed(size, most)
    report.rows += rightness(range(1) if options.quick else SEEDS)
    report.rows += real_alphas(report)
    report.show(options.json)


def speed(size: int, most: float) -> list[Row]:
    """Seconds of each figure on one crowd, and of alpha with its interval and consensus
    together."""
    generator = np.random.default_rng(0)
    accuracies = crowds.accuracies_of(160, spammers=30, adversaries=10, generator=generator)
    crowd = crowds.made_up(
        generator, units=size // VOTES, votes=VOTES, accuracies=accuracies, ties=0.1
    )
    of = crowd.judgements
    _, alpha_seconds = timed(lambda: krippendorff_alpha(of, generator=generator))
    people, fit_seconds = timed(lambda: dawid_skene(of))
    case = f"{size:,} judgements by {VOTERS}"
    without, without_seconds = timed(
        lambda: krippendorff_alpha(of, generator=generator, resamples=1)
    )
    package = package_seconds(of, without)
    rows = [
        Row(
            f"{case}: alpha with interval, and consensus",
            alpha_seconds + fit_seconds,
            "s",
            target=most,
            smaller_is_better=True,
        ),
        Row("  alpha with interval", alpha_seconds, "s"),
        Row("  alpha alone", without_seconds, "s", baseline=package, smaller_is_better=True),
        Row("  Dawid–Skene", fit_seconds, "s", note=f"{people.model.iterations} iterations"),
    ]
    rest: dict[str, Callable[[], Any]] = {
        "alpha of strengths with interval": lambda: krippendorff_alpha(
            of, Scale.STRENGTH, generator=generator
        ),
        "observed agreement with interval": lambda: observed_agreement(of, generator=generator),
        "one coin": lambda: dawid_skene(of, errors=Errors.ONE_COIN),
        "accuracy of each voter": lambda: voter_accuracy(people),
        "ensemble added": lambda: with_ensemble(people, crowd.margins),
        "kappa of every two of 200": lambda: kappa_matrix(of),
        "agreement with others": lambda: agreement_with_others(of),
    }
    rows += [Row(f"  {name}", timed(work)[1], "s") for name, work in rest.items()]
    return [*rows, Row("  memory at most, so far", peak_megabytes(), "MB")]


def package_seconds(of: Judgements, expected: Agreement) -> float:
    """Seconds of the krippendorff package for the same alpha, which must be the same.

    It is given counts of values: its other input, voters by units, would not fit for a million.
    """
    domain = list(VALUES[Scale.TIES])

    def alpha() -> float:
        counts = of.votes()[:, domain]
        return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))

    found, seconds = timed(alpha)
    if expected.figure is None or abs(found - expected.figure.estimate) > 1e-9:
        raise SystemExit(f"The krippendorff package finds {found}, and we {expected.figure}.")
    return seconds


def rightness(seeds: range) -> list[Row]:
    """Share of right winners on the crowd of METHOD.md 3.3, means over the seeds."""
    shares: dict[str, list[float]] = {}
    for crowd in map(crowds.crowd_of_the_method, seeds):
        of, likely = crowd.judgements, 1.0 / (1.0 + np.exp(-crowd.margins))
        people = dawid_skene(of)
        winners = {
            "majority": majority(of).winners,
            "Dawid–Skene": people.outcomes.winners,
            "one coin": dawid_skene(of, errors=Errors.ONE_COIN).outcomes.winners,
            "CROWDLAB": crowdlab(of, np.column_stack([likely, 1.0 - likely])).winners,
            "with the ensemble": with_ensemble(people, crowd.margins).outcomes.winners,
            "the ensemble alone": (crowd.margins < 0).astype(np.int8),
        }
        for name, found in winners.items():
            shares.setdefault(name, []).append(crowd.share_right(found))
    counted = float(np.mean(shares["majority"]))
    return [
        mean_row(
            f"2,000 pairs, 20 voters, 3 votes each: right by {name}",
            values,
            baseline=None if name == "majority" else counted,
            note=f"METHOD.md 3.3: {ANCHORS[name]}" if name in ANCHORS else "",
        )
        for name, values in shares.items()
    ]


def real_alphas(report: Report) -> list[Row]:
    """Alpha of people's labels in real sets, with and without ties."""
    rows = []
    for name in ("vicuna80", "pandalm", "llmfao", "tulu1_human"):
        if not crowds.is_there(name):
            report.skip(f"{name}, which is not in {crowds.PAIRS} (set CURATOR_BENCH_DATA).")
            continue
        of = crowds.read(name)
        for scale in (Scale.TIES, Scale.SIDES):
            found = krippendorff_alpha(of, scale, generator=np.random.default_rng(0))
            if found.figure is not None:
                note = f"{found.figure.low:.3f} to {found.figure.high:.3f}, {found.units:,} pairs"
                rows.append(Row(f"{name}: alpha, {scale}", found.figure.estimate, note=note))
    return rows


def timed(work: Callable[[], Found]) -> tuple[Found, float]:
    """What the work gives, and its seconds."""
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


if __name__ == "__main__":
    main()
