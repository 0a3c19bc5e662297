"""What each pair is to teach: which response is preferred, how surely, by which margin, with what
weight. A recipe's treatments, applied to labels and what a run measured of them.

Arrays are (n,). `labels` are +1 where A is preferred, -1 where B is, 0 for a tie.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.core.recipes import BadRecipe, Recipe, When

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Measured:
    """What a run found of n labelled pairs, each towards its label; NaN or '' where a pair was not
    scored."""

    strengths: Floats
    percentiles: Floats  # share of the labelled pairs with a lower strength
    flags: Names
    probabilities: Floats | None = None  # that the label is right, out-of-bag only
    given: frozenset[str] | None = None  # all flags of the run, where these pairs are a part of it


@dataclass(frozen=True, eq=False)
class Targets:
    """What n pairs teach."""

    direction: Floats  # +1 where A is to be preferred, -1 where B is; +1 for a tie
    probability: Floats  # that the direction is right: 1 for a hard label, 1/2 for a tie
    margin: Floats  # asked for inside the sigmoid, in the direction
    weight: Floats  # 0 where the pair is left out
    flipped: Booleans  # which labels a treatment has turned round
    warnings: tuple[str, ...] = ()  # sentences about treatments that do nothing here

    def __len__(self) -> int:
        return len(self.direction)

    @property
    def used(self) -> Booleans:
        return self.weight > 0

    @property
    def is_plain(self) -> bool:
        """Whether every pair that counts is a hard label without a margin, and all count alike."""
        kept = self.used
        return bool(
            (self.probability[kept] == 1.0).all()
            and (self.margin[kept] == 0.0).all()
            and (self.weight[kept] == 1.0).all()
        )

    def of(self, chosen: Booleans | npt.NDArray[np.int64]) -> "Targets":
        """The targets of some of the pairs."""
        return Targets(
            self.direction[chosen],
            self.probability[chosen],
            self.margin[chosen],
            self.weight[chosen],
            self.flipped[chosen],
            self.warnings,
        )


def targets(
    labels: Floats,
    recipe: Recipe,
    *,
    measured: Measured | None = None,
    probabilities: Floats | None = None,
    grades: Floats | None = None,
) -> Targets:
    """Apply the recipe's treatments in their order: all that a pair meets, the later over the
    earlier. Labels that several turn round are turned once.

    `probabilities` come with the labels, where decisions have softened some (NaN elsewhere);
    `grades` are how strongly people prefer, for `weight: grade` (NaN where nobody said).
    Raises BadRecipe where the recipe asks for what is not there, or gives a margin to a tie; a
    treatment that meets no pair is told in the warnings.
    """
    count = len(labels)
    tied = labels == 0
    direction = np.where(labels < 0, -1.0, 1.0)
    probability = np.where(tied, 0.5, 1.0)
    of_label = np.zeros(count, dtype=np.bool_)  # whose probability speaks of the label as it came
    if probabilities is not None:
        of_label = ~np.isnan(probabilities) & ~tied
        probability = np.where(of_label, probabilities, probability)
    margin, weight = np.zeros(count), np.ones(count)
    if not recipe.keeps_ties:
        weight[tied] = 0.0
    flipped = np.zeros(count, dtype=np.bool_)
    problems: list[str] = []
    warnings: list[str] = []
    if recipe.needs_grades and (grades is None or not np.isfinite(grades).any()):
        problems.append(
            f"The recipe weighs pairs by how strongly people prefer, and of {count:,} labels "
            f"nobody has said so: collect labels with a strength first."
        )
    for number, treatment in enumerate(recipe.treatments, start=1):
        if treatment.needs_run and measured is None:
            problems.append(
                f"Treatment {number} goes by what a run measured, and there is none: name a run."
            )
            continue
        met = meets(treatment.when, labels, measured) & (weight > 0)
        if not met.any():
            warnings.append(f"Treatment {number} of the recipe met no pair and does nothing.")
        then = treatment.then
        if then.drop:
            weight[met] = 0.0
            continue
        if then.flip:
            flipped[met & ~tied] = True
        if then.alpha is not None:
            probability[met & ~tied], of_label[met] = 1.0 - then.alpha, False
        if then.calibrated:
            assert measured is not None
            if measured.probabilities is None:
                problems.append(
                    f"Treatment {number} takes calibrated probabilities, which only an out-of-bag "
                    f"run has: score out-of-bag first, or give an alpha."
                )
            else:
                known = met & ~tied & np.isfinite(measured.probabilities)
                probability[known], of_label[known] = measured.probabilities[known], True
        if then.margin is not None:
            if (met & tied).any():
                problems.append(
                    f"Treatment {number} gives a margin to {int((met & tied).sum())} ties, which "
                    f"prefer neither response: leave ties out of the recipe."
                )
            assert measured is not None
            known = met & np.isfinite(measured.strengths)
            margin[known] = then.margin * measured.strengths[known]
        if then.weight is not None:
            weight[met] = then.weight
        if then.by_grade and grades is not None:
            known = met & np.isfinite(grades)
            weight[known] = grades[known]
    if measured is not None:
        problems += _lacking(recipe, measured)
    if problems:
        raise BadRecipe(problems)
    # a flipped label is the other one: its direction and the sign of its margin change together,
    # and so does a probability that spoke of the label as it came
    turned = flipped & ~tied
    direction = np.where(turned, -direction, direction)
    margin = np.where(turned, -margin, margin)
    probability = np.where(turned & of_label, 1.0 - probability, probability)
    return Targets(direction, probability, margin, weight, flipped, tuple(warnings))


def meets(when: When, labels: Floats, measured: Measured | None) -> Booleans:
    """Which pairs a condition holds for."""
    met = np.ones(len(labels), dtype=np.bool_)
    if measured is None:
        return met
    if when.flags:
        met &= np.isin(measured.flags, when.flags)
    with np.errstate(invalid="ignore"):  # NaN meets nothing
        if when.percentile is not None:
            low, high = when.percentile
            at_top = (measured.percentiles >= low) if high >= 1.0 else False
            met &= ((measured.percentiles >= low) & (measured.percentiles < high)) | at_top
        if when.strength_below is not None:
            met &= measured.strengths < when.strength_below
        if when.strength_from is not None:
            met &= measured.strengths >= when.strength_from
    return met


def _lacking(recipe: Recipe, measured: Measured) -> list[str]:
    """A sentence for each flag that a treatment names and no pair of the run has."""
    there = measured.given
    if there is None:
        there = frozenset(measured.flags.tolist()) - {""}
    return [
        f"The recipe treats pairs flagged {flag!r}, and the run has none: it has "
        f"{', '.join(sorted(there)) or 'no flags at all'}."
        for flag in recipe.flags
        if flag not in there
    ]
