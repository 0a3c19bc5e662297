"""A random sample of a run's labels to review, and what people's verdicts on it say of all of them:
how many are wrong, and how good each flag is at naming them.

The sample is reviewed in its order, of which every beginning is a random sample in itself. So only
verdicts up to where the review has come are counted: pairs further on that somebody has decided for
another reason, because a flag led them there, would tilt the figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import Case, F, Q, When

from annotations import permissions
from annotations.models import PairStanding
from annotations.models.words import UNCLEAR, WRONG
from curator.lib.batches import batches
from curator.lib.intervals import Estimate, wilson
from curator.lib.refusals import Refusal
from curator.models import User
from scoring.core import sampling
from scoring.core.sampling import FlagShares, Share
from scoring.models import Flag, PairScore, ReviewSample, SampledPair, ScoringRun
from scoring.overviews import Noise
from scoring.overviews import noise_of as noise_by_models

Integers = npt.NDArray[np.int64]
Counts = tuple[int, ...]

BATCH = 1000
LABEL = np.dtype([("pair", np.int64), ("strength", np.float64), ("flag", np.int8)])
SUGGESTED = 200
MOST_SEEDS = 2**31 - 1
AUDIT = "audit"  # the queue of review that hands the sample out
FEWEST = 30  # reviews from which they tell more than the models do
HALF_WIDTHS = (0.05, 0.02, 0.01)


def one_by_one(standing: str = "") -> Q:
    """Decided by a person who had this pair before them: neither by a policy nor among many at
    once. `standing` leads to the pair's standing, such as `pair__standing__`."""
    decision = f"{standing}decision__"
    alone = Q(**{f"{decision}restores": None, f"{decision}batch": None})
    restored = Q(**{f"{decision}restores__isnull": False, f"{decision}restores__batch": None})
    return Q(**{f"{standing}decided_by": PairStanding.DecidedBy.PERSON}) & (alone | restored)


ONE_BY_ONE = one_by_one("pair__standing__")
WAITS = ~ONE_BY_ONE


@dataclass(frozen=True)
class Stratum:
    """Labels of like strength: the range, how many the run holds, and how many of each flag."""

    low: float
    high: float
    pairs: int
    flags: dict[str, int]


@dataclass(frozen=True)
class Verdicts:
    """The verdicts that count, in the order of review; arrays are (n,)."""

    pair_ids: list[int]
    strata: Integers
    flags: npt.NDArray[np.str_]
    wrong: npt.NDArray[np.bool_]
    unclear: npt.NDArray[np.bool_]  # neither right nor wrong
    passed_over: int = 0  # pairs before the last that is counted that nobody has decided
    further_on: int = 0  # decided pairs that the review has not come to

    @property
    def count(self) -> int:
        return len(self.pair_ids)


@dataclass(frozen=True)
class Evidence:
    """What a sample says so far."""

    sample: ReviewSample
    strata: Sequence[Stratum]
    verdicts: Verdicts
    waiting: int  # pairs that were drawn and wait for a person
    noise: Share
    bins: tuple[Share, ...] = field(repr=False)
    flags: dict[str, FlagShares]

    @property
    def reviewed(self) -> int:
        return self.verdicts.count

    @property
    def wrong(self) -> int:
        return self.noise.wrong

    @property
    def unclear(self) -> int:
        return int(self.verdicts.unclear.sum())

    @property
    def right(self) -> int:
        return self.reviewed - self.wrong - self.unclear

    @property
    def unclear_share(self) -> Estimate | None:
        return wilson(self.unclear, self.reviewed)

    @property
    def is_enough(self) -> bool:
        """Whether the reviews tell more than the models do."""
        return self.reviewed >= min(FEWEST, self.noise.pairs)

    @cached_property
    def needed(self) -> dict[float, int]:
        """How many more reviews each half-width takes."""
        found, sizes = self.verdicts, tuple(each.pairs for each in self.strata)
        have = np.bincount(found.strata, minlength=len(self.strata))
        hits = np.bincount(found.strata[found.wrong], minlength=len(self.strata))
        return {
            half: _needed(sizes, tuple(have.tolist()), tuple(hits.tolist()), half)
            for half in HALF_WIDTHS
        }


# Drawing


@transaction.atomic
def draw(
    run: ScoringRun, size: int = SUGGESTED, *, by: User | None = None, seed: int = 0
) -> ReviewSample:
    """Draw `size` labels of the run to review, as many from each range of strength as tell most.

    A run has one sample: where it has one already, that one grows to the size. `by` is None on the
    command line of the machine. Raises Refusal.
    """
    if by is not None:
        permissions.check_can_curate(by, run.dataset)
    run = ScoringRun.objects.select_for_update(no_key=True, of=("self",)).get(pk=run.pk)
    check_draw(run, size, seed)
    sample = sample_of(run)
    if sample is not None:
        if size <= sample.size:
            raise Refusal(
                f"The sample of run {run.pk} holds {sample.size:,} pairs already: ask for more, or "
                f"review these."
            )
        return _grow(sample, size - sample.size)
    return _grow(ReviewSample(run=run, seed=seed, created_by=by), size)


@transaction.atomic
def enlarge(sample: ReviewSample, more: int, *, by: User | None = None) -> ReviewSample:
    """Draw `more` labels to be reviewed after those that the sample holds. Raises Refusal."""
    if by is not None:
        permissions.check_can_curate(by, sample.run.dataset)
    run = ScoringRun.objects.select_for_update(no_key=True, of=("self",)).get(pk=sample.run_id)
    sample = ReviewSample.objects.select_related("run").get(pk=sample.pk)
    if more < 1:
        raise Refusal(f"A sample grows by one pair or more, not by {more:,}.")
    check_draw(run, sample.size + more, sample.seed)
    return _grow(sample, more)


def check_draw(run: ScoringRun, size: int, seed: int = 0) -> None:
    """Raises a Refusal where `draw` would for any sample of that size."""
    if run.status != ScoringRun.Status.DONE:
        raise Refusal(f"Run {run.pk} is {run.get_status_display()}: draw from a run that is done.")
    if size < 1:
        raise Refusal(f"A sample holds one pair or more, not {size:,}.")
    if not 0 <= seed <= MOST_SEEDS:
        raise Refusal(f"The seed must be between 0 and {MOST_SEEDS}.")
    labels = labels_of(run)
    if size > labels:
        raise Refusal(
            f"Run {run.pk} has {labels:,} labels with a flag, so {size:,} cannot be drawn: ask for "
            f"{labels:,} or fewer."
            if labels
            else f"Run {run.pk} has flagged no label, so there is nothing to audit."
        )


def sample_of(run: ScoringRun) -> ReviewSample | None:
    """The run's sample; None where none was drawn."""
    return ReviewSample.objects.filter(run=run).select_related("run__dataset").first()


def labels_of(run: ScoringRun) -> int:
    """How many labels the run has flagged, of any flag."""
    return sum(run.summary.get("flags", {}).values())


def needed_at_first(run: ScoringRun) -> dict[float, int]:
    """How many reviews each half-width is expected to take, before the first."""
    labels = labels_of(run)
    if not labels:
        return {}
    sizes = sampling.sizes_of(sampling.strata(np.zeros(labels)))
    none = (0,) * len(sizes)
    return {half: _needed(tuple(sizes.tolist()), none, none, half) for half in HALF_WIDTHS}


def strata_of(sample: ReviewSample) -> list[Stratum]:
    """Its strata, the weakest first."""
    return [Stratum(**each) for each in sample.strata]


def _grow(sample: ReviewSample, more: int) -> ReviewSample:
    """Draw `more` pairs to follow those there are, which stay as they are."""
    labels = _labels(sample.run)
    strengths = labels["strength"]
    strata = sampling.strata(strengths)  # always the same: what a run found does not change
    drawn = list(sample.rows.values_list("pair", flat=True)) if sample.pk else []
    generator = np.random.default_rng([sample.seed, len(drawn)])
    new = sampling.draw(strata, more, generator, already=_places(labels["pair"], drawn))
    sample.strata = _described(strata, strengths, labels["flag"])
    sample.size = len(drawn) + len(new)
    sample.save()
    found = (
        SampledPair(
            sample=sample,
            pair_id=int(labels["pair"][number]),
            position=position,
            stratum=int(strata[number]),
            flag=Flag.values[labels["flag"][number]],
        )
        for position, number in enumerate(new.tolist(), len(drawn))
    )
    for batch in batches(found, BATCH):
        SampledPair.objects.bulk_create(batch)
    return sample


def _labels(run: ScoringRun) -> npt.NDArray[Any]:
    """The labels that the run has flagged, the weakest first, as LABEL; (n,). Never all of them as
    objects: a run may hold a million."""
    numbers = {flag: number for number, flag in enumerate(Flag.values)}
    scores: Any = PairScore.objects.filter(run=run).exclude(flag="").order_by("strength", "pair")
    rows = scores.values_list("pair", "strength", "flag").iterator(chunk_size=BATCH)
    found = ((pair_id, strength, numbers[flag]) for pair_id, strength, flag in rows)
    return np.fromiter(found, dtype=LABEL)


def _places(pair_ids: Integers, drawn: Sequence[int]) -> Integers:
    """Where the drawn ones stand among the ids; (n_drawn,)."""
    order = np.argsort(pair_ids)
    wanted = np.array(drawn, dtype=np.int64)
    return order[np.searchsorted(pair_ids, wanted, sorter=order)]


def _described(
    strata: Integers, strengths: npt.NDArray[np.float64], flags: npt.NDArray[np.int8]
) -> list[dict[str, Any]]:
    """The strata as they are kept: the range of strength, and how many pairs of each flag, which
    come by their numbers among Flag."""
    return [
        {
            "low": float(strengths[strata == number].min()),
            "high": float(strengths[strata == number].max()),
            "pairs": int((strata == number).sum()),
            "flags": dict(zip(Flag.values, _counts(flags[strata == number]), strict=True)),
        }
        for number in range(int(strata.max()) + 1)
    ]


def _counts(flags: npt.NDArray[np.int8]) -> list[int]:
    counts: list[int] = np.bincount(flags, minlength=len(Flag.values)).tolist()
    return counts


# What was found


def found(sample: ReviewSample) -> Evidence:
    """What people's verdicts on the sample say; as many queries for a large one as for a small."""
    rows = _rows(sample)
    verdicts = _counted(rows)
    strata = strata_of(sample)
    sizes = np.array([each.pairs for each in strata], dtype=np.int64)
    flagged = {flag: np.array([s.flags[flag] for s in strata]) for flag in Flag.values}
    reviewed = sampling.Reviewed(verdicts.strata, verdicts.wrong, verdicts.flags)
    return Evidence(
        sample=sample,
        strata=strata,
        verdicts=verdicts,
        waiting=sum(not row["one_by_one"] for row in rows),
        noise=sampling.noise_rate(sizes, verdicts.strata, verdicts.wrong),
        bins=sampling.by_stratum(sizes, verdicts.strata, verdicts.wrong),
        flags=sampling.flag_shares(flagged, reviewed),
    )


def verdicts_of(sample: ReviewSample) -> Verdicts:
    """The verdicts on it that count."""
    return _counted(_rows(sample))


def left(sample: ReviewSample) -> int:
    """How many of its pairs wait for a person."""
    return sample.rows.filter(WAITS).count()


def noise_of(run: ScoringRun) -> Noise:
    """What is known of the share of wrong labels: by the reviews of a random sample where there are
    enough, else by the models, as far as these can tell."""
    sample = sample_of(run)
    if sample is None or not sample.strata:
        return noise_by_models(run)
    verdicts = verdicts_of(sample)
    sizes = np.array([each.pairs for each in strata_of(sample)], dtype=np.int64)
    share = sampling.noise_rate(sizes, verdicts.strata, verdicts.wrong)
    if share.figure is None or share.reviews < min(FEWEST, share.pairs):
        return noise_by_models(run)
    basis = f"By {share.reviews:,} reviews of labels drawn at random."
    return Noise(share.figure, None, basis, share.reviews)


def _rows(sample: ReviewSample) -> list[dict[str, Any]]:
    """The sample in its order, with the verdict of each pair that a person has looked at."""
    held = {
        "verdict": F("pair__standing__verdict"),
        "one_by_one": Case(When(ONE_BY_ONE, then=True), default=False),
        "queue": F("pair__standing__decision__evidence__queue"),
        "queue_before": F("pair__standing__decision__restores__evidence__queue"),
    }
    rows = sample.rows.order_by("position").annotate(**held)
    return list(rows.values("pair_id", "stratum", "flag", *held))


def _counted(rows: Sequence[Mapping[str, Any]]) -> Verdicts:
    """The verdicts up to where the review has come."""
    come = _come(rows)
    counted = [row for row in rows[:come] if row["one_by_one"]]
    wrong = [row["verdict"] in WRONG for row in counted]
    unclear = [row["verdict"] in UNCLEAR for row in counted]
    return Verdicts(
        [row["pair_id"] for row in counted],
        np.array([row["stratum"] for row in counted], dtype=np.int64),
        np.array([row["flag"] for row in counted], dtype=np.str_),
        np.array(wrong, dtype=np.bool_),
        np.array(unclear, dtype=np.bool_),
        passed_over=come - len(counted),
        further_on=sum(row["one_by_one"] for row in rows[come:]),
    )


def _come(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many pairs the review has come past: up to the last that was decided in its queue, or to
    the first that nobody has decided."""
    in_queue = [
        number
        for number, row in enumerate(rows, 1)
        if row["one_by_one"] and AUDIT in (row["queue"], row["queue_before"])
    ]
    open_at = (number for number, row in enumerate(rows) if not row["one_by_one"])
    return max(next(open_at, len(rows)), in_queue[-1] if in_queue else 0)


@lru_cache(maxsize=256)
def _needed(sizes: Counts, reviews: Counts, hits: Counts, half_width: float) -> int:
    """`sampling.reviews_needed`, which depends on counts alone and is asked for by every page."""
    reviewed = np.repeat(np.arange(len(sizes)), reviews)
    wrong = np.concatenate(
        [np.arange(many) < some for many, some in zip(reviews, hits, strict=True)]
    ).astype(np.bool_)
    return sampling.reviews_needed(np.array(sizes), reviewed, wrong, half_width)
