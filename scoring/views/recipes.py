"""Recipes and what some of them need: presets and kept versions, an editor that says what a recipe
does, and files of sampled responses."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotations import access
from annotations.models import Dataset
from curator.lib import uploads
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest
from scoring import access as scoring_access
from scoring import launch, recipe_book, responses
from scoring.core import recipe_words
from scoring.core.recipe_presets import PRESETS
from scoring.models import Ensemble, TrainingRecipe
from scoring.recipe_book import Entry
from scoring.training_forms import ResponsesForm

SHOWN_PROBLEMS = 5
NEW_NAME = "{name} 2"
KEEP = "keep"


@never_cache
@require_GET
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    """Presets by group, and the latest version of each recipe that was kept."""
    dataset = access.dataset_to_curate(request.user, slug)
    entries = recipe_book.entries(dataset)
    groups: dict[str, list[Entry]] = {name: [] for name in recipe_words.GROUPS}
    for preset in PRESETS.values():
        groups[recipe_words.group_of(preset)].append(Entry(preset, None))
    context = {
        "dataset": dataset,
        "kept": [entry for entry in entries if entry.row],
        "groups": [
            (name, recipe_words.GROUPS[name], cards) for name, cards in groups.items() if cards
        ],
    }
    return render(request, "scoring/recipes.html", context)


@never_cache
@require_GET
def detail(request: SignedInRequest, slug: str, recipe_id: int) -> HttpResponse:
    """A kept version: what it does, and which ensembles were trained by it."""
    row = scoring_access.recipe_to_read(request.user, slug, recipe_id)
    recipe = recipe_book.read(row)
    context = {
        "dataset": row.dataset,
        "row": row,
        "card": Entry(recipe, row),
        "text": recipe_book.as_text(recipe),
        "versions": recipe_book.versions(row.dataset, row.name),
        "ensembles": _trained_by(row),
    }
    return render(request, "scoring/recipe.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def compose(request: SignedInRequest, slug: str) -> HttpResponse:
    """The editor; what is kept becomes a new version under its name."""
    dataset = access.dataset_to_curate(request.user, slug)
    is_sent = request.method == "POST"
    text = request.POST.get("text", "") if is_sent else _beginning(dataset, request)
    judged = _judged(dataset, text)
    if is_sent and request.POST.get("do") == KEEP and not judged["problems"]:
        recipe = recipe_book.from_text(text)
        row = recipe_book.keep(dataset=dataset, recipe=recipe, by=request.user)
        return redirect("scoring:recipe", slug, row.pk)
    context = {"dataset": dataset, "text": text, **judged}
    status = 422 if is_sent and judged["problems"] else 200
    return render(request, "scoring/recipe_new.html", context, status=status)


@never_cache
@require_POST
def check(request: SignedInRequest, slug: str) -> HttpResponse:
    """What the recipe in the editor does, or what is wrong with it."""
    dataset = access.dataset_to_curate(request.user, slug)
    context = {"dataset": dataset, **_judged(dataset, request.POST.get("text", ""))}
    return render(request, "scoring/_recipe_judged.html", context)


@never_cache
@require_GET
def told(request: SignedInRequest, slug: str) -> HttpResponse:
    """What the recipe that is chosen in a form does and needs, beside the choice."""
    dataset = access.dataset_to_curate(request.user, slug)
    entry = recipe_book.entry_called(dataset, request.GET.get("recipe") or recipe_book.PLAIN)
    context = {"dataset": dataset, **telling(dataset, entry)}
    return render(request, "scoring/_recipe_told.html", context)


def telling(dataset: Dataset, entry: Entry) -> dict[str, Any]:
    """The recipe, the run that it would go by, and why it cannot be followed yet, if so."""
    has_responses = entry.recipe.meta is not None
    found: dict[str, Any] = {"chosen": entry, "goes_by": None, "lacking": ""}
    try:
        found["goes_by"] = launch.check_recipe(
            dataset=dataset,
            recipe=entry.recipe,
            responses=dataset.response_sets.first() if has_responses else None,
        )
    except Refusal as refusal:
        found["lacking"] = str(refusal)
    return found


@never_cache
@require_http_methods(["GET", "POST"])
def sampled(request: SignedInRequest, slug: str) -> HttpResponse:
    """The dataset's sets of sampled responses, and a form that uploads another."""
    dataset = access.dataset_to_curate(request.user, slug)
    is_sent = request.method == "POST"
    form = ResponsesForm(request.POST, request.FILES) if is_sent else ResponsesForm()
    if uploads.is_too_large(request):
        form.add_error("file", f"The file is larger than {uploads.largest_shown()}: split it.")
    elif is_sent and form.is_valid():
        try:
            row, report = responses.store(
                dataset=dataset,
                file=form.cleaned_data["file"],
                name=form.cleaned_data["name"],
                by=request.user,
            )
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            _tell(request, row.name, report)
            return redirect("scoring:responses", slug)
    context = {
        "dataset": dataset,
        "form": form,
        "sets": dataset.response_sets.select_related("created_by"),
        "largest": uploads.largest_shown(),
    }
    return render(request, "scoring/responses.html", context, status=422 if is_sent else 200)


def _tell(request: SignedInRequest, name: str, report: responses.Report) -> None:
    """Say what became of the rows; of those that were refused, the first."""
    messages.success(request, f"{name}: {report.kept:,} of {report.read:,} rows were kept.")
    for problem in report.problems[:SHOWN_PROBLEMS]:
        messages.warning(request, problem)


def _beginning(dataset: Dataset, request: SignedInRequest) -> str:
    """The text that the editor starts with: of a recipe to go on from, else of the plain one."""
    name = request.GET.get("recipe", "")
    try:
        recipe = recipe_book.called(dataset, name)
    except Refusal:
        recipe = PRESETS[recipe_book.PLAIN]
    text = recipe_book.as_text(recipe)
    if recipe_book.is_preset(recipe):  # whose name is better left to it
        text = text.replace(
            f"name: {recipe.name}\n", f"name: {NEW_NAME.format(name=recipe.name)}\n", 1
        )
    return text


def _judged(dataset: Dataset, text: str) -> dict[str, Any]:
    """What the editor says beside the text."""
    problems = recipe_book.problems_in(text)
    if problems:
        return {"problems": problems}
    recipe = recipe_book.from_text(text)
    same = dataset.recipes.filter(name=recipe.name).order_by("-version").first()
    return {
        "problems": [],
        "card": Entry(recipe, None),
        "next_version": same.version + 1 if same else 1,
        "is_as_kept": same is not None and recipe_book.read(same) == recipe,
        "shadows": recipe.name in PRESETS and not recipe_book.is_preset(recipe),
    }


def _trained_by(row: TrainingRecipe) -> list[Ensemble]:
    """The ensembles that followed this version, the latest first."""
    return [
        ensemble
        for ensemble in row.dataset.ensembles.select_related("training")
        if ensemble.recipe.get("training_version") == row.version
        and ensemble.recipe.get("training", {}).get("name") == row.name
    ]
