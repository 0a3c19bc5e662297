"""The list of a dataset's pairs under a filter: its pages, what the pairs are like, one of them
beside the list, and their ids as a file."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from annotations import access, exploring, filters, id_files
from annotations.checks import SHOWN
from annotations.decisions import resulting_preference
from annotations.exploring import Page
from annotations.fields import FIELDS, NONE
from annotations.filters import ORDERS, Filter
from annotations.models import Dataset, Label, PreferencePair, SavedView
from annotations.saved_views import LONGEST_NAME
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import topics
from scoring.evidence import evidence_for
from scoring.forms import FilterForm
from scoring.models import ScoringRun

COLUMNS = (  # heading, and its orders: as it is first, and the other way round
    ("Strength", "strength", "-strength"),
    ("Spread", "-spread", "spread"),
    ("Length", "-characters", "characters"),
    ("Decided", "-decided", "decided"),
)


@dataclass(frozen=True)
class Heading:
    """A heading of the table that orders it."""

    name: str
    query: str  # of the list in the order that a click asks for
    explanation: str
    direction: str  # as aria-sort says it; empty where the list is in another order


@dataclass(frozen=True)
class Narrower:
    """One value of a facet: how many pairs have it, and the list of them alone."""

    name: str
    count: int
    query: str
    is_asked: bool


@dataclass(frozen=True)
class ShownFacet:
    name: str
    values: list[Narrower]
    others: int

    def tells_apart(self, pairs: int) -> bool:
        """Whether it says more than that all pairs are alike, or that this was asked for."""
        alike = [value for value in self.values if value.count == pairs and not value.is_asked]
        return bool(self.values) and not (alike and len(self.values) == 1)


class List:
    """The list of a dataset's pairs that an address asks for."""

    def __init__(self, request: SignedInRequest, dataset: Dataset) -> None:
        self.request, self.dataset = request, dataset
        self.wanted: Filter = filters.from_query(request.GET, besides=("after", "view"))
        self.cursor: str = request.GET.get("after", "")

    @cached_property
    def page(self) -> Page:
        try:
            return exploring.page(self.dataset, self.wanted, self.cursor)
        except exploring.BadCursor as error:
            raise Http404("no such page") from error

    @cached_property
    def count(self) -> int:
        """How many pairs there are, as far as they are counted."""
        known = self.page.count
        return exploring.count(self.dataset, self.wanted) if known is None else known

    @cached_property
    def topics(self) -> dict[int, str]:
        return topics.names_of(self.dataset)

    @property
    def view(self) -> SavedView | None:
        """The saved view that the address comes from."""
        view_id = self.request.GET.get("view", "")
        known = self.dataset.views.filter(pk=int(view_id)) if _is_key(view_id) else None
        return known.first() if known is not None else None

    @property
    def headings(self) -> dict[str, Heading]:
        return {name: self._heading(name, *orders) for name, *orders in COLUMNS}

    def _heading(self, name: str, first: str, second: str) -> Heading:
        now = self.wanted.order
        asked = ORDERS[second if now == first else first]
        query = Filter(self.wanted.clauses, asked.name).as_query()
        direction = ""
        if now in (first, second):
            direction = "descending" if ORDERS[now].descending else "ascending"
        return Heading(name, query, asked.shown_name, direction)


@require_GET
def pairs(request: SignedInRequest, slug: str) -> HttpResponse:
    """The list: a page, the rows that follow, or what changes with the filter."""
    dataset = access.dataset_to_curate(request.user, slug)
    if request.GET.keys() == {"view"}:
        return _expanded(request, dataset)
    shown = List(request, dataset)
    context: dict[str, Any] = {"dataset": dataset, "list": shown, "wanted": shown.wanted}
    if wants_fragment(request) and shown.cursor:
        return render(request, "scoring/_pair_rows.html", context)
    context |= {
        "run": ScoringRun.objects.current(dataset),
        "most_counted": exploring.MOST_COUNTED,
        "views": dataset.views.filter(retired_at=None),
        "longest_name": LONGEST_NAME,
        "has_pairs": bool(shown.page.rows) or dataset.pairs.exists(),
        "layouts": list(id_files.CONTENT_TYPES),
    }
    if wants_fragment(request):
        return render(request, "scoring/_pairs.html", context)
    context["form"] = FilterForm(shown.wanted, topics=shown.topics, ordered=True)
    return render(request, "scoring/pairs.html", context)


@require_GET
def facets(request: SignedInRequest, slug: str) -> HttpResponse:
    """What the pairs of the filter are like: a part of the list, or a page where no script
    fetches it."""
    dataset = access.dataset_to_curate(request.user, slug)
    wanted = filters.from_query(request.GET)
    found = exploring.facets(dataset, wanted)
    names = topics.names_of(dataset)
    shown = [_shown(wanted, facet, names) for facet in found.by_field.values()]
    context = {
        "dataset": dataset,
        "wanted": wanted,
        "facets": [facet for facet in shown if facet.tells_apart(found.pairs)],
        "count": found.pairs,
    }
    template = "scoring/_facets.html" if wants_fragment(request) else "scoring/facets.html"
    return render(request, template, context)


@require_GET
def panel(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """One pair beside the list; a page of its own where no script fetches it."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    wanted = filters.from_query(request.GET)
    run = ScoringRun.objects.current(found.dataset)
    labels = Label.objects.current().filter(pair=found).select_related("annotator__user")
    holding = resulting_preference(found.source_preference, found.standing.verdict)
    context = {
        "dataset": found.dataset,
        "pair": found,
        "wanted": wanted,
        "standing": found.standing,
        "sides": [
            ("A", found.response_a, found.source_preference == "a", holding == "a"),
            ("B", found.response_b, found.source_preference == "b", holding == "b"),
        ],
        "earlier_turns": found.prompt[:-1],
        "last_turn": found.prompt[-1],
        "evidence": evidence_for(found, run),
        "labels": labels.order_by("annotator__kind", "pk"),
        "findings": [shown for check, shown in SHOWN.items() if check & found.standing.checks],
        "history": found.decisions.order_by("-pk"),
        "review": _review(found, wanted),
    }
    template = "scoring/_panel.html" if wants_fragment(request) else "scoring/panel.html"
    return render(request, template, context)


@require_GET
def ids(request: SignedInRequest, slug: str, layout: str) -> HttpResponse | StreamingHttpResponse:
    """The ids of all pairs of the filter, as a file."""
    dataset = access.dataset_to_curate(request.user, slug)
    if layout not in id_files.CONTENT_TYPES:
        raise Http404("no such file")
    wanted = filters.from_query(request.GET, besides=("view",))
    if wanted.problems:
        raise Refusal(wanted.problems[0])
    return StreamingHttpResponse(
        id_files.written(dataset, wanted, layout),
        content_type=id_files.CONTENT_TYPES[layout],
        headers={"Content-Disposition": f'attachment; filename="{dataset.slug}-pairs.{layout}"'},
    )


def _expanded(request: SignedInRequest, dataset: Dataset) -> HttpResponse:
    """From the address of a saved view to the list that it stands for."""
    view_id = request.GET["view"]
    view = access.view_to_open(request.user, dataset.slug, int(view_id) if _is_key(view_id) else 0)
    query = filters.from_query(QueryDict(view.query)).as_query(view=view.pk)
    return redirect(f"{reverse('scoring:pairs', args=[dataset.slug])}?{query}")


def _shown(wanted: Filter, facet: exploring.Facet, topics_named: dict[int, str]) -> ShownFacet:
    field = FIELDS[facet.field]
    asked = set(wanted.values_of(facet.field))
    names: dict[Any, str] = {**field.choices, **(topics_named if facet.field == "topic" else {})}
    values = [
        Narrower(
            names.get(value, "not said" if value == NONE else str(value)),
            count,
            exploring.narrowed(wanted, facet.field, value).as_query(),
            asked == {value},
        )
        for value, count in facet.counts.items()
    ]
    return ShownFacet(field.shown_name, values, facet.others)


def _review(found: PreferencePair, wanted: Filter) -> str:
    """Where the pair is reviewed, as one of the list."""
    address = reverse("scoring:pair", args=[found.dataset.slug, found.pk])
    query = wanted.as_query()
    return f"{address}?queue=list{'&' if query else ''}{query}"


def _is_key(text: str) -> bool:
    return text.isdecimal() and len(text) < 19
