"""What an adaptive ensemble saves, and what it loses: fewer calls of members, and the same flags?

    python -m benchmarks.adaptive [--quick] [--json PATH]

Ten heads are trained as the product trains them, once a seed, on labels as they are and with a
tenth of them flipped. Their margins of all pairs are then asked for in waves, and what an adaptive
run flags is compared with what the full ensemble does:

- out-of-bag: five of ten members are asked of each pair, as a run does by default;
- ten unseen: all ten are asked, none of which has seen the pair, as of registered checkpoints: each
  is trained on a random two thirds of the half of the pairs that it does not score;
- in-sample: all ten are asked, each of which has seen half of the pairs.

The heads of one backbone cost next to nothing beside it; they stand for members that are models of
their own, each call of which costs as much as the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import numpy.typing as npt

from benchmarks.planted_flips import CASES, SEEDS, SHARE
from benchmarks.prepared import Prepared, prepare, read
from benchmarks.reporting import Report, Row, mean_row, options_of, say
from scoring.core import adaptive, audit
from scoring.core.bags import bags, half_of, in_bag
from scoring.core.flags import FLIPPED, FlagRule, PercentileRule
from scoring.core.judging import Judged, judge
from scoring.engine.heads import Slices
from scoring.training.heads import train

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

SETS = ("hh-harmless", "vicuna80", "demo")
JUDGED_SET = "hh-harmless"  # that the targets are for
MEMBERS = 10
SEEN_SHARE = 2 / 3  # of the half of the pairs that a member of "ten unseen" may be trained on
CROSSING = 99  # the split that makes these halves
LEAST_KEPT = 0.99  # of what the full ensemble calls flipped
OTHER_Z = (2.0, 3.0, 3.5)  # tried beside the default
QUICK_PAIRS = 400


@dataclass(frozen=True)
class Planted:
    """Prepared pairs with some labels flipped on purpose, which ones, (n,), and the seed of it
    all."""

    prepared: Prepared
    planted: Booleans
    seed: int

    def train(self, bag: Booleans) -> Floats:
        """Margins (n, m) by members trained on what the bag (n, m) holds."""
        pairs = self.prepared.pairs
        signs = np.where(self.planted, -1.0, 1.0).astype(np.float32)
        flipped = replace(pairs, labels=pairs.labels * signs)
        trained = train(flipped, bag, space=self.prepared.space, slices=Slices.none())
        return trained.margins.astype(np.float64)

    def halves(self, split: int) -> npt.NDArray[np.int64]:
        """The half, 0 or 1, that a split sends each pair to, (n,)."""
        digests = self.prepared.digests
        return np.array([half_of(digest, seed=self.seed, split=split) for digest in digests])


@dataclass(frozen=True)
class Way:
    """A way to ask an ensemble: margins (n, m), NaN where the full one asks nobody; the split that
    each member shares with others; the rule; and the most calls a pair that should be needed."""

    name: str
    margins: Callable[[Planted], Floats]
    splits: Sequence[int]
    rule: FlagRule | PercentileRule
    most_calls: float


@dataclass(frozen=True)
class Outcome:
    """One adaptive run beside the full ensemble's."""

    savings: adaptive.Savings
    full: Judged
    ours: Judged
    planted: Booleans

    @property
    def kept(self) -> float:
        """The share of the full ensemble's flipped pairs that are flagged so here too."""
        theirs, own = _flipped(self.full), _flipped(self.ours)
        return float((theirs & own).sum() / max(theirs.sum(), 1))

    @property
    def new(self) -> float:
        """Pairs flagged as flipped here only, beside those of the full ensemble."""
        theirs, own = _flipped(self.full), _flipped(self.ours)
        return float((own & ~theirs).sum() / max(theirs.sum(), 1))

    @property
    def other_flags(self) -> float:
        """The share of the pairs that carry another flag, whichever."""
        return float((self.full.flagging.flags != self.ours.flagging.flags).mean())

    def auroc(self, judged: Judged) -> float:
        return audit.auroc(-judged.strengths, self.planted)


def main() -> None:
    options = options_of("adaptive", "What an adaptive ensemble saves, and what it loses.")
    seeds = range(1) if options.quick else SEEDS
    report = Report("adaptive", baseline="full")
    for case in [case for name in SETS for case in CASES if case.name == name]:
        if not case.path.exists():
            report.skip(f"{case.name}, because {case.path} is absent (set CURATOR_BENCH_DATA).")
            continue
        say(f"{case.name}:")
        prepared = prepare(read(case)[: QUICK_PAIRS if options.quick else None])
        report.rows += figures(case.name, prepared, seeds)
    report.show(options.json)


def out_of_bag(of: Planted) -> Floats:
    """Each pair by the members that have not seen it."""
    bag = in_bag(of.prepared.digests, bags(MEMBERS, seed=of.seed))
    return np.where(bag, np.nan, of.train(bag))


def in_sample(of: Planted) -> Floats:
    """Each pair by all members, half of which have seen it."""
    return of.train(in_bag(of.prepared.digests, bags(MEMBERS, seed=of.seed)))


def unseen(of: Planted) -> Floats:
    """Each pair by ten members trained on random parts of the other half of the pairs."""
    half = of.halves(CROSSING)[:, None]
    chosen = np.random.default_rng(of.seed).random((len(half), 2 * MEMBERS)) < SEEN_SHARE
    trained_on = np.repeat([0, 1], MEMBERS)[None, :]
    margins = of.train((half == trained_on) & chosen)
    return np.where(half == 0, margins[:, MEMBERS:], margins[:, :MEMBERS])


WAYS = (
    Way("out-of-bag", out_of_bag, [member // 2 for member in range(MEMBERS)], FlagRule(), 2.5),
    Way("ten unseen", unseen, range(MEMBERS), FlagRule(), 4.0),
    Way("in-sample", in_sample, range(MEMBERS), PercentileRule(), 4.0),
)


def figures(name: str, prepared: Prepared, seeds: Sequence[int]) -> list[Row]:
    """What every way saves and loses; on the set that is judged also unplanted, and by z."""
    rows, by_z = [], []
    for way in WAYS:
        for share in (0.0, SHARE) if name == JUDGED_SET else (SHARE,):
            say(f"  {way.name}, {share:.0%} planted")
            asked = [(of, way.margins(of)) for of in (plant(prepared, share, s) for s in seeds)]
            planted = f"{share:.0%} planted" if share else "labels as they are"
            outcomes = [outcome(way, of, margins, adaptive.Z) for of, margins in asked]
            rows += rows_of(f"{name}, {way.name}, {planted}", way, outcomes, name == JUDGED_SET)
            if share and name == JUDGED_SET:
                by_z += [_row_of_z(way, asked, z) for z in sorted((*OTHER_Z, adaptive.Z))]
    return rows + by_z


def plant(prepared: Prepared, share: float, seed: int) -> Planted:
    """The prepared pairs with a random share of the labels flipped."""
    planted = audit.plant(len(prepared.digests), share, np.random.default_rng(seed))
    return Planted(prepared, planted, seed)


def outcome(way: Way, of: Planted, full: Floats, z: float) -> Outcome:
    """Ask in waves for margins (n, m) that are known already, and judge."""
    askable, waves = np.isfinite(full), adaptive.waves(way.splits)
    margins = np.full_like(full, np.nan)
    for number in range(len(waves)):
        asked = adaptive.to_ask(margins, askable, way.rule, waves=waves, number=number, z=z)
        margins[asked] = full[asked]
    scales = adaptive.scales_of_adaptive(margins, askable, waves)
    expected = adaptive.expected_strengths(margins, askable, waves)
    ours = judge(margins, way.rule, scales=scales, expected=expected)
    return Outcome(adaptive.savings(margins, askable), judge(full, way.rule), ours, of.planted)


def rows_of(case: str, way: Way, outcomes: Sequence[Outcome], is_judged: bool) -> list[Row]:
    """Calls, flags kept and, where flips are planted, AUROC: means over the seeds."""
    full = [found.full for found in outcomes]
    flagged = fmean(float(_flipped(judged).sum()) for judged in full)
    rules = sum(found.full.flagging.cut_by != found.ours.flagging.cut_by for found in outcomes)
    rows = [
        mean_row(
            f"{case}: calls a pair",
            [found.savings.calls_per_pair for found in outcomes],
            target=way.most_calls if is_judged else None,
            baseline=outcomes[0].savings.full_calls_per_pair,
            smaller_is_better=True,
            note=f"{outcomes[0].savings.pairs:,} pairs, z {adaptive.Z:g}",
        ),
        mean_row(
            "  share of its flipped kept",
            [found.kept for found in outcomes],
            target=LEAST_KEPT if is_judged else None,
            note=f"of {flagged:,.0f} by {full[0].flagging.cut_by}"
            + (f"; {rules} of {len(outcomes)} cut by another rule" if rules else ""),
        ),
        mean_row("  flipped here only, beside them", [found.new for found in outcomes]),
        mean_row("  share of all flags that differ", [found.other_flags for found in outcomes]),
    ]
    if outcomes[0].planted.any():
        aurocs = [found.auroc(found.ours) for found in outcomes]
        theirs = fmean(found.auroc(found.full) for found in outcomes)
        rows.append(mean_row("  AUROC", aurocs, baseline=theirs))
    return rows


def _row_of_z(way: Way, asked: Sequence[tuple[Planted, Floats]], z: float) -> Row:
    outcomes = [outcome(way, of, margins, z) for of, margins in asked]
    calls = fmean(found.savings.calls_per_pair for found in outcomes)
    return mean_row(
        f"{way.name}, z {z:g}: share of its flipped kept",
        [found.kept for found in outcomes],
        note=f"{calls:.2f} calls a pair",
    )


def _flipped(judged: Judged) -> Booleans:
    return np.asarray(judged.flagging.flags == FLIPPED)


if __name__ == "__main__":
    main()
