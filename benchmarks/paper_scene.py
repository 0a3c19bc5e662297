"""The common ground of the paper's figures: HH split by prompt, labels as they are or with known
flips, ensembles taught by a recipe, and what they get right on three kinds of labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.formats.reading import PairReader, ReadPair
from benchmarks.measuring import DATA
from benchmarks.planted_flips import HH, Case
from benchmarks.prepared import LARGEST, Floats, Prepared, of_pairs, prepare, read
from scoring.core import audit, strength
from scoring.core.bags import bags, half_of, in_bag
from scoring.core.flags import FlagRule
from scoring.core.judging import Judged, judge
from scoring.core.recipe_presets import PRESETS
from scoring.core.recipes import Recipe
from scoring.core.targets import Measured, targets
from scoring.engine.heads import AnyHead, rewards
from scoring.training.heads import Trained
from scoring.training.teaching import teach

Doubles = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

RELABELLED = DATA / "pairs" / "hh_relabel.jsonl.gz"
MEMBERS = 10  # of the ensemble that measures strength, as the paper's
RETAUGHT = 4  # of one that is taught to see what a treatment gives
VALIDATION = 5  # one prompt in so many is held out
PLANTED = 0.2
PLAIN = PRESETS["plain"]
IN_SAMPLE, OUT_OF_BAG = "in-sample", "out-of-bag"
RAW, TRUSTED, AGREEING = "raw", "trusted", "agreeing"
YES, NO, UNCLEAR = "yes", "no", "not clearly"
# Student's t of 95 %, two-sided, by degrees of freedom
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}

Values = list[float]  # one a seed


@dataclass
class Table:
    """Figures by x (rows) and name (columns), each a value a seed."""

    title: str
    x: str
    columns: dict[str, dict[str, Values]] = field(default_factory=dict)

    def add(self, column: str, x: str, value: float) -> None:
        self.columns.setdefault(column, {}).setdefault(x, []).append(value)

    def values(self, column: str, x: str) -> Values:
        return self.columns[column][x]

    def gains(self, column: str, x: str, over: str) -> Values:
        """Of x over another row of the column, seed by seed."""
        pairs = zip(self.values(column, x), self.values(column, over), strict=True)
        return [one - other for one, other in pairs]

    def as_dict(self) -> dict[str, Any]:
        return {"title": self.title, "x": self.x, "columns": self.columns}

    def as_markdown(self) -> str:
        names = list(self.columns)
        xs = list(dict.fromkeys(x for column in self.columns.values() for x in column))
        lines = [f"| {' | '.join([self.x, *names])} |", f"|{' --- |' * (len(names) + 1)}"]
        for x in xs:
            cells = [shown(self.columns[name].get(x, [])) for name in names]
            lines.append(f"| {' | '.join([x, *cells])} |")
        return "\n".join([f"**{self.title}**", "", *lines])


@dataclass
class Finding:
    """A figure of the paper: what it found, what we found, and whether that agrees."""

    figure: str
    question: str
    paper: str
    ours: str
    agrees: str
    tables: list[Table]

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "tables": [table.as_dict() for table in self.tables]}

    def as_markdown(self) -> str:
        lines = [
            f"## {self.question}",
            "",
            f"Figures {self.figure} of the paper. *It found:* {self.paper} *We find:* {self.ours} "
            f"**Agrees: {self.agrees}.**",
        ]
        return "\n".join([*lines, *(f"\n{table.as_markdown()}" for table in self.tables)])


@dataclass(frozen=True)
class Scene:
    """One seed's labels and split. `labels` (n,) are what is taught, `trusted` (n,) what is held
    true, 0 where that is unknown; +1 prefers A."""

    prepared: Prepared
    seed: int
    labels: Floats
    trusted: Floats
    training: Booleans

    @property
    def rows(self) -> Indices:
        """The pairs to train on."""
        return np.flatnonzero(self.training)

    def gold(self) -> dict[str, Floats]:
        """The three kinds of labels of the validation pairs, 0 where there is none."""
        raw, trusted = self.labels[~self.training], self.trusted[~self.training]
        return {RAW: raw, TRUSTED: trusted, AGREEING: np.where(raw == trusted, raw, 0.0)}


@dataclass(frozen=True)
class Taught:
    """An ensemble taught on some training pairs of a scene; `rows` are these pairs, `bag`
    (rows, members) what each member has seen of them."""

    scene: Scene
    trained: Trained
    rows: Indices
    bag: Booleans

    def asked(self, mode: str) -> Doubles:
        """Margins (rows, members) of the labels as taught, NaN where out-of-bag nobody is
        asked."""
        margins = self.trained.margins.astype(np.float64)
        return np.where(self.bag, np.nan, margins) if mode == OUT_OF_BAG else margins

    def strengths(self, mode: str) -> Doubles:
        margins = self.asked(mode)
        standard = strength.standardise(margins, strength.member_scales(margins))
        return strength.preference_strength(standard)

    def judged(self) -> Judged:
        """As an out-of-bag run judges."""
        return judge(self.asked(OUT_OF_BAG), FlagRule())

    def measured(self) -> Measured:
        """What an out-of-bag run hands to a recipe."""
        found = self.judged()
        return Measured(
            strengths=found.strengths,
            percentiles=strength.percentile(found.strengths),
            flags=found.flagging.flags,
            probabilities=None if found.calibrated is None else found.calibrated.probabilities,
        )

    def validation_margins(self) -> Doubles:
        """Strength towards A (validation pairs,) of what no member has seen."""
        held_out = np.flatnonzero(~self.scene.training)
        margins = margins_of(self.trained.heads, self.scene.prepared, held_out)
        return strength.preference_strength(
            strength.standardise(margins, strength.member_scales(margins))
        )

    def accuracies(self) -> dict[str, float]:
        """On the three kinds of validation labels."""
        margins = self.validation_margins()
        return {kind: accuracy(margins, gold) for kind, gold in self.scene.gold().items()}


def hh(most: int | None) -> Prepared:
    """HH's pairs, all or the first so many."""
    return prepare(read(Case("hh-rlhf", HH))[:most], by_subset=True)


def second_labels(prepared: Prepared) -> Floats:
    """GPT-3.5's labels (n,) under the objective that the pair was written for, +1 towards A, 0
    where it was not asked for that."""
    with RELABELLED.open("rb") as file:
        rows = list(PairReader(file, cap=LARGEST).pairs())
    found = [row.pair for row in rows if isinstance(row, ReadPair)]
    said = {}
    for pair in found:
        if pair.meta.get("objective") != pair.meta.get("subset"):
            continue
        for label in pair.labels:
            if label.kind == "ai" and label.preference in ("a", "b"):
                prefers_first = (label.preference == "a") == pair.is_in_order
                said[pair.digest] = 1.0 if prefers_first else -1.0
    signs = [1.0 if pair.is_in_order else -1.0 for pair in prepared.parsed]
    labels = [said.get(pair.digest, 0.0) for pair in prepared.parsed]
    return np.array(labels, dtype=np.float32) * np.array(signs, dtype=np.float32)


def as_they_are(prepared: Prepared, seed: int, second: Floats) -> Scene:
    """The crowd's labels; trusted is what a second source says."""
    return Scene(prepared, seed, prepared.pairs.labels, second, _training(prepared, seed))


def planted(prepared: Prepared, seed: int, share: float = PLANTED) -> Scene:
    """A share of the labels flipped, in training and validation alike; trusted are the labels
    before."""
    labels = prepared.pairs.labels
    flipped = audit.plant(len(labels), share, np.random.default_rng([seed, 7]))
    taught = np.where(flipped, -labels, labels).astype(np.float32)
    return Scene(prepared, seed, taught, labels, _training(prepared, seed))


def taught_on(
    scene: Scene,
    recipe: Recipe = PLAIN,
    *,
    rows: Indices | None = None,
    measured: Measured | None = None,
    members: int = RETAUGHT,
    responses: Floats | None = None,
) -> Taught:
    """An ensemble taught on the training pairs or, of them, the `rows`; `measured` is of these."""
    rows = scene.rows if rows is None else rows
    prepared = scene.prepared
    labels = scene.labels[rows]
    pairs = replace(
        of_pairs(replace(prepared.pairs, targets=None), rows),
        labels=labels,
        targets=targets(labels.astype(np.float64), recipe, measured=measured),
    )
    bag = in_bag([prepared.digests[row] for row in rows], bags(members, seed=scene.seed))
    trained = teach(
        pairs,
        bag,
        recipe,
        space=prepared.space,
        slices=prepared.slices,
        seed=scene.seed,
        responses=responses,
    )
    return Taught(scene, trained, rows, bag)


def margins_of(heads: Sequence[AnyHead], prepared: Prepared, rows: Indices) -> Doubles:
    """Rewards of A minus those of B (rows, members)."""
    codes = prepared.pairs.codes[rows]
    a, b = (
        rewards(heads, features[rows], codes, keys[rows])
        for features, keys in zip((prepared.a, prepared.b), prepared.keys, strict=True)
    )
    return (a - b).astype(np.float64)


def accuracy(margins: Doubles, gold: Floats) -> float:
    """The share of labels (n,) that margins towards A (n,) agree with; a margin of 0 is half, and
    labels of 0 do not count."""
    known = gold != 0
    return float((0.5 * (1.0 + np.sign(margins[known] * gold[known]))).mean())


def shown(values: Sequence[float]) -> str:
    """Mean and deviation over seeds."""
    if not values:
        return "–"
    mean = f"{fmean(values):.3f}"
    return f"{mean} ± {stdev(values):.3f}" if len(values) > 1 else mean


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean over seeds; of one value that value."""
    middle = fmean(values)
    if len(values) < 2:
        return middle, middle
    half = T_95[len(values) - 1] * stdev(values) / math.sqrt(len(values))
    return middle - half, middle + half


def is_gain(values: Sequence[float]) -> str:
    """Whether differences are above 0: yes or no where their interval excludes 0."""
    low, high = interval(values)
    return YES if low > 0 else NO if high < 0 else UNCLEAR


def said(values: Sequence[float]) -> str:
    """A difference with its interval."""
    low, high = interval(values)
    return f"{fmean(values):+.3f} ({low:+.3f} to {high:+.3f})"


def all_of(*verdicts: str) -> str:
    """Yes where all are, no where one is."""
    return NO if NO in verdicts else YES if set(verdicts) == {YES} else UNCLEAR


def from_truth(holds: bool) -> str:
    return YES if holds else NO


def mean_of(column: Mapping[str, Values]) -> dict[str, float]:
    return {x: fmean(values) for x, values in column.items()}


def _training(prepared: Prepared, seed: int) -> Booleans:
    """Which pairs to train on: all but one prompt in VALIDATION, by hash."""
    held_out = [_fold(group, seed) == 0 for group in prepared.groups]
    return ~np.array(held_out)


def _fold(group: str, seed: int) -> int:
    bits = [half_of(group, seed=seed, split=1000 + number) for number in range(16)]
    return sum(bit << place for place, bit in enumerate(bits)) % VALIDATION
