"""Have a slice of a dataset labelled: choose the pairs as on the list of pairs, say by whom."""

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from annotations import access
from annotations.models import Dataset
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import exploring, launch
from scoring.exploring import Filters
from scoring.forms import ExploreForm, RoundForm
from scoring.models import ScoringRun


@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """A round of the pairs that the address's filter finds, as the list of pairs has it."""
    dataset = access.dataset_to_curate(request.user, slug)
    chosen = ExploreForm(request.POST if request.method == "POST" else request.GET)
    filters = chosen.filters()
    form = RoundForm(dataset, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and not chosen.errors:
        try:
            row = launch.start_round(
                dataset=dataset, by=request.user, filters=filters, **form.values()
            )
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"“{row.name}” is open.")
            return redirect("annotations:labelling", slug)
    context = {"dataset": dataset, "chosen": chosen, "form": form, **_found(dataset, filters)}
    if wants_fragment(request):
        return render(request, "scoring/_round_pairs.html", context)
    status = 422 if request.method == "POST" else 200
    return render(request, "scoring/round_new.html", context, status=status)


@require_POST
def fill_again(request: SignedInRequest, slug: str, round_id: int) -> HttpResponse:
    """Add the pairs that pass the round's filter by now."""
    found = access.round_to_manage(request.user, slug, round_id)
    launch.fill_again(found, by=request.user)
    return redirect("annotations:labelling", slug)


def _found(dataset: Dataset, filters: Filters) -> dict[str, Any]:
    """How many pairs the filter finds, counted as the round will take them."""
    run = ScoringRun.objects.current(dataset)
    asks_scores = filters.flag or filters.strength_from is not None
    asks_scores = asks_scores or filters.strength_to is not None
    if run is not None and not asks_scores:  # also what was not scored, and ties
        count = exploring.count(dataset, None, replace(filters, flag=""))
    else:
        count = exploring.count(dataset, run, filters)
    return {
        "run": run,
        "count": count,
        "most_counted": exploring.MOST_COUNTED if filters.text else None,
        "needs_scores": run is None and bool(asks_scores),
    }
