"""How one annotator's answers have changed over time, for their own page."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from annotations import answers, drawings, habits, quality
from annotations.answers import UNKNOWN, Answers
from annotations.drawings import Series
from annotations.habits import Share
from annotations.models import Annotator, Label, PreferencePair
from curator.lib.intervals import wilson

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

FEWEST = 20  # labels of a stretch
MOST = 12  # stretches
SHOWN_LABELS = 30


@dataclass(frozen=True)
class Stretch:
    """So many labels, one after another."""

    since: datetime
    until: datetime
    labels: int


@dataclass(frozen=True)
class Chart:
    """A share over time, and as a whole."""

    title: str
    explanation: str
    fairness: str
    whole: Share
    fair: float | None
    series: Series


@dataclass(frozen=True)
class History:
    """An annotator's labels, oldest first, in stretches of like length."""

    labels: int
    seconds: float | None  # median
    stretches: list[Stretch]
    charts: list[Chart]


def of(annotator: Annotator, *, with_others: bool) -> History:
    """The annotator's answers over time; with others' labels and gold only where they may be
    known."""
    dataset, kind = annotator.dataset, annotator.kind
    if with_others:
        labelled = Label.objects.judgements().filter(annotator=annotator)
        pairs = PreferencePair.objects.filter(pk__in=labelled.values("pair"))
        given = answers.load(dataset, pairs=pairs, kinds=(*answers.PEOPLE, kind))
    else:
        given = answers.load(dataset, kinds=(kind,), by=annotator)
    mine = given.judgements.voters == _place_of(annotator, given)
    cuts = habits.blocks(int(mine.sum()), fewest=FEWEST, most=MOST)
    stretches = _stretches(given.label_ids[mine], cuts)
    charts = [
        _chart(*column, mine=mine, cuts=cuts, stretches=stretches)
        for column in _columns(annotator, given, with_others)
    ]
    times = given.seconds[mine & np.isfinite(given.seconds)]
    return History(
        labels=int(mine.sum()),
        seconds=float(np.median(times)) if len(times) else None,
        stretches=stretches,
        charts=[chart for chart in charts if chart.whole.count],
    )


def last_labels(annotator: Annotator) -> list[Label]:
    """What the annotator said last, of whatever occasion, with the pairs."""
    current = Label.objects.filter(annotator=annotator, successor__isnull=True)
    chosen = current.exclude(preference="withdrawn").select_related("pair")
    return list(chosen.order_by("-pk")[:SHOWN_LABELS])


Column = tuple[quality.Habit, Booleans | Floats, Booleans]


def _columns(annotator: Annotator, given: Answers, with_others: bool) -> list[Column]:
    """What is drawn: of each judgement whether it holds, and whether it counts, (N,)."""
    judgements, values = given.judgements, given.judgements.values
    longer = answers.longer_of(annotator.dataset, given)
    repeats = answers.repeats_of(annotator.dataset, given)
    sided = given.takes_a_side
    with np.errstate(invalid="ignore"):
        quick = given.seconds < quality.QUICK
    found: dict[str, tuple[Booleans | Floats, Booleans]] = {
        "first": (given.prefers_first, sided & (given.shown_first != UNKNOWN)),
        "longer": (values == longer, sided & (longer != UNKNOWN)),
        "consistency": (values == repeats, repeats != UNKNOWN),
        "quick": (quick, np.isfinite(given.seconds)),
    }
    if with_others:
        gold = answers.gold_of(annotator.dataset, given)
        others = judgements.per_unit()[judgements.units] - 1
        equal = judgements.votes()[judgements.units, values] - 1
        found["gold"] = (values == gold, gold != UNKNOWN)
        found["agreement"] = (equal / np.maximum(others, 1), others > 0)
    return [(habit, *found[habit.name]) for habit in quality.HABITS if habit.name in found]


def _chart(
    habit: quality.Habit,
    holds: Booleans | Floats,
    counts: Booleans,
    *,
    mine: Booleans,
    cuts: list[tuple[int, int]],
    stretches: list[Stretch],
) -> Chart:
    own_holds, own_counts = np.asarray(holds, np.float64)[mine], counts[mine]
    shares = []
    for (start, end), stretch in zip(cuts, stretches, strict=True):
        counted = own_counts[start:end]
        share = wilson(float(own_holds[start:end][counted].sum()), float(counted.sum()))
        words = f"{stretch.since:%-d %b} to {stretch.until:%-d %b}"
        if share is not None:
            figure = f"{100 * share.low:.0f}–{100 * share.high:.0f}"
            words = f"{words}: {quality.percent(share.estimate)} ({figure})"
        shares.append((words, share))
    count = int(own_counts.sum())
    whole = Share(wilson(float(own_holds[own_counts].sum()), count), count, None)
    series = drawings.series(shares, fair=habit.fair)
    return Chart(habit.title, habit.explanation, habit.fairness, whole, habit.fair, series)


def _stretches(label_ids: npt.NDArray[np.int64], cuts: list[tuple[int, int]]) -> list[Stretch]:
    """When each stretch began and ended: only the labels at its ends are asked for."""
    ends = {int(label_ids[place]) for start, end in cuts for place in (start, end - 1)}
    at = dict(Label.objects.filter(pk__in=ends).values_list("pk", "created_at"))
    return [
        Stretch(at[int(label_ids[start])], at[int(label_ids[end - 1])], end - start)
        for start, end in cuts
    ]


def _place_of(annotator: Annotator, given: Answers) -> int:
    return next(i for i, voter in enumerate(given.voters) if voter.pk == annotator.pk)
