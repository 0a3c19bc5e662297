"""Review: one pair at a time, decide by key, undo, go on."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import push_url

from annotations import access, compare, decisions, queue
from annotations.forms import DecisionForm
from annotations.models import Annotator, Dataset, Decision, Label, PreferencePair, Verdict
from annotations.views import beside
from annotations.views.trails import Trail
from curator.lib.refusals import Conflict, Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import reports
from scoring.evidence import Evidence, evidence_for
from scoring.models import Flag, ScoringRun


@dataclass(frozen=True)
class Side:
    """One response, and who prefers it."""

    name: str
    value: str
    messages: list[dict[str, str]]
    diff: list[compare.Segment] | None
    labels: list[Label]
    evidence: Evidence | None

    @property
    def preferred_by(self) -> list[str]:
        """Who prefers this response: “5 of 5 models”, “2 people”, “1 AI judge”."""
        models = self.evidence.preferring(self.value) if self.evidence else 0
        asked = [f"{models} of {self.evidence.asked} models"] if self.evidence and models else []
        kinds = Counter(
            label.annotator.kind for label in self.labels if label.preference == self.value
        )
        kinds.pop(Annotator.Kind.SOURCE, None)  # its word is the label itself
        return asked + [_counted(kinds[kind], kind) for kind in Annotator.Kind if kind in kinds]


@never_cache
@require_GET
def next_pair(request: SignedInRequest, slug: str) -> HttpResponse:
    """The most urgent pair of the queue."""
    dataset = access.dataset_to_curate(request.user, slug)
    return _show(request, dataset, queue.next_pair(dataset))


@never_cache
@require_GET
def pair(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    found = access.pair_to_curate(request.user, slug, pair_id)
    return _show(request, found.dataset, found)


@never_cache
@require_GET
def evidence(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """What the models say of the pair, as a part of other pages."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    run = ScoringRun.objects.current(found.dataset)
    context = {"dataset": found.dataset, "pair": found, "evidence": evidence_for(found, run)}
    return render(request, "scoring/_evidence.html", context)


@require_POST
def decide(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    found = access.pair_to_curate(request.user, slug, pair_id)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        raise Refusal("Choose keep, flip, tie or drop.")
    seen = evidence_for(found, ScoringRun.objects.current(found.dataset))
    try:
        decision = decisions.decide(
            pair=found,
            verdict=Verdict(form.cleaned_data["verdict"]),
            by=request.user,
            based_on=form.cleaned_data["based_on"],
            reason=form.cleaned_data["reason"],
            evidence=seen.as_dict() if seen else None,
        )
    except Conflict as conflict:
        found.refresh_from_db()
        return _show(request, found.dataset, found, conflict=conflict)
    _trail(request, found.dataset).leave(found, decision)
    return _go_to(request, found.dataset, queue.next_pair(found.dataset, after=found))


@require_POST
def skip(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """Leave the pair undecided and go on; it comes again when the queue is begun anew."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    _trail(request, found.dataset).leave(found, None)
    return _go_to(request, found.dataset, queue.next_pair(found.dataset, after=found))


@require_POST
def undo(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take the user's last step back and show its pair again."""
    dataset = access.dataset_to_curate(request.user, slug)
    step = _trail(request, dataset).go_back()
    if step is None:
        raise Refusal(
            "There is nothing to undo: you have not decided a pair of this dataset since you "
            "signed in."
        )
    pair_id, decision_id = step
    found = access.pair_to_curate(request.user, slug, pair_id)
    if decision_id is not None:
        decision = Decision.objects.get(pk=decision_id, pair=found)
        try:
            decisions.undo(decision=decision, by=request.user)
        except Conflict as conflict:
            return _show(request, dataset, found, conflict=conflict)
        found.refresh_from_db()
    return _go_to(request, dataset, found)


def _go_to(
    request: SignedInRequest, dataset: Dataset, found: PreferencePair | None
) -> HttpResponse:
    """The pair in place of the one before it; for a browser without scripts, the page of the
    pair."""
    url = (
        reverse("scoring:pair", args=[dataset.slug, found.pk])
        if found
        else reverse("scoring:review-end", args=[dataset.slug])
    )
    if not wants_fragment(request):
        return redirect(url)
    return push_url(_show(request, dataset, found), url)


@never_cache
@require_GET
def end(request: SignedInRequest, slug: str) -> HttpResponse:
    return _show(request, access.dataset_to_curate(request.user, slug), None)


def _show(
    request: SignedInRequest,
    dataset: Dataset,
    found: PreferencePair | None,
    *,
    conflict: Conflict | None = None,
) -> HttpResponse:
    """The pair as it stands now; after a conflict with the sentence that says what happened."""
    run = ScoringRun.objects.current(dataset)
    context: dict[str, Any] = {
        "dataset": dataset,
        "run": run,
        "queue": queue.state(dataset),
        "precision": reports.flag_precision(run, Flag.FLIPPED) if run else None,
        "can_undo": bool(_trail(request, dataset)),
        "conflict": conflict,
    }
    if found is None:
        context["has_pairs"] = dataset.pairs.exists()
    if found is not None:
        context |= _pair_context(found, run) | beside.beside(found)
    template = "scoring/_review.html" if wants_fragment(request) else "scoring/review.html"
    return render(request, template, context, status=conflict.status if conflict else 200)


def _pair_context(found: PreferencePair, run: ScoringRun | None) -> dict[str, Any]:
    """All that the page shows of one pair."""
    diff = None
    if len(found.response_a) == len(found.response_b) == 1:
        diff = compare.word_diff(found.response_a[0]["content"], found.response_b[0]["content"])
    seen = evidence_for(found, run)
    current = Label.objects.current().filter(pair=found).select_related("annotator__user")
    labels = list(current.order_by("annotator__kind", "pk"))
    return {
        "pair": found,
        "sides": [
            Side("A", "a", found.response_a, diff[0] if diff else None, labels, seen),
            Side("B", "b", found.response_b, diff[1] if diff else None, labels, seen),
        ],
        "has_diff": diff is not None,
        "earlier_turns": found.prompt[:-1],
        "last_turn": found.prompt[-1],
        "evidence": seen,
        "latest": decisions.latest_decision(found),
        "history": found.decisions.order_by("-pk"),
        "labels": labels,
        "preference": decisions.resulting_preference(
            found.source_preference, found.standing.verdict
        ),
    }


def _counted(count: int, kind: Annotator.Kind) -> str:
    several = {Annotator.Kind.HUMAN: "people", Annotator.Kind.AI: "AI judges"}.get(kind, kind.label)
    return f"{count} {kind.label if count == 1 else several}"


def _trail(request: SignedInRequest, dataset: Dataset) -> Trail:
    return Trail(request, f"review-trail-{dataset.pk}")
