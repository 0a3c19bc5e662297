"""Two runs of a dataset side by side, and the way there."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest
from scoring import access, comparing, figures
from scoring.comparing import NotComparable
from scoring.forms import ComparisonForm
from scoring.models import Flag


@require_GET
def choose(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    """From the run that was chosen in the form to the page of both."""
    run = access.run_to_watch(request.user, slug, run_id)
    form = ComparisonForm(run, request.GET)
    if not form.is_valid():
        raise Refusal("Choose another run of this dataset that is done.")
    return redirect("scoring:run-compare", slug, run.pk, form.cleaned_data["with"])


@require_GET
def detail(request: SignedInRequest, slug: str, run_id: int, other_id: int) -> HttpResponse:
    a = access.run_to_watch(request.user, slug, run_id)
    b = access.run_to_watch(request.user, slug, other_id)
    context: dict[str, Any] = {"dataset": a.dataset, "a": a, "b": b, "flags": Flag}
    try:
        compared = comparing.compare(a, b)
    except NotComparable as refusal:
        context["refusal"] = refusal
        return render(request, "scoring/comparison.html", context, status=refusal.status)
    context |= {
        "compared": compared,
        "found": compared.figures,
        "moved": comparing.most_moved(compared),
        "differences": comparing.differences(a, b),
        "figures": {"percentiles": figures.percentile_map(compared)},
    }
    return render(request, "scoring/comparison.html", context)
