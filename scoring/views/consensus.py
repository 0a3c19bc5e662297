"""How far annotators agree on a part of a dataset, and what their labels come to with and without
the models."""

from dataclasses import replace
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotations import access, teams
from annotations.forms import SliceForm
from annotations.models import Dataset, PreferencePair
from curator.requests import SignedInRequest
from scoring import consensus, exploring
from scoring.consensus import Consensus, Differing
from scoring.exploring import Filters
from scoring.forms import ExploreForm
from scoring.models import ScoringRun

MOST_VOICES = 12


@never_cache
@require_GET
def page(request: SignedInRequest, slug: str) -> HttpResponse:
    """Agreement and consensus on the pairs that pass the filter of the list of pairs."""
    dataset = access.dataset_to_curate(request.user, slug)
    context = _context(request, dataset)
    filters, run = context["filters"], context["run"]
    context["kept_team"] = teams.figures_of(
        dataset,
        context["part"],
        pair_ids=_pair_ids(dataset, run, filters),
        asked=_asked(filters, run),
    )
    context["team"] = context["kept_team"].found
    return render(request, "scoring/agreement.html", context)


@never_cache
@require_GET
def fragment(request: SignedInRequest, slug: str) -> HttpResponse:
    """The consensus alone, for the page of the team."""
    dataset = access.dataset_to_curate(request.user, slug)
    return render(request, "scoring/_consensus.html", _context(request, dataset))


def _context(request: SignedInRequest, dataset: Dataset) -> dict[str, Any]:
    form = SliceForm(dataset, request.GET)
    explore = ExploreForm(request.GET)
    part, filters = form.slice(), explore.filters()
    run = ScoringRun.objects.current(dataset)
    kept = consensus.of(
        dataset,
        part,
        run,
        pair_ids=_pair_ids(dataset, run, filters),
        asked=_asked(filters, run),
    )
    return {
        "dataset": dataset,
        "form": form,
        "explore": explore,
        "part": part,
        "filters": filters,
        "run": run,
        "kept": kept,
        "consensus": kept.found,
        "voices": kept.found.voices[:MOST_VOICES],
        "more_voices": kept.found.voices[MOST_VOICES:],
        "differing": _with_pairs(dataset, kept.found),
    }


def _pair_ids(dataset: Dataset, run: ScoringRun | None, filters: Filters) -> Any:
    """How to find the pairs that the filter asks for; None where it asks for none in particular."""
    if replace(filters, order="strength") == Filters():
        return None
    return lambda: exploring.pair_ids(dataset, run, filters)


def _asked(filters: Filters, run: ScoringRun | None) -> str:
    return f"{filters}-{run.pk if run else None}"


def _with_pairs(dataset: Dataset, found: Consensus) -> list[tuple[Differing, PreferencePair]]:
    """The pairs on which the best consensus there is contradicts the source."""
    differing = found.ways[-1].differing
    pairs = dataset.pairs.in_bulk([row.pair_id for row in differing])
    return [(row, pairs[row.pair_id]) for row in differing if row.pair_id in pairs]
