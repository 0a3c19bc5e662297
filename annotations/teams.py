"""What the labels of a team are worth together: how far annotators agree, on any part of a
dataset."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from django.db.models import Count, Max, OuterRef, Subquery, TextField
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from annotations import agreement, answers, quality, searching
from annotations.agreement import Agreement, Scale
from annotations.answers import Answers, Pairs, Voter
from annotations.judgements import Judgements, Value
from annotations.models import Annotator, Dataset, Decision, Label, RoundPair
from annotations.quality import FEWEST, Figures
from curator.lib import digests
from curator.lib.kept import Kept, kept

SEED = 7  # of the bootstrap: the same labels always show the same interval
MOST_IN_MATRIX = 12
DAYS = 30

# Krippendorff's rule of thumb, and what preferences usually reach
RELIABLE, TENTATIVE, USUAL = 0.8, 0.667, 0.4

VOTERS = {"people": answers.PEOPLE, "ai": answers.WITH_AI, "all": answers.EVERYBODY}
PARTS = ("", "dispute", "undecided", "decided")


@dataclass(frozen=True)
class Slice:
    """Which pairs of a dataset, and whose labels of them."""

    part: str = ""  # one of PARTS
    round_id: int | None = None
    text: str = ""
    voters: str = "people"  # one of VOTERS

    @property
    def is_everything(self) -> bool:
        return not (self.part or self.round_id or self.text)

    def pairs(self, dataset: Dataset) -> Pairs | None:
        """The pairs; None for all of them."""
        if self.is_everything:
            return None
        found = dataset.pairs.all()
        if self.part == "dispute":
            found = found.filter(pk__in=dataset.standings.in_dispute().values("pair"))
        elif self.part == "undecided":
            found = found.undecided()
        elif self.part == "decided":
            found = found.filter(standing__verdict__gt="")
        if self.round_id:
            found = found.filter(
                pk__in=RoundPair.objects.filter(round=self.round_id).values("pair")
            )
        return found.filter(pk__in=searching.matching(self.text)) if self.text else found


@dataclass(frozen=True)
class Measure:
    """A figure of agreement, and what it means."""

    title: str
    explanation: str
    agreement: Agreement
    reading: str
    is_share: bool = False  # rather than an alpha, which may be below 0


@dataclass(frozen=True)
class Cell:
    """Two annotators' kappa, and on how many pairs."""

    kappa: float | None
    common: int
    is_own: bool = False  # one annotator beside themself

    @property
    def step(self) -> int:
        """From 0, no better than chance, to 5, in steps of a fifth."""
        return 0 if self.kappa is None else int(np.clip(np.ceil(self.kappa * 5), 0, 5))


@dataclass(frozen=True)
class Matrix:
    """Cohen's kappa of every two of the busiest annotators."""

    voters: list[Voter]
    rows: list[list[Cell]]  # rows[i][j] of voters i and j

    @property
    def named_rows(self) -> list[tuple[Voter, list[Cell]]]:
        return list(zip(self.voters, self.rows, strict=True))


@dataclass(frozen=True)
class Day:
    """How many labels were given on a day."""

    day: date
    labels: int


@dataclass(frozen=True)
class Team:
    """What all labels of a slice of a dataset are worth together, and each annotator's."""

    pairs: int  # with a label
    shared: int  # with the labels of at least two
    labels: int
    measures: list[Measure]
    annotators: list[Figures]
    matrix: Matrix
    disputes: int  # in the dataset as a whole
    days: list[Day]

    @property
    def outstanding(self) -> list[Figures]:
        """Those of whose answers something stands out, the most of it first."""
        found = [of for of in self.annotators if of.remarks]
        return sorted(found, key=lambda of: (-len(of.remarks), -of.labels))

    @property
    def intervals(self) -> int:
        """How many intervals were looked at for what stands out."""
        return sum(
            shown.share.count >= FEWEST and shown.fair is not None
            for of in self.annotators
            for shown in of.shown
        )

    def of(self, annotator_id: int) -> Figures | None:
        """The figures of one annotator; None where they have no label in the slice."""
        return next((of for of in self.annotators if of.voter.pk == annotator_id), None)


def figures_of(
    dataset: Dataset,
    part: Slice,
    *,
    pair_ids: Callable[[], Iterable[int]] | None = None,
    asked: str = "",
) -> Kept[Team]:
    """The team's figures in the slice; among the pairs that `pair_ids` gives, where they were
    chosen otherwise too, as `asked` says."""

    def make() -> Team:
        given = answers.load(dataset, pairs=part.pairs(dataset), kinds=VOTERS[part.voters])
        return compute(dataset, given if pair_ids is None else answers.among(given, pair_ids()))

    name = f"team-{dataset.pk}-{dataset.created_at.timestamp()}-{part}-{asked}"
    return kept(name, state_of(dataset), make)


def state_of(dataset: Dataset) -> str:
    """Changes whenever the figures of the dataset may: with labels, imports, gold pairs,
    decisions, rounds and the day."""
    decision = Decision.objects.filter(pair__dataset=dataset).order_by("-pk").values_list("pk")
    facts = (
        dataset.imports.aggregate(Count("pk"), Max("finished_at")),
        dataset.gold_pairs.aggregate(Count("pk"), Max("changed_at")),
        dataset.rounds.aggregate(Count("pk"), Max("finished_at")),
    )
    counted = (value for found in facts for value in found.values())
    parts = (last_labels(dataset), decision.first(), dataset.standings.decided().count(), *counted)
    return "/".join(map(str, (*parts, timezone.now().date())))


def last_labels(dataset: Dataset) -> str:
    """Changes with every label that somebody gives here. One person's labels come one after the
    other, while among several a later number may be there before an earlier one; and each
    annotator's last is at the end of an index."""
    theirs = Label.objects.filter(annotator=OuterRef("pk")).order_by("-created_at")
    last = dataset.annotators.annotate(last=Subquery(theirs.values("created_at")[:1]))
    rows = last.order_by("pk").values_list("pk", "last")
    return digests.of_lines(f"{annotator} {moment}" for annotator, moment in rows)


def compute(dataset: Dataset, given: Answers) -> Team:
    """The figures, computed anew."""
    return Team(
        pairs=len(given.pair_ids),
        shared=int((given.judgements.per_unit() > 1).sum()),
        labels=len(given),
        measures=measures(given.judgements),
        annotators=quality.figures(
            given,
            tallies=quality.tallies(dataset),
            gold=answers.gold_of(dataset, given),
            repeats=answers.repeats_of(dataset, given),
            longer=answers.longer_of(dataset, given),
        ),
        matrix=matrix(given),
        disputes=dataset.standings.in_dispute().count(),
        days=by_day(dataset),
    )


def measures(judgements: Judgements) -> list[Measure]:
    """How far annotators agree, in four ways, or five where some say that both are bad."""

    def alpha(scale: Scale) -> Agreement:
        generator = np.random.default_rng(SEED)
        return agreement.krippendorff_alpha(judgements, scale, generator=generator)

    def plain(scale: Scale) -> Agreement:
        generator = np.random.default_rng(SEED)
        return agreement.observed_agreement(judgements, scale, generator=generator)

    ties, sides, strength = map(alpha, (Scale.TIES, Scale.SIDES, Scale.STRENGTH))
    strong = int((judgements.strengths > 0).sum())
    observed = plain(Scale.TIES)
    both_bad = int((judgements.values == Value.BOTH_BAD).sum())
    return [
        Measure("Alpha, ties count", "A, B and tie as three answers", ties, reading_of_alpha(ties)),
        *([_both_bad_apart(alpha(Scale.BOTH_BAD), both_bad)] if both_bad else []),
        Measure("Alpha, A or B", "ties left out", sides, _reading_beside(sides, ties)),
        Measure(
            "Alpha with strength",
            f"from A much better to B much better; {strong:,} answers say how much",
            strength,
            _reading_of_strength(strength, strong),
        ),
        Measure(
            "Same answer",
            "of two people asked of one pair; chance is not taken off",
            observed,
            reading_of_observed(observed, plain(Scale.SIDES)),
            is_share=True,
        ),
    ]


def _both_bad_apart(found: Agreement, both_bad: int) -> Measure:
    explanation = f"A, B, tie and both bad as four answers; {both_bad:,} say both bad"
    return Measure("Alpha, both bad apart", explanation, found, reading_of_alpha(found))


def reading_of_alpha(found: Agreement) -> str:
    """What an alpha means, in a sentence."""
    if found.figure is None:
        return found.reason
    alpha = found.figure
    if alpha.high < 0:
        return "Less than by chance: look for somebody who answers the wrong way round."
    if alpha.low <= 0:
        return "Cannot be told from chance: more pairs with two labels would show more."
    if alpha.low >= RELIABLE:
        return "Reliable: one label a pair tells nearly as much as several."
    if alpha.estimate >= TENTATIVE:
        return "Good for preferences: enough for tentative conclusions from single labels."
    if alpha.estimate >= USUAL:
        return "Usual for preferences: ask several people a pair and use their consensus."
    return "Low: the guidelines leave much open, the pairs are close, or some do not look."


def reading_of_observed(found: Agreement, sides: Agreement) -> str:
    """What plain agreement means; of A and B alone it says how often each may be right."""
    if found.figure is None:
        return found.reason
    if sides.figure is None or sides.figure.estimate <= 0.5:
        return "By tossing coins two people would agree on half of the pairs that are no ties."
    same = sides.figure.estimate
    right = (1.0 + (2.0 * same - 1.0) ** 0.5) / 2.0
    return (
        f"Where both take a side, {quality.percent(same)} take the same: as if all were right on "
        f"{quality.percent(right)} of the pairs."
    )


def matrix(given: Answers) -> Matrix:
    found = agreement.kappa_matrix(given.judgements, most=MOST_IN_MATRIX)
    busy = [place for place, count in enumerate(np.diagonal(found.common)) if count]

    def cell(i: int, j: int) -> Cell:
        return Cell(_number(found.kappas[i, j]), int(found.common[i, j]), i == j)

    rows = [[cell(i, j) for j in busy] for i in busy]
    return Matrix([given.voters[found.voters[i]] for i in busy], rows)


def by_day(dataset: Dataset, *, annotator: Annotator | None = None) -> list[Day]:
    """Labels given here on each of the last days, of those that count as labels everywhere:
    judgements that hold now, asked as work. Imported ones say nothing of the day."""
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    labels = Label.objects.judgements().filter(
        annotator__dataset=dataset, imported_in=None, created_at__gte=days[0]
    )
    if annotator is not None:
        labels = labels.filter(annotator=annotator)
    # as text: to make a date of each time SQLite would call Python, row by row
    day = Substr(Cast("created_at", TextField()), 1, len("2026-01-31"))
    rows = labels.order_by().annotate(day=day).values_list("day").annotate(Count("pk"))
    counts = dict(rows)
    return [Day(day.date(), counts.get(f"{day:%Y-%m-%d}", 0)) for day in days]


def _reading_beside(sides: Agreement, ties: Agreement) -> str:
    if sides.figure is None:
        return sides.reason
    if ties.figure is None:
        return reading_of_alpha(sides)
    gain = sides.figure.estimate - ties.figure.estimate
    if gain > 0.05:
        return "Higher than with ties: people differ over what is a tie more than over who wins."
    if gain < -0.05:
        return "Lower than with ties: people agree on ties, less on who wins."
    return "As with ties: what people differ over is who wins."


def _reading_of_strength(found: Agreement, strong: int) -> str:
    if found.figure is None:
        return found.reason
    if not strong:
        return "Nobody said how much better, so every preference counts as slight."
    return "Near answers count as near: slightly A against a tie weighs less than A against B."


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
