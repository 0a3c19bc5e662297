"""How each annotator of a dataset answers, and what their labels are worth.

Every share comes with its interval, and something is said in words only where the interval leaves
little room for chance.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db.models import Count, Max, Q
from django.utils import timezone

from annotations import agreement, consensus, habits
from annotations.answers import UNKNOWN, Answers, Voter
from annotations.habits import Share
from annotations.judgements import Judgements
from annotations.models import Dataset, Label
from curator.lib.intervals import Estimate

Int8s = npt.NDArray[np.int8]

QUICK = 3.0  # seconds, in which nobody has read two responses
FEWEST = 10  # judgements before something is said in words
LOW_WORDS = {
    "gold": "right on gold pairs less often than others",
    "consistency": "gives the same answer again less often than others",
    "agreement": "agrees with others less than they do among themselves",
    "accuracy": "right by the consensus less often than others",
    "first": "prefers the second response",
    "longer": "takes the shorter response more often than others",
}
HIGH_WORDS = {
    "first": "prefers the first response",
    "longer": "takes the longer response more often than others",
    "quick": "answers in under 3 s",
}


@dataclass(frozen=True)
class Tally:
    """How much somebody has labelled, by which days."""

    total: int  # judgements that hold now
    skipped: int
    last_week: int  # of the total, those given here
    last_at: datetime | None


NO_TALLY = Tally(0, 0, 0, None)


@dataclass(frozen=True)
class Habit:
    """One thing that annotators are looked at for, and what would be fair."""

    name: str  # of the field of Figures
    title: str
    explanation: str
    fairness: str = "fair is what the others do"
    fair: float | None = None  # None: what the others do
    margin: float = 0.0  # a smaller difference does no harm
    less_is_worse: bool = True
    more_is_worse: bool = False


HABITS = (
    Habit("gold", "Gold", "right on pairs whose answer is known"),
    Habit("consistency", "Same again", "the same answer when a pair comes again, sides swapped"),
    Habit("agreement", "With others", "the answer that others give to the same pair", margin=0.03),
    Habit(
        "accuracy",
        "Consensus",
        "right by the consensus of all people, models not asked",
        margin=0.03,
    ),
    Habit(
        "first",
        "First shown",
        "takes the response that stood first",
        "sides are shuffled, so a half is fair",
        fair=0.5,
        margin=0.02,
        more_is_worse=True,
    ),
    Habit(
        "longer",
        "Longer",
        "takes the longer response, where one is longer by a tenth",
        margin=0.05,
        more_is_worse=True,
    ),
    Habit(
        "quick",
        "Under 3 s",
        "answers faster than two responses can be read",
        margin=0.02,
        less_is_worse=False,
        more_is_worse=True,
    ),
)


@dataclass(frozen=True)
class Shown:
    """A share beside what is fair."""

    habit: Habit
    share: Share
    fair: float | None
    is_low: bool  # the whole interval lies below what is fair
    is_high: bool

    @property
    def stands_out(self) -> bool:
        """Whether it is worse than fair, beyond chance."""
        return (self.is_low and self.habit.less_is_worse) or (
            self.is_high and self.habit.more_is_worse
        )


@dataclass(frozen=True)
class Figures:
    """One voter's figures in a slice of a dataset."""

    voter: Voter
    labels: int
    tally: Tally  # in the dataset as a whole
    seconds: float | None  # median
    gold: Share
    consistency: Share
    agreement: Share
    accuracy: Share
    first: Share
    longer: Share
    quick: Share

    @property
    def shown(self) -> list[Shown]:
        """All shares beside what is fair, in the order of HABITS."""
        return [self.beside_fair(habit) for habit in HABITS]

    @property
    def remarks(self) -> list[str]:
        """What stands out of this voter's answers, each as a few words with its figure."""
        return [_in_words(shown) for shown in self.shown if shown.stands_out]

    def beside_fair(self, habit: Habit) -> Shown:
        share: Share = getattr(self, habit.name)
        fair = share.others if habit.fair is None else habit.fair
        if share.estimate is None or fair is None or share.count < FEWEST:
            return Shown(habit, share, fair, is_low=False, is_high=False)
        return Shown(
            habit,
            share,
            fair,
            is_low=share.estimate.high < fair - habit.margin,
            is_high=share.estimate.low > fair + habit.margin,
        )


def figures(
    given: Answers,
    *,
    tallies: dict[int, Tally],
    gold: Int8s,
    repeats: Int8s,
    longer: Int8s,
) -> list[Figures]:
    """Each voter's figures, in the order of the voters; those without a judgement are left out.

    `gold`, `repeats` and `longer` say of each judgement (N,) what is right, what its voter says of
    the pair with sides swapped, and which response is longer.
    """
    judgements = given.judgements
    voters, count, values = judgements.voters, judgements.voter_count, judgements.values
    sided = given.takes_a_side
    seen = sided & (given.shown_first != UNKNOWN)
    unequal = sided & (longer != UNKNOWN)
    timed = np.isfinite(given.seconds)
    with np.errstate(invalid="ignore"):
        quick = given.seconds < QUICK
    columns = {
        "gold": habits.shares(values == gold, gold != UNKNOWN, voters, count),
        "consistency": habits.shares(values == repeats, repeats != UNKNOWN, voters, count),
        "agreement": _agreement_shares(judgements),
        "accuracy": _accuracy_shares(judgements),
        "first": habits.shares(given.prefers_first, seen, voters, count),
        "longer": habits.shares(values == longer, unequal, voters, count),
        "quick": habits.shares(quick, timed, voters, count),
    }
    seconds = habits.medians(given.seconds, voters, count)
    labels = np.bincount(voters, minlength=count).tolist()
    return [
        Figures(
            voter=voter,
            labels=labels[i],
            tally=tallies.get(voter.pk, NO_TALLY),
            seconds=seconds[i],
            **{name: column[i] for name, column in columns.items()},
        )
        for i, voter in enumerate(given.voters)
        if labels[i]
    ]


def tallies(dataset: Dataset) -> dict[int, Tally]:
    """How much each annotator has labelled in the dataset."""
    in_week = Q(imported_in=None, created_at__gte=timezone.now() - timedelta(days=7))
    rows: Any = (
        Label.objects.current()
        .filter(annotator__dataset=dataset)
        .order_by()
        .values("annotator_id")
        .annotate(
            total=Count("pk", filter=~Q(preference="skip")),
            skipped=Count("pk", filter=Q(preference="skip")),
            last_week=Count("pk", filter=in_week & ~Q(preference="skip")),
            last_at=Max("created_at"),
        )
    )
    return {row.pop("annotator_id"): Tally(**row) for row in rows}


def _agreement_shares(judgements: Judgements) -> list[Share]:
    found = agreement.agreement_with_others(judgements)
    rates = np.array([share.estimate if share else 0.0 for share in found.shares])
    return habits.shares_of_counts(rates * found.counts, found.counts)


def _accuracy_shares(judgements: Judgements) -> list[Share]:
    """Of people alone: no ensemble has a say in what somebody's labels are worth."""
    found = consensus.voter_accuracy(consensus.dawid_skene(judgements))
    rates = np.array([share.estimate if share else 0.0 for share in found.accuracies])
    told = np.array([share is not None for share in found.accuracies], dtype=np.bool_)
    evidence = np.where(told, found.evidence, 0.0)
    return habits.shares_of_counts(rates * evidence, evidence)


def _in_words(shown: Shown) -> str:
    """What the share says, with its interval, and the others' where they are what is fair."""
    assert shown.share.estimate is not None
    found, fair = shown.share.estimate, shown.fair
    words = LOW_WORDS if shown.is_low else HIGH_WORDS
    if shown.habit.more_is_worse and shown.is_low:  # what is said is the other side's share
        found = Estimate(1.0 - found.estimate, 1.0 - found.high, 1.0 - found.low)
        fair = None if fair is None else 1.0 - fair
    figure = f"{percent(found.estimate)} ({100 * found.low:.0f}–{100 * found.high:.0f})"
    beside = f", others {percent(fair)}" if fair is not None and shown.habit.fair is None else ""
    return f"{words[shown.habit.name]}: {figure}{beside}"


def percent(share: float) -> str:
    return f"{100 * share:.0f}\u202f%"
