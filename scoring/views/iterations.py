"""Pseudo-labels: rounds in which an ensemble labels what it is sure of and learns from it."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access
from annotations.models import Dataset
from curator import presence
from curator.lib import work
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import access as scoring_access
from scoring import iterating
from scoring.training_forms import IterationForm


@never_cache
@require_http_methods(["GET", "POST"])
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    """All iterations with their rounds, and the form that begins another."""
    dataset = access.dataset_to_curate(request.user, slug)
    form = IterationForm(dataset, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            iterating.start(dataset=dataset, by=request.user, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("scoring:iterations", slug)
    if wants_fragment(request) and not form.is_bound:
        if not dataset.iterations.filter(status__in=work.OPEN).exists():
            return HttpResponseClientRefresh()
        return render(request, "scoring/_iterations.html", _shown(dataset))
    context = {
        **_shown(dataset),
        "form": form,
        "unlabelled": iterating.unlabelled(dataset).count(),
    }
    return render(request, "scoring/iterations.html", context, status=422 if form.is_bound else 200)


@require_POST
def cancel(request: SignedInRequest, slug: str, iteration_id: int) -> HttpResponse:
    row = scoring_access.iteration_to_watch(request.user, slug, iteration_id)
    if not iterating.cancel(row, by=request.user):
        raise Refusal("Only an iteration that is at work can be cancelled.")
    return redirect("scoring:iterations", slug)


@require_POST
def again(request: SignedInRequest, slug: str, iteration_id: int) -> HttpResponse:
    row = scoring_access.iteration_to_watch(request.user, slug, iteration_id)
    iterating.start_again(row, by=request.user)
    return redirect("scoring:iterations", slug)


def _shown(dataset: Dataset) -> dict[str, object]:
    rows = dataset.iterations.select_related("created_by")
    iterations = list(rows.prefetch_related("rounds__ensemble", "rounds__run", "rounds__batch"))
    return {
        "dataset": dataset,
        "iterations": iterations,
        "any_open": any(not row.is_over for row in iterations),
        "scorer_alive": bool(presence.alive("scoring")),
    }
