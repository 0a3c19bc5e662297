"""Settle the pairs that people label differently: the most contested first, each once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from django.db.models import Case, Count, Exists, IntegerField, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Abs, Cast, Least

from annotations import compare, decisions, rounds
from annotations.models import (
    Annotator,
    Dataset,
    Decision,
    Judgement,
    Label,
    Lease,
    Occasion,
    Preference,
    PreferencePair,
    Verdict,
)
from curator.lib.refusals import Conflict, Refusal
from curator.models import User

DROP = "drop"
RESOLUTIONS = (Preference.A, Preference.B, Preference.TIE, DROP)
LEVEL = 1000  # more than the people on one pair can differ by
ASKED = 1_000_000  # below every pair for which nobody is awaited
SHOWN_LABELS = 100
MOST_MARKS = 500


@dataclass(frozen=True)
class Queue:
    """How many disputes wait, for how many of them somebody was asked for one more label, and how
    many were settled."""

    waiting: int
    asked: int
    settled: int


@dataclass(frozen=True)
class Segment:
    """A stretch of a response: who marked it as what, and whether the other response lacks it."""

    text: str
    marks: tuple[tuple[str, str], ...]  # good or bad, and by whom
    differs: bool

    @property
    def mark(self) -> str:
        """good, bad, or mixed where people mark it differently; empty where nobody did."""
        kinds = {mark for mark, _ in self.marks}
        return "mixed" if len(kinds) > 1 else next(iter(kinds), "")


def queue_of(dataset: Dataset) -> QuerySet[PreferencePair]:
    """The disputes, most contested first: by how many people the smaller camp has, then by how
    close it is, then the oldest. Those for which one more person was asked come last."""
    a, b = (Cast(name, IntegerField()) for name in ("standing__people_a", "standing__people_b"))
    is_asked = Exists(rounds.awaited().filter(pair=OuterRef("pk")))
    contest = Cast(Least(a, b), IntegerField()) * LEVEL - Abs(a - b)
    pairs: QuerySet[PreferencePair] = PreferencePair.objects.in_dispute(dataset).with_standing()
    pairs = pairs.annotate(
        is_asked=is_asked,
        contest=contest - Case(When(is_asked, then=Value(ASKED)), default=Value(0)),
    )
    return pairs.order_by("-contest", "pk")


def next_dispute(
    dataset: Dataset, *, after: PreferencePair | None = None, place: int | None = None
) -> PreferencePair | None:
    """The most contested dispute, or the one that follows `after` in the order of the queue, as of
    the `place` where it stood when it was shown: one more person may have been asked since."""
    waiting = queue_of(dataset)
    if after is not None:
        if place is None:
            place = place_of(after, is_asked=bool(awaited_of(after)))
        waiting = waiting.filter(Q(contest__lt=place) | Q(contest=place, pk__gt=after.pk))
    return waiting.first()


def place_of(pair: PreferencePair, *, is_asked: bool) -> int:
    """The pair's place in the queue, also when it is in dispute no more; larger is earlier."""
    a, b = pair.standing.people_a, pair.standing.people_b
    return min(a, b) * LEVEL - abs(a - b) - (ASKED if is_asked else 0)


def state(dataset: Dataset) -> Queue:
    queue: Any = queue_of(dataset).order_by()  # annotated, which the types do not know
    divided = dataset.standings.decided().filter(people_a__gt=0, people_b__gt=0)
    return Queue(
        waiting=queue.count(),
        asked=queue.filter(is_asked=True).count(),
        settled=divided.count(),
    )


def labels_of(pair: PreferencePair) -> list[Label]:
    """What holds of what annotators said of the pair, people first; repeats after the answer that
    they repeat."""
    said = Label.objects.filter(pair=pair, successor__isnull=True)
    said = said.exclude(preference=Judgement.WITHDRAWN).exclude(occasion=Occasion.PRACTICE)
    people_first = Case(When(annotator__kind=Annotator.Kind.HUMAN, then=0), default=1)
    ordered = said.select_related("annotator__user").order_by(
        people_first, "annotator__kind", "annotator__name", "annotator_id", "pk"
    )
    return list(ordered[:SHOWN_LABELS])


def said_of(pair: PreferencePair) -> int:
    """How much was said of the pair, with what was taken back since: as labels are only appended,
    it tells whether something is new."""
    return Label.objects.filter(pair=pair).exclude(occasion=Occasion.PRACTICE).count()


def votes(labels: Sequence[Label]) -> dict[str, Any]:
    """What a decision rests on: who said what, with its ids."""
    people = Counter(label.preference for label in labels if _is_vote(label))
    return {
        "people": {name: people[name] for name in ("a", "b", "tie", "both_bad")},
        "labels": [
            {
                "label": label.pk,
                "annotator": label.annotator.name,
                "kind": label.annotator.kind,
                "preference": label.preference,
                "strength": label.strength,
                "occasion": label.occasion or "work",
            }
            for label in labels
        ],
    }


def resolve(
    *,
    pair: PreferencePair,
    resolution: str,
    by: User,
    based_on: int | None,
    reason: str = "",
    labels: Sequence[Label] | None = None,
    seen: int | None = None,
) -> Decision:
    """Decide for `a`, `b` or `tie`, or drop the pair, on the evidence of its labels. The pair is in
    dispute no more, whatever is labelled later.

    `seen` is how much had been said of it when it was shown. Raises Conflict when more was said
    since, and when another decision has come in between, as `decisions.decide` does.
    """
    if resolution not in RESOLUTIONS:
        raise Refusal("Choose A better, B better, tie or drop.")
    said = labels_of(pair) if labels is None else labels
    if seen is not None and seen != said_of(pair):
        raise Conflict(
            "Somebody has labelled this pair since you saw it, so nothing was decided: look again."
        )
    verdict = (
        Verdict.DROP
        if resolution == DROP
        else decisions.verdict_for(pair.source_preference, resolution)
    )
    return decisions.decide(
        pair=pair,
        verdict=verdict,
        by=by,
        based_on=based_on,
        reason=reason,
        evidence={"votes": votes(said)},
    )


def marked(
    messages: Sequence[Mapping[str, str]],
    labels: Iterable[Label],
    side: str,
    differing: Sequence[compare.Segment] | None = None,
) -> list[list[Segment]]:
    """The messages of one response in stretches, each with the marks that annotators set on it and
    whether the other response lacks it, where `differing` says so of a single message.

    Marks count the characters of all its messages, one after the other; those that lie outside are
    passed over.
    """
    spans = [
        (int(span["start"]), int(span["end"]), str(span["mark"]), label.annotator.name)
        for label in labels
        for span in label.spans
        if span.get("response") == side
    ][:MOST_MARKS]
    unlike = _stretches(differing or ())
    found, start = [], 0
    for message in messages:
        text = message["content"]
        within = [(s - start, e - start, mark, name) for s, e, mark, name in spans]
        found.append(_segments(text, within, unlike))
        start += len(text)
    return found


def awaited_of(pair: PreferencePair) -> int:
    """How many more labels people were asked for on this very pair, and have not given yet."""
    places = rounds.awaited(pair)
    in_hands = Count("leases", filter=Q(leases__state=Lease.State.OPEN))
    return sum(
        left + held for left, held in places.annotate(held=in_hands).values_list("open", "held")
    )


def _is_vote(label: Label) -> bool:
    return label.occasion == Occasion.WORK and label.annotator.kind == Annotator.Kind.HUMAN


def _stretches(differing: Sequence[compare.Segment]) -> list[tuple[int, int]]:
    """Where the stretches that differ begin and end."""
    ends = list(accumulate(len(part.text) for part in differing))
    return [
        (end - len(part.text), end)
        for part, end in zip(differing, ends, strict=True)
        if part.differs
    ]


def _segments(
    text: str, spans: Sequence[tuple[int, int, str, str]], unlike: Sequence[tuple[int, int]]
) -> list[Segment]:
    """The text cut wherever a mark or a difference begins or ends."""
    inside = [
        (max(start, 0), min(end, len(text)), mark, name)
        for start, end, mark, name in spans
        if start < len(text) and end > 0 and start < end
    ]
    ranges = [*unlike, *((start, end) for start, end, _, _ in inside)]
    edges = {0, len(text), *(edge for both in ranges for edge in both)}
    cuts = sorted(edge for edge in edges if edge <= len(text))
    segments, place = [], 0
    for start, end in pairwise(cuts):
        while place < len(unlike) and unlike[place][1] <= start:
            place += 1
        differs = place < len(unlike) and unlike[place][0] <= start
        over = tuple((mark, name) for s, e, mark, name in inside if s <= start and end <= e)
        segments.append(Segment(text[start:end], over, differs))
    return segments
