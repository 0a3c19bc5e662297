"""How far annotators agree on a part of a dataset, and what their labels come to with and without
the models."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotations import access, exploring, filters, teams
from annotations.filters import Filter
from annotations.forms import SliceForm
from annotations.models import Dataset, PreferencePair
from curator.requests import SignedInRequest
from scoring import consensus
from scoring.consensus import Consensus, Differing
from scoring.forms import FilterForm
from scoring.models import ScoringRun

MOST_VOICES = 12


@never_cache
@require_GET
def page(request: SignedInRequest, slug: str) -> HttpResponse:
    """Agreement and consensus on the pairs that pass the filter of the list of pairs."""
    dataset = access.dataset_to_curate(request.user, slug)
    context = _context(request, dataset)
    wanted, run = context["wanted"], context["run"]
    context["kept_team"] = teams.figures_of(
        dataset,
        context["part"],
        pair_ids=_pair_ids(dataset, wanted),
        asked=_asked(wanted, run),
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
    part, wanted = form.slice(), filters.from_query(request.GET)
    run = ScoringRun.objects.current(dataset)
    kept = consensus.of(
        dataset,
        part,
        run,
        pair_ids=_pair_ids(dataset, wanted),
        asked=_asked(wanted, run),
    )
    return {
        "dataset": dataset,
        "form": form,
        "explore": FilterForm(wanted),
        "part": part,
        "wanted": wanted,
        "run": run,
        "kept": kept,
        "consensus": kept.found,
        "voices": kept.found.voices[:MOST_VOICES],
        "more_voices": kept.found.voices[MOST_VOICES:],
        "differing": _with_pairs(dataset, kept.found),
    }


def _pair_ids(dataset: Dataset, wanted: Filter) -> Any:
    """How to find the pairs that the filter asks for; None where it asks for none in particular."""
    return None if wanted.is_empty else lambda: exploring.pair_ids(dataset, wanted)


def _asked(wanted: Filter, run: ScoringRun | None) -> str:
    return f"{wanted.as_query()}-{run.pk if run else None}"


def _with_pairs(dataset: Dataset, found: Consensus) -> list[tuple[Differing, PreferencePair]]:
    """The pairs on which the best consensus there is contradicts the source."""
    differing = found.ways[-1].differing
    pairs = dataset.pairs.in_bulk([row.pair_id for row in differing])
    return [(row, pairs[row.pair_id]) for row in differing if row.pair_id in pairs]
