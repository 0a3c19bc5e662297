"""A random sample to audit flags by: which pairs people review, and what their verdicts say of all
the labels.

Labelled pairs are cut into strata of equal counts by strength, 0 being the weakest, and reviewed
in an order of which every beginning is itself a stratified random sample: stop when the interval is
narrow enough. Three figures follow: the share of wrong labels, and the precision and recall of
every flag. `python -m benchmarks.noise_interval` measures how often their intervals cover.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.lib.intervals import LEVEL, Estimate
from scoring.core.binomial import clopper_pearson

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]

BINS = 10
# the shares of wrong labels that are expected before any review, in the weakest stratum and in the
# strongest
EXPECTED = (0.5, 0.05)
# of the reviews that go to strata by their size alone, whatever is expected there
FLOOR = 0.5
# wrong labels (or right ones, where these are fewer) that the overall share is worth in a stratum
PRIOR = 0.5
# reviews' worth of evidence beyond which an interval gets no narrower but by what is left to review
MOST_EVIDENCE = 1e6
HALVINGS = 60


@dataclass(frozen=True)
class Reviewed:
    """The verdicts so far on a sample of n pairs."""

    strata: Integers  # (n,)
    wrong: Booleans  # (n,): whether the verdict contradicts the label
    flags: Names  # (n,)


@dataclass(frozen=True)
class Share:
    """A share of wrong labels among `pairs`, as found by `reviews` of them."""

    figure: Estimate | None  # None before the first review
    pairs: int
    reviews: int
    wrong: int
    # strata without a review, which their nearest neighbours with one speak for
    unreviewed: tuple[int, ...] = ()


@dataclass(frozen=True)
class FlagShares:
    """How good one flag is at naming wrong labels."""

    precision: Share  # of the pairs with the flag
    recall: Estimate | None  # None while no wrong label was found, or one side has no review


def strata(strengths: Floats, bins: int = BINS) -> Integers:
    """The stratum of each pair (n,), by its strength or percentile (n,), 0 for the weakest.

    Strata hold equally many pairs, give or take one; equal strengths go by their order. There are
    fewer than `bins` where there are fewer pairs.
    """
    count = len(strengths)
    found = np.empty(count, dtype=np.int64)
    ranks = np.arange(count)
    found[np.argsort(strengths, kind="stable")] = ranks * min(bins, count) // max(count, 1)
    return found


def sizes_of(strata: Integers) -> Integers:
    """How many pairs each stratum holds, (n,) -> (H,)."""
    return np.bincount(strata)


def expected_wrong(count: int) -> Floats:
    """The share of wrong labels that each of `count` strata is expected to hold, (count,)."""
    return np.linspace(*EXPECTED, count)


def review_shares(sizes: Integers, expected: Floats | None = None) -> Floats:
    """The share of the reviews that each stratum should get, (H,) summing to 1.

    Half go by size and half by Neyman's rule, size times the expected standard deviation: the
    weakest decile gets about one and a half times as many reviews as the strongest. More would
    narrow the interval of a good ensemble a little, and widen that of a poor one, whose wrong
    labels lie anywhere; the half by size bounds that loss.
    """
    expected = expected_wrong(len(sizes)) if expected is None else expected
    neyman = sizes * np.sqrt(np.clip(expected * (1.0 - expected), 1e-4, None))
    return np.asarray(FLOOR * sizes / sizes.sum() + (1.0 - FLOOR) * neyman / neyman.sum())


def draw(
    strata: Integers,
    size: int,
    generator: np.random.Generator,
    *,
    already: Integers | None = None,
    expected: Floats | None = None,
) -> Integers:
    """The next `size` pairs to review, as places in `strata` (n,), in the order to review them.

    `already` holds the places drawn before. Webster's method says whose turn it is: it never takes
    a review back when more are drawn, so every beginning is split as it should be, and every
    stratum has its first review before any has its second. Within a stratum the order is random.
    All that are left, where these are fewer than asked for.
    """
    drawn = np.zeros(len(strata), dtype=np.bool_)
    drawn[already if already is not None else []] = True
    sizes = sizes_of(strata)
    have = np.bincount(strata[drawn], minlength=len(sizes))
    turns = _turns(sizes, have, review_shares(sizes, expected))[:size]
    left = generator.permutation(np.flatnonzero(~drawn))
    by_stratum = left[np.argsort(strata[left], kind="stable")]
    starts = np.concatenate([[0], (sizes - have).cumsum()[:-1]])
    return np.asarray(by_stratum[starts[turns] + _occurrences(turns)])


def enlarge(
    strata: Integers, drawn: Integers, size: int, generator: np.random.Generator
) -> Integers:
    """A sample of `size` that begins with what was drawn, in the order it was drawn."""
    more = draw(strata, max(size - len(drawn), 0), generator, already=drawn)
    return np.concatenate([drawn, more]).astype(np.int64)


def weights(sizes: Integers, reviewed: Integers) -> Floats:
    """How many pairs each review stands for, (n,), by the strata (n,) that were reviewed.

    They sum to all pairs; a stratum without a review is stood for by its nearest one with.
    """
    pooled = _pooled(sizes, reviewed)
    reviews = np.bincount(pooled.place[reviewed], minlength=len(pooled.sizes))
    return np.asarray((pooled.sizes / np.maximum(reviews, 1))[pooled.place[reviewed]])


def noise_rate(sizes: Integers, reviewed: Integers, wrong: Booleans, level: float = LEVEL) -> Share:
    """The share of wrong labels among all pairs, post-stratified.

    `sizes` (H,) are the strata's; `reviewed` (n,) the stratum of every review and `wrong` (n,) what
    it found. The interval is Clopper and Pearson's with an effective number of reviews (Korn and
    Graubard 1998): as many as would tell as much in a simple random sample. A stratum that shows
    only right labels, or only wrong ones, is not of one kind for that, so each is smoothed towards
    the overall share by a prior worth half a wrong label. The finite population is allowed for:
    reviewing every pair gives the truth.

    Chosen by measuring: over 200 settings (716 and 100,000 pairs, 30 to 600 reviews, 1 to 30 %
    wrong, evenly spread or gathered in the weakest or the strongest strata) it covered at least
    93 % in each. Wilson's and Jeffreys' with the same effective number are 5 to 10 % narrower, and
    fall to 88 % where few labels are wrong; without the prior it falls to 82 % where there are few
    reviews, and a Bayesian posterior by stratum (Jeffreys' prior shared out) to 71 %.
    Raises ValueError where a stratum has more reviews than pairs.
    """
    if (np.bincount(reviewed, minlength=len(sizes)) > sizes).any():
        raise ValueError("A stratum has more reviews than pairs.")
    pooled = _pooled(sizes, reviewed)
    reviews, hits = pooled.count(reviewed), pooled.count(reviewed[wrong])
    figure = _figure(pooled.sizes, reviews, hits, level) if len(reviewed) else None
    return Share(
        figure, int(sizes.sum()), len(reviewed), int(wrong.sum()), tuple(pooled.unreviewed.tolist())
    )


def by_stratum(sizes: Integers, reviewed: Integers, wrong: Booleans) -> tuple[Share, ...]:
    """The share of wrong labels in each stratum, with Clopper and Pearson's interval, (H,)."""
    return tuple(
        noise_rate(
            sizes[[number]],
            np.zeros(int((reviewed == number).sum()), dtype=np.int64),
            wrong[reviewed == number],
        )
        for number in range(len(sizes))
    )


def flag_shares(flagged: Mapping[str, Integers], reviewed: Reviewed) -> dict[str, FlagShares]:
    """Precision and recall of every flag; `flagged` (H,) counts its pairs in each stratum.

    Together the flags must count every pair once. Within a stratum the reviews of one flag are a
    random sample of its pairs, so its precision is a share of wrong labels like any other. Recall
    is the wrong labels that it names, of these and the others, two shares found independently;
    its interval is Donner and Zou's (2012, MOVER) of the two intervals.
    """
    sizes = np.sum(list(flagged.values()), axis=0)
    return {
        flag: _flag_shares(own, sizes - own, reviewed, reviewed.flags == flag)
        for flag, own in flagged.items()
    }


def reviews_needed(
    sizes: Integers,
    reviewed: Integers,
    wrong: Booleans,
    half_width: float,
    *,
    expected: Floats | None = None,
) -> int:
    """How many more reviews until the noise rate's interval is likely ± `half_width`, 0 if it is.

    Supposes that further reviews find what those so far lead one to expect, `expected` (H,) before
    the first. Never more than there are left, since reviewing every pair leaves no doubt. Raises
    ValueError where half_width is negative.
    """
    if half_width < 0:
        raise ValueError("The half-width of an interval cannot be negative.")
    have = np.bincount(reviewed, minlength=len(sizes))
    found = np.bincount(reviewed[wrong], minlength=len(sizes))
    expected = expected_wrong(len(sizes)) if expected is None else expected
    turns = _turns(sizes, have, review_shares(sizes, expected))
    rates = _smoothed(sizes, have, found)[1] if len(reviewed) else expected

    def is_enough(more: int) -> bool:
        new = np.bincount(turns[:more], minlength=len(sizes))
        return _half_width(sizes, have + new, found + rates * new) <= half_width

    now = noise_rate(sizes, reviewed, wrong).figure
    if now is not None and now.half_width <= half_width:
        return 0
    return _first(is_enough, len(turns))


@dataclass(frozen=True)
class _Pooled:
    """Strata of which those without a review have joined their nearest with one."""

    place: Integers  # (H,): of each stratum, among the G that remain
    sizes: Integers  # (G,)
    unreviewed: Integers  # strata that have joined another

    def count(self, reviewed: Integers) -> Integers:
        """How many of these strata (n,) lie in each that remains, (G,)."""
        return np.bincount(self.place[reviewed], minlength=len(self.sizes))


def _pooled(sizes: Integers, reviewed: Integers) -> _Pooled:
    """Empty strata count for nothing; of two that are equally near, the weaker one speaks."""
    seen = np.unique(reviewed)
    if not len(seen):
        empty = np.zeros(len(sizes), dtype=np.int64)
        return _Pooled(empty, np.array([sizes.sum()]), np.flatnonzero(sizes > 0))
    place = np.abs(np.arange(len(sizes))[:, None] - seen[None, :]).argmin(axis=1)
    totals = np.bincount(place, weights=sizes, minlength=len(seen)).astype(np.int64)
    missing = np.setdiff1d(np.flatnonzero(sizes > 0), seen)
    return _Pooled(place, totals, missing)


def _figure(sizes: Integers, reviews: Integers, hits: Integers, level: float) -> Estimate:
    """The share of wrong labels in strata (G,) each of which has a review."""
    share, bounds = _interval(sizes, reviews.astype(np.float64), hits.astype(np.float64), level)
    return Estimate(share, min(share, bounds[0]), max(share, bounds[1]))


def _half_width(sizes: Integers, reviews: Integers, hits: Floats) -> float:
    seen = np.repeat(np.arange(len(sizes)), np.minimum(reviews, 1))
    pooled = _pooled(sizes, seen)

    def summed(values: Floats) -> Floats:
        return np.bincount(pooled.place, values, len(pooled.sizes)).astype(np.float64)

    low, high = _interval(pooled.sizes, summed(reviews.astype(np.float64)), summed(hits), LEVEL)[1]
    return (high - low) / 2


def _interval(
    sizes: Integers, reviews: Floats, hits: Floats, level: float
) -> tuple[float, tuple[float, float]]:
    """The post-stratified share and its bounds; hits need not be whole."""
    total = sizes.sum()
    share = float((sizes * hits / reviews).sum() / total)
    # what the unreviewed would make of it, were they all right, or all wrong
    least = float(hits.sum() / total)
    most = float(1.0 - (reviews - hits).sum() / total)
    evidence = _evidence(sizes, reviews, hits)
    found = clopper_pearson(min(share, 1.0) * evidence, evidence, level)
    assert found is not None
    return share, (max(found.low, least), min(found.high, most))


def _evidence(sizes: Integers, reviews: Floats, hits: Floats) -> float:
    """How many reviews of a simple random sample would tell as much."""
    share, rates = _smoothed(sizes, reviews, hits)
    parts = sizes / sizes.sum()
    left = (sizes - reviews) / np.maximum(sizes - 1, 1)
    variance = float((parts**2 * rates * (1.0 - rates) / reviews * left).sum())
    return share * (1.0 - share) / max(variance, share * (1.0 - share) / MOST_EVIDENCE)


def _smoothed(
    sizes: Integers, reviews: Floats | Integers, hits: Floats | Integers
) -> tuple[float, Floats]:
    """The overall share and every stratum's (H,), none of them 0 or 1."""
    parts, count = sizes / sizes.sum(), reviews.sum()
    raw = np.where(reviews > 0, hits / np.maximum(reviews, 1), hits.sum() / max(count, 1))
    overall = float((parts @ raw * count + 0.5) / (count + 1))
    worth = PRIOR / min(overall, 1.0 - overall)
    rates = (hits + worth * overall) / (reviews + worth)
    return float(parts @ rates), rates


def _turns(sizes: Integers, have: Integers, shares: Floats) -> Integers:
    """Whose turn each review still to come is, (what is left,) of strata."""
    owner = np.repeat(np.arange(len(sizes)), sizes - have)
    place = have[owner] + _occurrences(owner)
    due = np.where(place == 0, -1.0, (place + 0.5) / shares[owner])
    return np.asarray(owner[np.argsort(due, kind="stable")])


def _occurrences(values: Integers) -> Integers:
    """How often each value stood before, (n,) -> (n,)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered, side="left")
    return found


def _flag_shares(
    own: Integers, others: Integers, reviewed: Reviewed, has_flag: Booleans
) -> FlagShares:
    inside = noise_rate(own, reviewed.strata[has_flag], reviewed.wrong[has_flag])
    outside = noise_rate(others, reviewed.strata[~has_flag], reviewed.wrong[~has_flag])
    return FlagShares(inside, _recall(inside, outside))


def _recall(inside: Share, outside: Share) -> Estimate | None:
    """Wrong labels inside of those on both sides; nobody outside is nothing missed."""
    found, missed = _counted(inside), _counted(outside)
    if found is None or missed is None or found.estimate + missed.estimate == 0:
        return None

    def balance(share: float) -> float:
        """Nought at the recall found; above it where the recall would be lower."""
        return (1.0 - share) * found.estimate - share * missed.estimate

    def lower(share: float) -> float:
        near, far = found.estimate - found.low, missed.high - missed.estimate
        return balance(share) - float(np.hypot((1.0 - share) * near, share * far))

    def upper(share: float) -> float:
        near, far = found.high - found.estimate, missed.estimate - missed.low
        return balance(share) + float(np.hypot((1.0 - share) * near, share * far))

    share = found.estimate / (found.estimate + missed.estimate)
    return Estimate(share, min(share, _crossing(lower)), max(share, _crossing(upper)))


def _counted(of: Share) -> Estimate | None:
    """How many labels are wrong, instead of their share."""
    if of.pairs == 0:
        return Estimate(0.0, 0.0, 0.0)
    if of.figure is None:
        return None
    figure = of.figure
    return Estimate(figure.estimate * of.pairs, figure.low * of.pairs, figure.high * of.pairs)


def _crossing(falling: Callable[[float], float]) -> float:
    """Where a function that falls between 0 and 1 crosses nought."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def _first(is_enough: Callable[[int], bool], most: int) -> int:
    """The least count of 1 to `most` that is enough; `most` where none is."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
