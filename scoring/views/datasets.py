"""The datasets of the user, and the overview of one."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotations import access, permissions
from annotations.models import Dataset
from annotations.views import labelling
from curator.requests import SignedInRequest, wants_fragment
from scoring import alerts, figures, leanings, overviews, reports, sampling, topics
from scoring.counting import Counted
from scoring.models import Flag, ScoringRun

SHOWN_ALERTS = 4


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
    """The overview; to annotators, what they are asked. The part that waits for figures asks for
    itself until they are of now."""
    dataset = access.dataset(request.user, slug)
    if not permissions.can_curate(request.user, dataset):
        return labelling.home(request, dataset)
    standing = reports.standing(dataset)
    context: dict[str, Any] = {"dataset": dataset, "standing": standing}
    if wants_fragment(request):
        answer = render(request, "scoring/_freshness.html", {**context, "was_asked": True})
        if request.GET.get("shows") == "nothing" and standing.counted:
            answer["HX-Refresh"] = "true"
        return answer
    found = alerts.alerts_of(standing)
    context |= {
        "run": standing.run,
        "flags": Flag,
        "alerts": found[:SHOWN_ALERTS],
        "more_alerts": found[SHOWN_ALERTS:],
    }
    if standing.counted is not None:
        context |= _counted(standing.counted)
        if standing.run is not None:
            context["topics_state"] = topics.state_of(dataset)
    if standing.run is not None and "histogram" in standing.run.summary:
        context |= _found(standing.run, context.get("sources", []))
        if standing.counted is not None:
            figures_now = standing.counted.figures
            context["labels"] = overviews.before_and_after(figures_now, context["noise"])
    return render(request, "scoring/overview.html", context)


def _counted(counted: Counted) -> dict[str, Any]:
    """What labels and decisions change."""
    slices = overviews.slices_of(counted.figures)
    return {
        "slices": slices,
        "worst": overviews.worst_of(slices),
        "sources": overviews.second_sources(counted.figures),
        "broken": overviews.broken_of(counted.figures),
        "precision": reports.precision_of(counted.figures, Flag.FLIPPED),
    }


def _found(run: ScoringRun, sources: list[overviews.SecondSource]) -> dict[str, Any]:
    """What the run found, as figures and as tables; a run of an earlier release lacks some."""
    charts = {
        "histogram": figures.strength_histogram(run),
        "map": figures.strength_spread_map(run),
    }
    context: dict[str, Any] = {
        "noise": sampling.noise_of(run),
        "bars": overviews.bars_of(run),
        "bands": overviews.bands_of(run),
        "profile": overviews.bands_of(run, "profile"),
        "only": overviews.labels_only(run),
    }
    if run.summary.get("deciles"):
        context["tenths_sentence"] = leanings.tenths_sentence(run)
    if "profile" in run.summary:
        charts["profile"] = figures.spread_profile(run)
        context["spread_sentence"] = leanings.spread_sentence(run)
    if run.summary.get("length"):
        charts["length"] = figures.strength_by_length(run)
        context |= {
            "lengths": leanings.lengths_of(run),
            "length_sentence": leanings.length_sentence(run),
        }
    if run.summary.get("position"):
        context["position_sentence"] = leanings.position_sentence(run)
    if sources:
        charts["agreement"] = figures.agreement_by_strength(sources)
    return {**context, "figures": charts}
