"""What the labels of a dataset are worth: a page for the team, and one for each annotator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotations import access, drawings, histories, permissions, teams
from annotations.forms import SliceForm
from annotations.models import Annotator, Dataset, Role
from annotations.quality import HABITS, Figures
from annotations.teams import Day
from curator.requests import SignedInRequest

MOST_OUTSTANDING = 8
MOST_ROWS = 30


@dataclass(frozen=True)
class Column:
    """A column by which the table of annotators is sorted."""

    name: str
    title: str
    explanation: str
    is_sorted: bool
    is_descending: bool
    asks_for: str  # the value of `sort` that a click on its head asks for

    @property
    def is_number(self) -> bool:
        return self.name in ("labels", "week", "seconds")

    @property
    def aria_sort(self) -> str:
        if not self.is_sorted:
            return "none"
        return "descending" if self.is_descending else "ascending"


PLAIN_COLUMNS = (
    ("name", "Annotator", ""),
    ("labels", "Labels", "that hold now, of these pairs"),
    ("week", "7 days", "labels given in the last seven days, of all pairs"),
    ("seconds", "Seconds", "median time on a pair"),
)
SORTS: dict[str, Callable[[Figures], Any]] = {
    "name": lambda of: of.voter.shown_name.casefold(),
    "labels": lambda of: of.labels,
    "week": lambda of: of.tally.last_week,
    "seconds": lambda of: of.seconds,
}


@never_cache
@require_GET
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    """How far annotators agree, and how each of them answers, in a slice of the dataset."""
    dataset = access.dataset_to_curate(request.user, slug)
    form = SliceForm(dataset, request.GET)
    kept = teams.figures_of(dataset, form.slice())
    team = kept.found
    sort = request.GET.get("sort", "-labels")
    rows = ordered(team.annotators, sort)
    context = {
        "dataset": dataset,
        "form": form,
        "kept": kept,
        "team": team,
        "columns": columns(sort),
        "annotators": rows if request.GET.get("all") else rows[:MOST_ROWS],
        "more_annotators": max(len(rows) - MOST_ROWS, 0),
        "outstanding": team.outstanding[:MOST_OUTSTANDING],
        "more_outstanding": max(len(team.outstanding) - MOST_OUTSTANDING, 0),
        "bars": bars_of(team.days),
        "question": form.question,
    }
    return render(request, "annotations/team.html", context)


@never_cache
@require_GET
def annotator(request: SignedInRequest, slug: str, annotator_id: int) -> HttpResponse:
    """One annotator's figures over time. They see their own, without anything that would tell them
    what others say or what is right."""
    found = access.annotator_to_see(request.user, slug, annotator_id)
    if not permissions.can_curate(request.user, found.dataset):
        return _own(request, found.dataset, found)
    team = teams.figures_of(found.dataset, teams.Slice(voters=voters_with(found))).found
    history = histories.of(found, with_others=True)
    context = {
        "dataset": found.dataset,
        "annotator": found,
        "member": found.dataset.memberships.filter(user=found.user_id).first(),
        "figures": team.of(found.pk),
        "team": team,
        "charts": history.charts,
        "history": history,
        "bars": bars_of(teams.by_day(found.dataset, annotator=found)),
        "last_labels": histories.last_labels(found),
    }
    return render(request, "annotations/annotator.html", context)


@never_cache
@require_GET
def own(request: SignedInRequest, slug: str) -> HttpResponse:
    """The way to one's own figures, also for who has none yet."""
    dataset = access.dataset(request.user, slug)
    found = Annotator.objects.filter(dataset=dataset, user=request.user).first()
    if found is not None:
        return redirect("annotations:annotator", slug, found.pk)
    return _own(request, dataset, None)


def _own(request: SignedInRequest, dataset: Dataset, found: Annotator | None) -> HttpResponse:
    context: dict[str, Any] = {"dataset": dataset, "role": Role.ANNOTATOR}
    if found is not None:
        history = histories.of(found, with_others=False)
        context |= {
            "annotator": found,
            "history": history,
            "charts": history.charts,
            "bars": bars_of(teams.by_day(dataset, annotator=found)),
        }
    return render(request, "annotations/own_figures.html", context)


def voters_with(found: Annotator) -> str:
    """Whose labels this annotator's are seen among: people are seen among people."""
    kinds = {Annotator.Kind.HUMAN: "people", Annotator.Kind.AI: "ai"}
    return kinds.get(Annotator.Kind(found.kind), "all")


def columns(sort: str) -> list[Column]:
    """The columns of the table, the one that it is sorted by marked; a second click turns it."""
    name, is_descending = sort.removeprefix("-"), sort.startswith("-")
    heads = (
        *PLAIN_COLUMNS[:3],
        *((of.name, of.title, f"{of.explanation}; {of.fairness}") for of in HABITS),
        *PLAIN_COLUMNS[3:],
    )
    return [
        Column(
            *head,
            is_sorted=head[0] == name,
            is_descending=is_descending,
            asks_for=head[0] if head[0] == name and is_descending else f"-{head[0]}",
        )
        for head in heads
    ]


def ordered(annotators: list[Figures], sort: str) -> list[Figures]:
    """The annotators by a column; who has no figure in it comes last either way."""
    name, is_descending = sort.removeprefix("-"), sort.startswith("-")
    key = SORTS.get(name) or _share_key(name)
    with_figure = [of for of in annotators if key(of) is not None]
    without = [of for of in annotators if key(of) is None]
    return sorted(with_figure, key=key, reverse=is_descending) + without


def _share_key(name: str) -> Callable[[Figures], Any]:
    if name not in {habit.name for habit in HABITS}:
        name = "accuracy"  # whatever an address says that is not ours

    def key(of: Figures) -> float | None:
        share = getattr(of, name)
        return share.estimate.estimate if share.estimate else None

    return key


def bars_of(days: list[Day]) -> drawings.Bars:
    return drawings.bars([(day.day, day.labels) for day in days])
