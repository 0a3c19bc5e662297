"""Have a slice of a dataset labelled: choose the pairs as on the list of pairs, say by whom."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from annotations import access, exploring, filters
from annotations.filters import Filter
from annotations.models import Dataset
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import launch, routing
from scoring.forms import FilterForm, RoundForm
from scoring.models import ScoringRun


@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """A round of the pairs that the address's filter finds, as the list of pairs has it."""
    dataset = access.dataset_to_curate(request.user, slug)
    wanted = filters.from_query(request.POST if request.method == "POST" else request.GET)
    form = RoundForm(dataset, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and not wanted.problems:
        try:
            row = launch.start_round(
                dataset=dataset, by=request.user, filters=wanted, **form.values()
            )
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"“{row.name}” is open.")
            return redirect("annotations:labelling", slug)
    context = {"dataset": dataset, "form": form, **_found(dataset, wanted)}
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


def _found(dataset: Dataset, wanted: Filter) -> dict[str, Any]:
    """The filter, to be changed, and how many pairs it finds."""
    run = ScoringRun.objects.current(dataset)
    return {
        "chosen": FilterForm(wanted),
        "wanted": wanted,
        "run": run,
        "count": exploring.count(dataset, wanted),
        "most_counted": exploring.MOST_COUNTED,
        "needs_scores": run is None and routing.asks_scores(wanted),
    }
