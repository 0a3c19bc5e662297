"""Adaptive ensembles: members run in waves, and a pair whose flag is settled is asked no further.

Margins are (n_pairs, n_members) as in `scoring.core.strength`, NaN where a member was not asked,
yet or at all; `askable` (n_pairs, n_members) says whom the full ensemble would ask. Pairs are
labelled ones: one without a preference carries no flag, so nothing is left to settle after the
first wave. Stopping follows docs/method.md, "Adaptive runs", where its figures are.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.core import strength
from scoring.core.flags import FlagRule, PercentileRule
from scoring.core.judging import judge

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Waves = Sequence[Sequence[int]]

Z = 2.7  # measured: docs/method.md
# degrees of freedom that the pooled deviation counts beside a pair's own, of which two margins
# leave one
POOLED_WEIGHT = 8.0
# pairs that the guess "it is like the members before it" counts in a later member's regression
GUESS_WEIGHT = 30.0
LEAST_VARIANCE = 1e-9  # of standardised margins, so that equal members divide by no zero


@dataclass(frozen=True)
class Savings:
    """Model calls of an adaptive run beside those of the full ensemble."""

    calls: int
    full_calls: int
    pairs: int

    @property
    def calls_per_pair(self) -> float:
        return self.calls / max(self.pairs, 1)

    @property
    def full_calls_per_pair(self) -> float:
        return self.full_calls / max(self.pairs, 1)

    @property
    def share_saved(self) -> float:
        return 1.0 - self.calls / max(self.full_calls, 1)


def savings(margins: Floats, askable: Booleans) -> Savings:
    """What was asked, (n, m) margins, of what the full ensemble would be."""
    return Savings(int(np.isfinite(margins).sum()), int(askable.sum()), len(margins))


def waves(splits: Sequence[Hashable]) -> list[list[int]]:
    """The members' positions in the order in which they are asked, (m,) splits -> waves.

    Members of one split share out the pairs: each pair is asked of just one of them, as of a couple
    of complementary halves out-of-bag. A member that is asked of all pairs has a split of its own.
    The first wave gives each pair two margins, since one says nothing of its error; every further
    wave gives one.
    """
    sharing: dict[Hashable, list[int]] = {}
    for position, split in enumerate(splits):
        sharing.setdefault(split, []).append(position)
    one_margin_each = list(sharing.values())
    first = [position for members in one_margin_each[:2] for position in members]
    return [first, *one_margin_each[2:]]


def to_ask(
    margins: Floats,
    askable: Booleans,
    rule: FlagRule | PercentileRule,
    *,
    waves: Waves,
    number: int,
    z: float = Z,
) -> Booleans:
    """Who is asked in wave `number`, counted from 0, given the margins so far: (n, m)."""
    asked = np.zeros_like(askable)
    asked[:, waves[number]] = askable[:, waves[number]]
    if number > 0:
        asked &= ~settled(margins, askable, rule, waves=waves, z=z)[:, None]
    return asked & np.isnan(margins)


def settled(
    margins: Floats,
    askable: Booleans,
    rule: FlagRule | PercentileRule,
    *,
    waves: Waves,
    z: float = Z,
) -> Booleans:
    """Whose `flipped`-or-not will hardly change, whatever the members not asked yet say, (n,).

    After k of K margins with mean m, the mean of all K is m, give or take s * sqrt(1 / k - 1 / K):
    the sampling error of a mean, less what has been drawn already. A pair is settled where m is
    at least `z` such errors from the cut that the rule puts on the strengths so far, and where
    nobody is left to ask. `s` is the pair's own deviation, shrunk to that of all pairs. The cut
    moves as margins come in, so a settled pair may be open again at the next wave.
    """
    scales = scales_of_adaptive(margins, askable, waves)
    judged = judge(margins, rule, scales=scales)
    asked, full = np.isfinite(margins).sum(axis=1), askable.sum(axis=1)
    left = np.maximum(1.0 / np.maximum(asked, 1) - 1.0 / np.maximum(full, 1), 0.0)
    error = _deviation(strength.standardise(margins, scales)) * np.sqrt(left)
    with np.errstate(invalid="ignore"):  # an infinite z times no error: not settled either
        needed = z * error
    distance = np.abs(judged.strengths - judged.flagging.cut)
    # without a cut, nobody can be far from it: more margins may still bring one
    known = np.isfinite(needed) & np.isfinite(distance)
    return np.asarray((asked >= full) | (known & (distance >= needed)))


def scales_of_adaptive(margins: Floats, askable: Booleans, waves: Waves) -> Floats:
    """Root mean square margin of each member over the pairs that the full ensemble would ask it
    about, (n, m) -> (m,). 1 where there is nothing to scale.

    Later members are asked about open pairs only, whose margins lie around the cut: their own root
    mean square is another figure than that of the first members, by a third on HH. Which pairs are
    open follows from earlier margins alone, and such a choice leaves the regression of a later
    member on the earlier ones as it is (data missing at random, Rubin 1976). So what a member would
    have said of the pairs it was not asked about is predicted from the earlier margins, by the
    regression on the pairs that they share. Where nothing is missing these are
    `strength.member_scales`.
    """
    return _read(margins, askable, waves)[0]


def expected_strengths(margins: Floats, askable: Booleans, waves: Waves) -> Floats:
    """Strengths (n,) that lie as the full ensemble's would, to calibrate on.

    Strengths of an adaptive run are no fair sample. Those of few members lie farther apart, and
    only around the cut, among contradicted labels, are they refined: contradictions look rarer
    there, beside agreement as strong. So each pair gets the mean that is to be expected of all its
    margins, and every second pair, by strength, the error of that mean above, the others below.
    """
    scales, earlier = _read(margins, askable, waves)
    known = strength.preference_strength(strength.standardise(margins, scales))
    value, doubt = earlier.value
    full = np.maximum(askable.sum(axis=1), 1)
    left = np.maximum(full - earlier.count, 0.0)
    mean = (earlier.total + left * value) / full
    error = np.sqrt(left**2 * doubt + left * earlier.noise) / full
    side = np.empty(len(mean))
    side[np.argsort(mean, kind="stable")] = np.where(np.arange(len(mean)) % 2, 1.0, -1.0)
    return np.where(left > 0, mean + side * error, known)


def _read(margins: Floats, askable: Booleans, waves: Waves) -> tuple[Floats, "_Earlier"]:
    """The members' scales (m,), and what all margins say of the pairs in these units."""
    scales = strength.member_scales(margins)
    first, *later = waves
    earlier = _Earlier.of(strength.standardise(margins[:, first], scales[first]))
    for wave in later:
        for member in wave:
            own, wanted = margins[:, member], askable[:, member]
            if np.isfinite(own).any() and np.isnan(own[wanted]).any():
                scales[member] = _scale(own, wanted, earlier) or 1.0
        earlier = earlier.and_then(strength.standardise(margins[:, wave], scales[wave]))
    return scales, earlier


@dataclass(frozen=True)
class _Earlier:
    """What the members so far lead one to expect of the next, in units of a member's own scale.

    Model: a margin is the pair's own value, normal over the pairs, plus a member's noise.
    """

    mean: float  # of the pairs' values
    variance: float  # of the pairs' values
    noise: float  # variance of a member's margin around the pair's value
    total: Floats  # (n,): sum of the margins so far
    count: Floats  # (n,)

    @classmethod
    def of(cls, standard: Floats) -> "_Earlier":
        """From the first wave's standardised margins (n, members), of all pairs alike."""
        total, count = _sums(standard)
        squares, _ = _sums(standard**2)
        several = count >= 2
        products = (total**2 - squares)[several] / (count * (count - 1.0))[several]
        mean = float(total.sum() / max(count.sum(), 1.0))
        # of two members' margins of one pair; their own squares have a mean of 1
        product = float(products.mean()) if several.any() else mean**2
        variance = max(product - mean**2, LEAST_VARIANCE)
        return cls(mean, variance, max(1.0 - product, LEAST_VARIANCE), total, count)

    def and_then(self, standard: Floats) -> "_Earlier":
        """With the margins of one more wave."""
        total, count = _sums(standard)
        return _Earlier(
            self.mean, self.variance, self.noise, self.total + total, self.count + count
        )

    @property
    def value(self) -> tuple[Floats, Floats]:
        """The pairs' values given the margins so far: mean (n,) and variance (n,)."""
        precision = 1.0 / self.variance + self.count / self.noise
        weighted = self.mean / self.variance + self.total / self.noise
        return weighted / precision, 1.0 / precision


def _scale(own: Floats, askable: Booleans, earlier: _Earlier) -> float:
    """A later member's scale; own (n,) margins, askable (n,).

    Regression through the origin, since exchanging the responses negates both sides. It is held
    towards that of a member like the earlier ones, for few open pairs around a cut near 0 tell
    little of a slope.
    """
    asked = np.isfinite(own)
    missing = askable & ~asked
    expected, doubt = earlier.value
    said, x, around = own[asked], expected[asked], doubt[asked] + earlier.noise
    like_others = float((said**2).sum() / (x**2 + around).sum())  # squared scale, if so
    spread = GUESS_WEIGHT * float((expected**2).mean())
    if float(x @ x) + spread == 0.0:
        return 0.0  # the members so far said nothing at all
    slope = float((said @ x + np.sqrt(like_others) * spread) / (x @ x + spread))
    rest = float(((said - slope * x) ** 2).sum() + GUESS_WEIGHT * like_others * around.mean())
    rest /= len(said) + GUESS_WEIGHT
    # a pair settled early had fewer margins, so its value is the less known
    further = doubt[missing] - doubt[asked].mean()
    unsaid = np.maximum(slope**2 * (expected[missing] ** 2 + further) + rest, 0.0)
    return float(np.sqrt(((said**2).sum() + unsaid.sum()) / (len(said) + len(unsaid))))


def _deviation(standard: Floats) -> Floats:
    """Each pair's deviation between members (ddof 1), shrunk to that of all pairs, (n, m) ->
    (n,)."""
    asked = np.isfinite(standard).sum(axis=1)
    degrees = np.maximum(asked - 1.0, 0.0)
    squares = np.where(asked > 0, asked * strength.spread(standard) ** 2, 0.0)
    pooled = squares.sum() / max(degrees.sum(), 1.0)
    return np.asarray(np.sqrt((squares + POOLED_WEIGHT * pooled) / (degrees + POOLED_WEIGHT)))


def _sums(standard: Floats) -> tuple[Floats, Floats]:
    """Sum and count of the margins that are there, (n, m) -> (n,) and (n,)."""
    asked = np.isfinite(standard)
    return np.where(asked, standard, 0.0).sum(axis=1), asked.sum(axis=1).astype(np.float64)
