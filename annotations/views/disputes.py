"""Adjudication: one pair in dispute at a time, with all that people said of it; decide by key,
undo, go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import push_url

from annotations import access, adjudicating, compare, decisions
from annotations.adjudicating import Segment
from annotations.forms import PlaceForm, ResolutionForm
from annotations.models import (
    Annotator,
    Dataset,
    Decision,
    Judgement,
    Label,
    Occasion,
    PreferencePair,
)
from annotations.views import beside
from annotations.views.trails import Trail
from curator.lib.refusals import Conflict, Refusal
from curator.requests import SignedInRequest, wants_fragment

STRENGTHS = {1: "slightly better", 2: "clearly better", 3: "much better"}
UNDECIDED = (Judgement.TIE, Judgement.BOTH_BAD, Judgement.SKIP)


@dataclass(frozen=True)
class Voice:
    """What one annotator says of the pair, and what they said when they were asked again."""

    label: Label
    again: Label | None

    @property
    def strength(self) -> str:
        return STRENGTHS.get(self.label.strength or 0, "")

    @property
    def aspects(self) -> list[tuple[str, str]]:
        """Each aspect with the response that is better in it: A, B or tie."""
        return [
            (name, answer.upper() if len(answer) == 1 else answer)
            for name, answer in self.label.aspects.items()
        ]

    @property
    def marks_count(self) -> int:
        return len(self.label.spans)

    @property
    def contradicts(self) -> bool:
        """Whether they said something else when the sides were swapped."""
        return self.again is not None and self.again.preference != self.label.preference


@dataclass(frozen=True)
class Side:
    """One response, in stretches with what was marked of it, and the people who prefer it."""

    name: str
    value: str
    messages: list[tuple[dict[str, str], list[Segment]]]
    voices: list[Voice]
    has_marks: bool


@never_cache
@require_GET
def next_dispute(request: SignedInRequest, slug: str) -> HttpResponse:
    """The most contested pair."""
    dataset = access.dataset_to_curate(request.user, slug)
    return _show(request, dataset, adjudicating.next_dispute(dataset))


@never_cache
@require_GET
def dispute(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    found = access.pair_to_curate(request.user, slug, pair_id)
    return _show(request, found.dataset, found)


@never_cache
@require_GET
def end(request: SignedInRequest, slug: str) -> HttpResponse:
    return _show(request, access.dataset_to_curate(request.user, slug), None)


@require_POST
def resolve(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    found = access.pair_to_curate(request.user, slug, pair_id)
    form = ResolutionForm(request.POST)
    if not form.is_valid():
        raise Refusal("Choose A better, B better, tie or drop.")
    following = _following(request, found)
    try:
        decision = adjudicating.resolve(pair=found, by=request.user, **form.cleaned_data)
    except Conflict as conflict:
        found.refresh_from_db()
        return _show(request, found.dataset, found, conflict=conflict)
    _trail(request, found.dataset).leave(found, decision)
    return _go_to(request, found.dataset, following)


@require_POST
def skip(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """Leave the dispute open and go on; it comes again when the queue is begun anew."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    _trail(request, found.dataset).leave(found, None)
    return _go_to(request, found.dataset, _following(request, found))


@require_POST
def undo(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take the user's last step back and show its pair again."""
    dataset = access.dataset_to_curate(request.user, slug)
    step = _trail(request, dataset).go_back()
    if step is None:
        raise Refusal(
            "There is nothing to undo: you have not settled a dispute of this dataset since you "
            "signed in."
        )
    pair_id, decision_id = step
    found = access.pair_to_curate(request.user, slug, pair_id)
    if decision_id is not None:
        try:
            decisions.undo(decision=Decision.objects.get(pk=decision_id), by=request.user)
        except Conflict as conflict:
            return _show(request, dataset, found, conflict=conflict)
        found.refresh_from_db()
    return _go_to(request, dataset, found)


def _following(request: SignedInRequest, found: PreferencePair) -> PreferencePair | None:
    """The dispute after this one, from where the user saw it in the queue."""
    form = PlaceForm(request.POST)
    place = form.cleaned_data["place"] if form.is_valid() else None
    return adjudicating.next_dispute(found.dataset, after=found, place=place)


def _go_to(
    request: SignedInRequest, dataset: Dataset, found: PreferencePair | None
) -> HttpResponse:
    """The pair in place of the one before it; for a browser without scripts, the page of the
    pair."""
    url = (
        reverse("annotations:dispute", args=[dataset.slug, found.pk])
        if found
        else reverse("annotations:disputes-end", args=[dataset.slug])
    )
    if not wants_fragment(request):
        return redirect(url)
    return push_url(_show(request, dataset, found), url)


def _show(
    request: SignedInRequest,
    dataset: Dataset,
    found: PreferencePair | None,
    *,
    conflict: Conflict | None = None,
) -> HttpResponse:
    """The pair as it stands now; after a conflict with the sentence that says what happened."""
    context: dict[str, Any] = {
        "dataset": dataset,
        "queue": adjudicating.state(dataset),
        "can_undo": bool(_trail(request, dataset)),
        "conflict": conflict,
    }
    if found is not None:
        found.dataset = dataset
        context |= _pair_context(found) | beside.beside(found)
        context["place"] = adjudicating.place_of(found, is_asked=bool(context["awaited"]))
    name = "_dispute" if wants_fragment(request) else "disputes"
    status = conflict.status if conflict else 200
    return render(request, f"annotations/{name}.html", context, status=status)


def _pair_context(found: PreferencePair) -> dict[str, Any]:
    """All that the page shows of one pair."""
    seen = adjudicating.said_of(found)  # first: what comes in between is not seen
    labels = adjudicating.labels_of(found)
    people = [label for label in labels if label.annotator.kind == Annotator.Kind.HUMAN]
    voices = _voices(people)
    segments = _segments(found, people)
    responses = {"a": found.response_a, "b": found.response_b}
    return {
        "pair": found,
        "seen": seen,
        "sides": [
            Side(
                name=value.upper(),
                value=value,
                messages=list(zip(responses[value], segments[value], strict=True)),
                voices=[voice for voice in voices if voice.label.preference == value],
                has_marks=any(
                    part.mark or part.differs for parts in segments[value] for part in parts
                ),
            )
            for value in ("a", "b")
        ],
        "neither": [voice for voice in voices if voice.label.preference in UNDECIDED],
        "others": [label for label in labels if label.annotator.kind != Annotator.Kind.HUMAN],
        "earlier_turns": found.prompt[:-1],
        "last_turn": found.prompt[-1],
        "is_open": not found.standing.verdict
        and bool(found.standing.people_a and found.standing.people_b),
        "latest": decisions.latest_decision(found),
        "history": found.decisions.order_by("-pk"),
        "preference": decisions.resulting_preference(
            found.source_preference, found.standing.verdict
        )
        if found.standing.verdict
        else "",
    }


def _voices(people: Sequence[Label]) -> list[Voice]:
    """Every person's answer, with the one to the repeated pair beside it."""
    again = {label.annotator_id: label for label in people if label.occasion == Occasion.REPEAT}
    return [
        Voice(label, again.get(label.annotator_id))
        for label in people
        if label.occasion == Occasion.WORK
    ]


def _segments(found: PreferencePair, people: Sequence[Label]) -> dict[str, list[list[Segment]]]:
    """The messages of both responses in stretches: what people marked, and where they differ."""
    diff = None
    if len(found.response_a) == len(found.response_b) == 1:
        diff = compare.word_diff(found.response_a[0]["content"], found.response_b[0]["content"])
    differing = dict(zip("ab", diff, strict=True)) if diff else {}
    return {
        side: adjudicating.marked(messages, people, side, differing.get(side))
        for side, messages in (("a", found.response_a), ("b", found.response_b))
    }


def _trail(request: SignedInRequest, dataset: Dataset) -> Trail:
    return Trail(request, f"disputes-trail-{dataset.pk}")
