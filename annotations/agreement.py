"""How far people agree: Krippendorff's alpha, plain agreement, Cohen's kappa, each with the others.

Everything is computed from counts of values per unit, never from pairs of judgements, so that time
and memory grow with the judgements (inspect_ai, issue 4035, is what happens otherwise). Units with
one judgement tell nothing of agreement and are left out everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from annotations.judgements import STRONGEST, Judgements, Value, count_table
from curator.lib.intervals import LEVEL, Estimate, wilson

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Booleans = npt.NDArray[np.bool_]

RESAMPLES = 1000
CHUNK = 4_000_000  # numbers that a bootstrap holds at once
MOST_VOTERS = 200  # in a matrix of kappas

NO_TWO = "No pair has two judgements that can be compared."
ONE_VALUE = "All judgements that can be compared say the same, so chance agreement is complete too."


class Scale(StrEnum):
    """The values that an alpha tells apart; judgements of any other value are left out."""

    TIES = "ties"  # A, B and tie, each as different from the others
    SIDES = "sides"  # A and B
    BOTH_BAD = "both_bad"  # A, B, tie and both bad
    STRENGTH = "strength"  # ordinal, from A by 3 through tie to B by 3


VALUES = {
    Scale.TIES: (Value.A, Value.B, Value.TIE),
    Scale.SIDES: (Value.A, Value.B),
    Scale.BOTH_BAD: tuple(Value),
    Scale.STRENGTH: (Value.A, Value.B, Value.TIE),
}


@dataclass(frozen=True)
class Agreement:
    """A figure of agreement with its bootstrap interval, and what it rests on."""

    figure: Estimate | None  # None where it is not defined
    units: int  # with at least two judgements that count
    judgements: int  # of those units
    reason: str = ""  # why it is not defined, as a sentence


@dataclass(frozen=True)
class Patterns:
    """Units that got the same values the same number of times, counted together.

    A thousand pairs with three votes each show ten patterns at most, and resampling units is
    resampling their patterns: exactly the bootstrap over units, at a price that hardly grows with
    them.
    """

    counts: Floats  # (P, C): how often the pattern has each value
    units: Integers  # (P,): how many units show it

    @property
    def sizes(self) -> Floats:
        """Judgements of a unit, (P,)."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def judgements(self) -> int:
        return int(self.sizes @ self.units)

    def coincidences(self) -> Floats:
        """What one unit of each pattern adds to the coincidence matrix, (P, C * C).

        Krippendorff 2011, Computing alpha-reliability: ordered pairs of its judgements, divided by
        one less than their number.
        """
        pairs = self.counts[:, :, None] * self.counts[:, None, :]
        own = np.arange(self.counts.shape[1])
        pairs[:, own, own] -= self.counts
        return np.asarray(
            (pairs / (self.sizes - 1)[:, None, None]).reshape(len(pairs), own.size**2)
        )

    def equal_pairs(self) -> Floats:
        """Ordered pairs of a unit's judgements that are equal, and all of them, (P, 2)."""
        equal = (self.counts * (self.counts - 1)).sum(axis=1)
        return np.column_stack([equal, self.sizes * (self.sizes - 1)])


def krippendorff_alpha(
    judgements: Judgements,
    scale: Scale = Scale.TIES,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Agreement:
    """Krippendorff's alpha: 1 where all agree, 0 where they agree as by chance, below where less.

    On the scale of strengths a preference without one counts as the weakest: the least that it can
    have meant. Not defined where no unit has two judgements or only one value occurs.
    """
    patterns = patterns_of(judgements, scale)
    ordinal = scale is Scale.STRENGTH

    def alpha(sums: Floats) -> Floats:
        return alpha_of(sums.reshape(len(sums), *[patterns.counts.shape[1]] * 2), ordinal=ordinal)

    return _figure(patterns, patterns.coincidences(), alpha, generator, resamples, level)


def observed_agreement(
    judgements: Judgements,
    scale: Scale = Scale.TIES,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Agreement:
    """The share of pairs of judgements of one unit that are equal; chance is not taken off."""
    patterns = patterns_of(judgements, scale)
    return _figure(patterns, patterns.equal_pairs(), _ratio_of_sums, generator, resamples, level)


def patterns_of(judgements: Judgements, scale: Scale) -> Patterns:
    """The patterns of all units with two judgements or more that the scale knows."""
    known = judgements.of_values(*VALUES[scale])
    codes = _steps(known) if scale is Scale.STRENGTH else known.values
    width = 2 * STRONGEST + 1 if scale is Scale.STRENGTH else len(VALUES[scale])
    counts = count_table(known.units, codes, known.unit_count, width)
    several = counts[counts.sum(axis=1) > 1]
    first, units = _distinct_rows(several)
    return Patterns(several[first].astype(np.float64), units)


def alpha_of(coincidences: Floats, *, ordinal: bool) -> Floats:
    """Alpha of coincidence matrices, (R, C, C) -> (R,). NaN where one value alone occurs."""
    totals = coincidences.sum(axis=2)
    count = totals.sum(axis=1)
    distances = _ordinal_distances(totals) if ordinal else 1.0 - np.eye(totals.shape[1])
    observed = (coincidences * distances).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distances).sum(axis=(1, 2))
    return 1.0 - _ratio((count - 1) * observed, expected)


def bootstrap(
    patterns: Patterns,
    parts: Floats,
    figure: Callable[[Floats], Floats],
    *,
    generator: np.random.Generator,
    resamples: int,
) -> Floats:
    """The figure of as many units drawn anew with replacement, (resamples,).

    `parts` (P, S) are what one unit of a pattern adds to the S sums that `figure` makes figures of,
    (R, S) -> (R,).
    """
    shares = patterns.units / patterns.units.sum()
    rows = max(1, CHUNK // max(len(shares), parts.shape[1]))
    figures = [
        figure(generator.multinomial(patterns.units.sum(), shares, size=count) @ parts)
        for count in (min(rows, resamples - done) for done in range(0, resamples, rows))
    ]
    return np.concatenate(figures)


@dataclass(frozen=True)
class Kappas:
    """Cohen's kappa of every two of V voters."""

    voters: Int32s  # (V,): who the rows and columns are, those with the most judgements first
    kappas: Floats  # (V, V): NaN on the diagonal, without common units, and for one value only
    common: Integers  # (V, V): units that both judged


def kappa_matrix(judgements: Judgements, *, most: int = MOST_VOTERS) -> Kappas:
    """Cohen's kappa of every two of the `most` busiest voters, all four values being different.

    Memory grows with the square of `most`, time with pairs of judgements of one unit.
    """
    busy = np.bincount(judgements.voters, minlength=judgements.voter_count)
    chosen = np.argsort(-busy, kind="stable")[:most].astype(np.int32)
    joint = _joint_counts(judgements, chosen)
    common = joint.sum(axis=(2, 3))
    agreed = _ratio(np.einsum("ijkk->ij", joint).astype(np.float64), common)
    rows, columns = joint.sum(axis=3), joint.sum(axis=2)
    by_chance = _ratio((rows * columns).sum(axis=2).astype(np.float64), common**2)
    kappas = _ratio(agreed - by_chance, 1.0 - by_chance)
    np.fill_diagonal(kappas, np.nan)
    np.fill_diagonal(common, busy[chosen])
    return Kappas(chosen, kappas, common)


@dataclass(frozen=True)
class WithOthers:
    """How often each voter says what others say of the same unit."""

    shares: tuple[Estimate | None, ...]  # (V,): None for who never judged what another did
    counts: Integers  # (V,): judgements of units that somebody else judged too


def agreement_with_others(judgements: Judgements, *, level: float = LEVEL) -> WithOthers:
    """Each voter's mean share of the others of a unit who say the same, with Wilson's interval.

    The interval counts the voter's shared units, not comparisons: three others on one unit are not
    three independent cases.
    """
    votes, per_unit = judgements.votes(), judgements.per_unit()
    others = per_unit[judgements.units] - 1
    shared = others > 0
    equal = votes[judgements.units, judgements.values][shared] - 1
    voters = judgements.voters[shared]
    counts = np.bincount(voters, minlength=judgements.voter_count)
    hits = np.bincount(voters, equal / others[shared], minlength=judgements.voter_count)
    shares = (
        wilson(min(float(hit), float(count)), float(count), level)
        for hit, count in zip(hits, counts, strict=True)
    )
    return WithOthers(tuple(shares), counts)


def _figure(
    patterns: Patterns,
    parts: Floats,
    figure: Callable[[Floats], Floats],
    generator: np.random.Generator,
    resamples: int,
    level: float,
) -> Agreement:
    """The figure of all units with its percentile interval, or why there is none."""
    units, judged = int(patterns.units.sum()), patterns.judgements
    if not units:
        return Agreement(None, 0, 0, NO_TWO)
    found = float(figure((patterns.units @ parts)[None, :])[0])
    if np.isnan(found):
        return Agreement(None, units, judged, ONE_VALUE)
    drawn = bootstrap(patterns, parts, figure, generator=generator, resamples=resamples)
    # a resample may hold one value only, and then has no figure; this one itself always has
    tails = np.nanquantile(np.append(drawn, found), [0.5 - level / 2, 0.5 + level / 2])
    low, high = min(found, float(tails[0])), max(found, float(tails[1]))
    return Agreement(Estimate(found, low, high), units, judged)


def _steps(judgements: Judgements) -> Integers:
    """A by 3 is 0, a tie 3, B by 3 is 6; (N,)."""
    size = np.maximum(judgements.strengths, 1).astype(np.int64)
    sign = np.array([-1, 1, 0, 0])[judgements.values]
    return np.asarray(STRONGEST + sign * size)


def _distinct_rows(counts: Int32s) -> tuple[Integers, Integers]:
    """Where each distinct row (U, C) stands first, and how often it stands, (P,) and (P,)."""
    radix = int(counts.max(initial=0)) + 1
    if radix ** counts.shape[1] < 2**63:  # a row as one number sorts fifty times faster
        keys = counts @ (radix ** np.arange(counts.shape[1], dtype=np.int64))
        _, first, units = np.unique(keys, return_index=True, return_counts=True)
    else:
        _, first, units = np.unique(counts, axis=0, return_index=True, return_counts=True)
    return first, units


def _ordinal_distances(totals: Floats) -> Floats:
    """Krippendorff's squared ordinal distances: how many judgements lie from one value to the
    other, half of those at either end; (R, C) -> (R, C, C)."""
    up_to = totals.cumsum(axis=1) - totals / 2
    return np.asarray((up_to[:, :, None] - up_to[:, None, :]) ** 2)


def _joint_counts(judgements: Judgements, chosen: Int32s) -> Integers:
    """How often one voter says k of a unit where another says l, (V, V, 4, 4).

    Judgements are sorted by unit and compared with those one place on, two places on and so on, as
    far as the unit with the most of them reaches.
    """
    place = np.full(judgements.voter_count, -1)
    place[chosen] = np.arange(len(chosen))
    known = judgements.where(place[judgements.voters] >= 0)
    order = np.argsort(known.units, kind="stable")
    units, voters, values = known.units[order], place[known.voters[order]], known.values[order]
    kinds, count = len(Value), len(chosen)
    joint = np.zeros(count * count * kinds * kinds, dtype=np.int64)
    for step in range(1, int(known.per_unit().max(initial=0))):
        here = np.flatnonzero(units[step:] == units[:-step])
        there = here + step
        pair = voters[here] * count + voters[there]
        said = values[here].astype(np.int64) * kinds + values[there]
        joint += np.bincount(pair * kinds * kinds + said, minlength=joint.size)
    each_once = joint.reshape(count, count, kinds, kinds)
    return np.asarray(each_once + each_once.transpose(1, 0, 3, 2))


def _ratio_of_sums(sums: Floats) -> Floats:
    return _ratio(sums[:, 0], sums[:, 1])


def _ratio(parts: Floats, wholes: npt.NDArray[np.float64] | Integers) -> Floats:
    """parts / wholes, NaN where the whole is nought."""
    nothing = wholes == 0
    return np.asarray(np.where(nothing, np.nan, parts / np.where(nothing, 1, wholes)))
