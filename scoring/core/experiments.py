"""What an experiment found: accuracy and its like for every arm, and how far arms differ, with
intervals by a paired bootstrap over prompt groups.

n pairs that no arm has learnt from are judged by arms that were each trained with several seeds.
Margins are (arms, seeds, n), towards A, NaN where a trial was not asked of a pair; labels are (n,),
+1 where A is better, -1 where B is, 0 where neither is or nobody says. A pair's figure is the mean
over its seeds, and prompts are drawn anew, all arms alike: the intervals tell what other prompts
would have shown of these trained models. Pairs of a prompt stay together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import LEVEL, Estimate
from scoring.core.calibration import sigmoid

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

RAW, TRUSTED, AGREEING = "raw", "trusted", "agreeing"
RESAMPLES = 2000
CELLS = 4_000_000  # of the table of how often each group is drawn, at once
CONFIDENCES = np.linspace(0.5, 1.0, 11)  # bounds of the bins of calibration
MOST_BINS = 10  # of strength
FEWEST_IN_BIN = 20  # pairs


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an experiment's arms said of the pairs that were held out."""

    groups: Indices  # (n,): the number of each pair's prompt group, from 0
    raw: Floats  # (n,): as imported
    trusted: Floats  # (n,): as those say whose word counts
    margins: Floats  # (arms, seeds, n)
    slopes: Floats  # (arms, seeds): what makes probabilities of margins, found where it was trained

    @property
    def labels(self) -> dict[str, Floats]:
        """The three sets of labels that arms are judged by."""
        agreeing = np.where(self.raw == self.trusted, self.trusted, 0.0)
        return {RAW: self.raw, TRUSTED: self.trusted, AGREEING: agreeing}


@dataclass(frozen=True)
class Bin:
    """Pairs of like strength, and how often an arm is right on them by trusted labels."""

    low: float
    high: float
    pairs: int
    accuracy: Estimate | None


@dataclass(frozen=True)
class Confidence:
    """Pairs of which an arm is about as sure, and how often it is right."""

    sureness: float  # mean probability of the response that it prefers
    accuracy: float
    pairs: float  # a pair counts once, whichever seeds put it here


@dataclass(frozen=True)
class ArmFigures:
    """What is found of one arm; None where no pair tells. Calibration and AUROC go by trusted
    labels."""

    accuracy: dict[str, Estimate | None]
    brier: Estimate | None
    ece: Estimate | None
    auroc: Estimate | None
    bins: list[Bin] = field(default_factory=list)
    confidences: list[Confidence] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """The figures of all arms; `differences[arm][labels]` is an arm's accuracy minus that of the
    first."""

    pairs: dict[str, int]  # that were judged, by labels
    groups: int
    arms: list[ArmFigures]
    differences: list[dict[str, Estimate | None]]


def fold_of(group: str, *, seed: int, folds: int) -> int:
    """The fold, from 0, that all pairs of a prompt group are dealt to."""
    named = hashlib.sha256(f"fold:{seed}:{group}".encode()).digest()
    return int.from_bytes(named[:8], "big") % folds


def find(evaluation: Evaluation, *, seed: int = 0, resamples: int = RESAMPLES) -> Found:
    """All figures with their intervals. The same seed draws the same prompts."""
    table = _Table(evaluation.groups, seed=seed, resamples=resamples)
    labels, margins = evaluation.labels, evaluation.margins
    arms = range(len(margins))
    right = {
        name: np.stack([hits(margins[arm], said) for arm in arms]) for name, said in labels.items()
    }
    accuracy = {
        name: [table.mean(_over_seeds(of[arm])) for arm in arms] for name, of in right.items()
    }
    against = {
        name: [table.mean(_over_seeds(of[arm] - of[0])) for arm in arms]
        for name, of in right.items()
    }
    bins = _strength_bins(evaluation)
    parts = [_ArmParts(evaluation, arm, right[TRUSTED][arm], bins, table) for arm in arms]
    drawn = table.draw()
    return Found(
        pairs={name: int(np.isfinite(of).any(axis=(0, 1)).sum()) for name, of in right.items()},
        groups=table.count,
        arms=[
            parts[arm].figures({name: drawn.of(of[arm]) for name, of in accuracy.items()}, drawn)
            for arm in arms
        ],
        differences=[{name: drawn.of(of[arm]) for name, of in against.items()} for arm in arms],
    )


def hits(margins: Floats, labels: Floats) -> Floats:
    """1 where a margin prefers what the label prefers, 0 where the other, 1/2 for neither; NaN
    where either says nothing. (…, n) and (n,) -> (…, n)."""
    found = 0.5 * (1.0 + np.sign(margins) * labels)
    return np.where(np.isfinite(margins) & (labels != 0), found, np.nan)


def auroc_shares(margins: Floats) -> Floats:
    """Of margins (n,) for the right response: the share of pairs whose margin, turned round, each
    of them exceeds, ties as halves; their mean is the AUROC.

    Every pair counts both ways round, since which response is called A says nothing: it is the
    chance that a right response stands further above its other than a wrong one does.
    """
    turned = np.sort(-margins)
    below = np.searchsorted(turned, margins, side="left")
    up_to = np.searchsorted(turned, margins, side="right")
    return np.asarray((below + up_to) / (2.0 * max(len(margins), 1)))


@dataclass(frozen=True)
class BestOfN:
    """What the response that an arm likes best is worth, by scores that it does not know."""

    chosen: Estimate
    gain: float | None  # of the way from a random to the best response
    difference: Estimate  # to the first arm


@dataclass(frozen=True)
class Choices:
    """The best-of-n of all arms, and the bounds of what was there to choose from."""

    prompts: int
    random: float
    best: float
    arms: list[BestOfN]


def choices(
    chosen: Floats, random: Floats, best: Floats, *, seed: int = 0, resamples: int = RESAMPLES
) -> Choices:
    """Scores of what each arm chose (arms, seeds, prompts), NaN where it was not asked; of a random
    response on average, and of the best (prompts,)."""
    table = _Table(np.arange(len(random)), seed=seed, resamples=resamples)
    own = [table.mean(_over_seeds(arm)) for arm in chosen]
    against = [table.mean(_over_seeds(arm - chosen[0])) for arm in chosen]
    drawn = table.draw()
    floor, ceiling = float(random.mean()), float(best.mean())
    return Choices(
        prompts=len(random),
        random=floor,
        best=ceiling,
        arms=[
            BestOfN(
                chosen=_known(drawn.of(mean)),
                gain=(
                    (_known(drawn.of(mean)).estimate - floor) / (ceiling - floor)
                    if ceiling > floor
                    else None
                ),
                difference=_known(drawn.of(difference)),
            )
            for mean, difference in zip(own, against, strict=True)
        ],
    )


def _known(estimate: Estimate | None) -> Estimate:
    return estimate or Estimate(float("nan"), float("nan"), float("nan"))


# --- The parts of one arm -------------------------------------------------------------------------


class _ArmParts:
    """The columns of an arm's calibration, AUROC and bins, put into the table before it is
    drawn."""

    def __init__(
        self,
        evaluation: Evaluation,
        arm: int,
        right: Floats,
        bins: "list[tuple[float, float, Booleans]]",
        table: "_Table",
    ) -> None:
        towards_right = evaluation.margins[arm] * evaluation.trusted  # (seeds, n)
        towards_right = np.where(np.isfinite(right), towards_right, np.nan)
        probability = _probability(towards_right, evaluation.slopes[arm])
        self.brier = table.mean(_over_seeds(np.square(1.0 - probability)))
        sureness = np.maximum(probability, 1.0 - probability)
        self.right, self.sureness = right, sureness
        self.place = np.clip(np.searchsorted(CONFIDENCES, sureness, side="right") - 1, 0, 9)
        seeds = np.maximum(np.isfinite(right).sum(axis=0), 1)
        asked = np.asarray(np.isfinite(right).any(axis=0))
        self.ece = table.mean_of_sizes(
            [
                np.nansum(np.where(self.place == i, sureness - right, 0.0), axis=0) / seeds
                for i in range(len(CONFIDENCES) - 1)
            ],
            asked,
        )
        mean = _over_seeds(towards_right)
        known = np.isfinite(mean)
        shares = np.full(len(mean), np.nan)
        shares[known] = auroc_shares(mean[known])
        self.auroc = table.mean(shares, doubled=True)
        self.bins = [
            (low, high, table.mean(np.where(inside, _over_seeds(right), np.nan)))
            for low, high, inside in bins
        ]

    def figures(self, accuracy: "dict[str, Estimate | None]", drawn: "_Drawn") -> ArmFigures:
        return ArmFigures(
            accuracy=accuracy,
            brier=drawn.of(self.brier),
            ece=drawn.of(self.ece),
            auroc=drawn.of(self.auroc),
            bins=[
                Bin(low, high, column.pairs, drawn.of(column)) for low, high, column in self.bins
            ],
            confidences=self._confidences(),
        )

    def _confidences(self) -> list[Confidence]:
        seeds = np.maximum(np.isfinite(self.right).sum(axis=0), 1)
        weight = np.where(np.isfinite(self.right), 1.0 / seeds, 0.0)
        found = []
        for i in range(len(CONFIDENCES) - 1):
            inside = np.where(self.place == i, weight, 0.0)
            total = float(inside.sum())
            if total > 0:
                sure = float((inside * np.nan_to_num(self.sureness)).sum() / total)
                right = float((inside * np.nan_to_num(self.right)).sum() / total)
                found.append(Confidence(sure, right, total))
        return found


def _probability(towards: Floats, slopes: Floats) -> Floats:
    known = np.isfinite(towards)
    found = sigmoid(np.where(known, towards, 0.0) * slopes[:, None])
    return np.where(known, found, np.nan)


def _over_seeds(values: Floats) -> Floats:
    """The mean over the seeds that say something, (seeds, n) -> (n,); NaN where none does."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _strength_bins(evaluation: Evaluation) -> list[tuple[float, float, Booleans]]:
    """Which trusted pairs lie in each range of strength, weakest first: the mean margin of all arms
    for the label as imported, so that the ranges are the same for every arm."""
    of_all = _over_seeds(evaluation.margins.reshape(-1, len(evaluation.raw))) * evaluation.raw
    known = np.isfinite(of_all) & (evaluation.raw != 0) & (evaluation.trusted != 0)
    count = min(MOST_BINS, int(known.sum()) // FEWEST_IN_BIN)
    if count < 2:
        return []
    bounds = np.quantile(of_all[known], np.linspace(0.0, 1.0, count + 1))
    place = np.clip(np.searchsorted(bounds, of_all, side="right") - 1, 0, count - 1)
    return [(float(bounds[i]), float(bounds[i + 1]), known & (place == i)) for i in range(count)]


# --- The bootstrap --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A figure: a sum over another, by their places in the table."""

    tops: tuple[int, ...]  # the figure is the sum of their sizes, where there are several
    under: int
    pairs: int
    doubled: bool = False


class _Table:
    """Sums by prompt group of all that is to be drawn anew together."""

    def __init__(self, groups: Indices, *, seed: int, resamples: int) -> None:
        named, self.groups = np.unique(groups, return_inverse=True)
        self.count, self.seed, self.resamples = len(named), seed, resamples
        self.columns: list[Floats] = []

    def mean(self, values: Floats, *, doubled: bool = False) -> _Column:
        """The mean of values (n,) over the pairs that have one. `doubled` for a mean of shares
        among the values themselves, which counts every drawn pair twice: as one that compares and
        as one that is compared with (to first order)."""
        known = np.isfinite(values)
        top, under = self._add(np.where(known, values, 0.0)), self._add(known.astype(np.float64))
        return _Column((top,), under, int(known.sum()), doubled)

    def mean_of_sizes(self, parts: Sequence[Floats], asked: Booleans) -> _Column:
        """The sum of the parts' absolute sums, over how many pairs were asked."""
        tops = tuple(self._add(part) for part in parts)
        return _Column(tops, self._add(asked.astype(np.float64)), int(asked.sum()))

    def _add(self, values: Floats) -> int:
        summed = np.bincount(self.groups, values, minlength=self.count)
        self.columns.append(summed.astype(np.float64))
        return len(self.columns) - 1

    def draw(self) -> "_Drawn":
        """The sums over as many groups as there are, drawn with replacement, so many times."""
        sums = np.stack(self.columns, axis=1)  # (groups, columns)
        rng = np.random.default_rng(self.seed)
        at_once = max(1, CELLS // max(self.count, 1))
        drawn = []
        for start in range(0, self.resamples if self.count else 0, at_once):
            rows = min(at_once, self.resamples - start)
            chosen = rng.integers(self.count, size=(rows, self.count))
            chosen += np.arange(rows)[:, None] * self.count
            times = np.bincount(chosen.ravel(), minlength=rows * self.count)
            drawn.append(times.reshape(rows, self.count).astype(np.float64) @ sums)
        empty = np.zeros((0, sums.shape[1]))
        return _Drawn(sums.sum(axis=0), np.concatenate(drawn) if drawn else empty)


class _Drawn:
    """The sums as they are (columns,), and of every resample (resamples, columns)."""

    def __init__(self, whole: Floats, samples: Floats) -> None:
        self.whole, self.samples = whole, samples

    def of(self, column: _Column) -> Estimate | None:
        """The figure with its percentile interval; None where no pair tells.

        A sum of sizes grows with any noise, so its resamples lie too high: they are moved by how
        far their mean does.
        """
        if not self.whole[column.under]:
            return None
        several = len(column.tops) > 1
        figure = float(self._figures(self.whole[None], column)[0])
        resampled = self._figures(self.samples, column)
        resampled = resampled[np.isfinite(resampled)]
        if not len(resampled):
            return Estimate(figure, figure, figure)
        if column.doubled:
            resampled = np.clip(figure + 2.0 * (resampled - figure), 0.0, 1.0)
        if several:
            resampled = np.maximum(resampled - (resampled.mean() - figure), 0.0)
        tail = (1.0 - LEVEL) / 2
        low, high = (float(end) for end in np.quantile(resampled, [tail, 1.0 - tail]))
        return Estimate(figure, min(low, figure), max(high, figure))

    def _figures(self, sums: Floats, column: _Column) -> Floats:
        tops = sums[:, list(column.tops)]
        top = np.abs(tops).sum(axis=1) if len(column.tops) > 1 else tops[:, 0]
        under = sums[:, column.under]
        return np.where(under > 0, top / np.maximum(under, 1e-12), np.nan)
