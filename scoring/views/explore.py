"""The list of a dataset's pairs under a filter."""

from dataclasses import replace
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotations import access
from curator.requests import SignedInRequest, wants_fragment
from scoring import exploring
from scoring.forms import ExploreForm
from scoring.models import ScoringRun


@require_GET
def pairs(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    run = ScoringRun.objects.current(dataset)
    form = ExploreForm(request.GET)
    filters = form.filters()
    cursor = request.GET.get("after", "")
    try:
        page = exploring.page(dataset, run, filters, cursor)
    except exploring.BadCursor as error:
        raise Http404("no such page") from error
    context: dict[str, Any] = {
        "dataset": dataset,
        "run": run,
        "form": form,
        "filters": filters,
        "page": page,
        "cursor": cursor,
    }
    if wants_fragment(request) and cursor:
        return render(request, "scoring/_pair_rows.html", context)
    context["most_counted"] = exploring.MOST_COUNTED if filters.text else None
    context["count"] = exploring.count(dataset, run, filters)
    context["dataset_has_pairs"] = bool(context["count"]) or dataset.pairs.exists()
    if run is not None and not filters.flag and not filters.text:
        for name in (exploring.UNFLAGGED, exploring.UNSCORED):
            context[name] = exploring.count(dataset, run, replace(filters, flag=name))
    template = "scoring/_pairs.html" if wants_fragment(request) else "scoring/pairs.html"
    return render(request, template, context)
