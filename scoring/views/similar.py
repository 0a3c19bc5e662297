"""The pairs beside a pair: those of its prompt, with what contradicts it, and those like it."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotations import access, decisions, same_prompt
from annotations.models import PreferencePair
from curator.requests import SignedInRequest, wants_fragment
from scoring.similar import similar_pairs

COUNT = 8


@require_GET
def similar(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """Eight similar pairs, with `?decided=1` only decided ones; as a part of other pages."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    decided_only = request.GET.get("decided") == "1"
    beside = same_prompt.of(found)
    near = similar_pairs(found, count=COUNT, decided_only=decided_only, of_same_prompt=False)
    context = {
        "dataset": found.dataset,
        "pair": found,
        "beside": beside,
        "others": [(each, _label_that_holds(each)) for each in beside.others],
        "similar": [(each, _label_that_holds(each.pair)) for each in near],
        "decided_only": decided_only,
    }
    template = "scoring/_similar.html" if wants_fragment(request) else "scoring/similar.html"
    return render(request, template, context)


def _label_that_holds(pair: PreferencePair) -> str:
    """`A`, `B`, `tie`, or empty where no label holds."""
    holds = decisions.resulting_preference(pair.source_preference, pair.standing.verdict)
    return holds.upper() if holds in ("a", "b") else holds
