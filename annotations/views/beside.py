"""What curators find beside a pair, on every page that shows one: comments, whom to ask for one
more label, and whether it serves as gold."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from annotations import adjudicating, commenting, decisions, golds, rounds
from annotations.forms import GoldForm, SecondOpinionForm
from annotations.models import PreferencePair
from curator.lib.addresses import local_address


def beside(pair: PreferencePair) -> dict[str, Any]:
    """The context that the fragments of a pair need, for who may curate it."""
    comments = list(commenting.for_curators(pair))
    return {"comments": comments, **asking(pair), **gold_of(pair)}


def asking(pair: PreferencePair) -> dict[str, Any]:
    return {
        "ask_form": SecondOpinionForm(pair),
        "is_anybody_left": rounds.who_can_label(pair).exists(),
        "awaited": adjudicating.awaited_of(pair),
    }


def gold_of(pair: PreferencePair, *, form: GoldForm | None = None) -> dict[str, Any]:
    """What is held for right of the pair, and a form that begins with it, or with what was decided;
    the source's own word is left out, so that it sways nobody."""
    gold = golds.known_of(pair)
    decided = pair.standing.verdict and decisions.resulting_preference(
        pair.source_preference, pair.standing.verdict
    )
    known = {
        "preference": gold.preference if gold else decided,
        "explanation": gold.explanation if gold else "",
        "is_practice": gold.is_practice if gold else False,
    }
    return {"gold": gold, "gold_form": form or GoldForm(initial=known, auto_id="gold_%s")}


def back_to(request: HttpRequest, pair: PreferencePair) -> str:
    """The page that the form came from, where it says so and it is one of ours; else the pair's."""
    given = local_address(request.POST.get("next", ""))
    return given or reverse("scoring:pair", args=[pair.dataset.slug, pair.pk])
