"""The datasets of the user, and the overview of one."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotations import access, permissions
from annotations.models import Dataset
from annotations.views import labelling
from curator import presence
from curator.requests import SignedInRequest
from scoring import figures, reports
from scoring.models import Flag


@require_GET
def index(request: SignedInRequest) -> HttpResponse:
    cards = []
    for dataset in Dataset.objects.visible_to(request.user).order_by("name", "pk"):
        curates = permissions.can_curate(request.user, dataset)
        cards.append(
            {"dataset": dataset, "standing": reports.standing(dataset) if curates else None}
        )
    can_create = permissions.can_create_datasets(request.user)
    return render(request, "scoring/datasets.html", {"cards": cards, "can_create": can_create})


@require_GET
def overview(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset(request.user, slug)
    if not permissions.can_curate(request.user, dataset):
        return labelling.home(request, dataset)
    standing = reports.standing(dataset)
    run = standing.run
    context = {"dataset": dataset, "standing": standing, "run": run, "flags": Flag}
    if run is not None and "histogram" in run.summary:
        context["figures"] = {
            "histogram": figures.strength_histogram(run.summary),
            "map": figures.strength_spread_map(run.summary),
        }
        context["precision"] = reports.flag_precision(run, Flag.FLIPPED)
    context["open_runs"] = dataset.scoring_runs.filter(status__in=["queued", "running"])
    context["scorer_alive"] = bool(presence.alive("scoring"))
    return render(request, "scoring/overview.html", context)
