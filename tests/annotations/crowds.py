"""Crowds to judge methods by: made-up ones whose truth is known, and real ones from files."""

import gzip
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotations.judgements import Judgements, Value
from benchmarks.measuring import DATA

Floats = npt.NDArray[np.float64]
Int8s = npt.NDArray[np.int8]
Int64s = npt.NDArray[np.int64]

PAIRS = DATA / "pairs"
VALUES = {"a": Value.A, "b": Value.B, "tie": Value.TIE}
HALF_STEPS = 2  # a file's strength of 0.5 is our 1


@dataclass(frozen=True)
class Crowd:
    """Judgements of units whose truth is known, and an ensemble's opinion of them."""

    judgements: Judgements
    truth: Int8s  # (U,)
    margins: Floats  # (U,): log-odds of A against B, calibrated
    accuracies: Floats  # (V,)

    def share_right(self, winners: npt.NDArray[np.integer]) -> float:
        return float((winners == self.truth).mean())


def accuracies_of(
    good: int, *, spammers: int = 0, adversaries: int = 0, generator: np.random.Generator
) -> Floats:
    """So many voters of each kind: right by .62 to .82, by .5 and by .2."""
    return np.concatenate(
        [generator.uniform(0.62, 0.82, good), np.full(spammers, 0.5), np.full(adversaries, 0.2)]
    )


def made_up(
    generator: np.random.Generator,
    *,
    units: int,
    votes: int,
    accuracies: Floats,
    ties: float = 0.0,
    doubt: float = 2.6,
) -> Crowd:
    """Units with so many votes each by voters that are wrong at random.

    A share of the units are ties. The ensemble's log-odds are normal with a standard deviation of
    `doubt`, and the truth follows them: 2.6 is an accuracy of about .81.
    """
    margins = generator.normal(0.0, doubt, units)
    prefers_b = generator.random(units) > 1.0 / (1.0 + np.exp(-margins))
    truth = np.where(generator.random(units) < ties, Value.TIE, prefers_b).astype(np.int8)
    chosen = _voters(generator, units, votes, len(accuracies))
    kinds = 3 if ties else 2
    right = generator.random(chosen.shape) < accuracies[chosen]
    wrong = (truth[:, None] + generator.integers(1, kinds, chosen.shape)) % kinds
    judgements = Judgements.of(
        np.repeat(np.arange(units), votes),
        chosen.ravel(),
        np.where(right, truth[:, None], wrong).ravel(),
        generator.integers(0, 4, chosen.size),
        unit_count=units,
        voter_count=len(accuracies),
    )
    return Crowd(judgements, truth, margins, accuracies)


def crowd_of_the_method(seed: int) -> Crowd:
    """METHOD.md 3.3, item 2: 2,000 pairs, 20 annotators of whom 4 guess and 2 are mostly wrong,
    three votes each, an ensemble that is right on .81."""
    generator = np.random.default_rng(seed)
    accuracies = accuracies_of(14, spammers=4, adversaries=2, generator=generator)
    return made_up(generator, units=2000, votes=3, accuracies=accuracies)


def matrix_of(judgements: Judgements, values: npt.ArrayLike | None = None) -> Floats:
    """Voters by units, as other packages want it; NaN where a voter did not judge a unit."""
    matrix = np.full((judgements.voter_count, judgements.unit_count), np.nan)
    matrix[judgements.voters, judgements.units] = judgements.values if values is None else values
    return matrix


def is_there(name: str) -> bool:
    return (PAIRS / f"{name}.jsonl.gz").exists()


def read(name: str, kinds: Collection[str] = ("human",)) -> Judgements:
    """The labels by annotators of these kinds in a file of ../shared/data/pairs.

    Strengths are there in half steps; where an annotator labels a pair twice, the last one holds.
    """
    found: dict[tuple[int, str], tuple[Value, int]] = {}
    count = 0
    with gzip.open(PAIRS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for count, line in enumerate(lines, start=1):
            for label in json.loads(line)["labels"]:
                if label["kind"] in kinds:
                    strength = int(HALF_STEPS * label.get("strength", 0))
                    found[count - 1, label["annotator"]] = VALUES[label["label"]], strength
    return _numbered(found, count)


def _numbered(found: dict[tuple[int, str], tuple[Value, int]], unit_count: int) -> Judgements:
    names = sorted({name for _, name in found})
    number = {name: place for place, name in enumerate(names)}
    said: Sequence[tuple[Value, int]] = list(found.values())
    return Judgements.of(
        [unit for unit, _ in found],
        [number[name] for _, name in found],
        [value for value, _ in said],
        [strength for _, strength in said],
        unit_count=unit_count,
        voter_count=len(names),
    )


def _voters(generator: np.random.Generator, units: int, votes: int, voter_count: int) -> Int64s:
    """Different voters for each unit, (U, votes): every so many places in a shuffled circle."""
    circle = generator.permutation(voter_count)
    start = generator.integers(0, voter_count, units)[:, None]
    stride = generator.integers(1, (voter_count - 1) // max(votes - 1, 1) + 1, units)[:, None]
    return np.asarray(circle[(start + stride * np.arange(votes)) % voter_count])
