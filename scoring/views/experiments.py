"""Experiments: arms that are trained alike but for their labels or recipe, and what came of it."""

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access
from annotations.models import Dataset
from curator import presence
from curator.lib import uploads
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import access as scoring_access
from scoring import recipe_book, training_figures
from scoring.experiments import launching, showing, shown, trusted
from scoring.models import Arm, Experiment
from scoring.training_forms import SNAPSHOT, ExperimentForm, arms_sent

START = "start"


@never_cache
@require_GET
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    rows = dataset.experiments.defer("truths").select_related("created_by")
    context = {
        "dataset": dataset,
        "experiments": rows.prefetch_related("arms"),
        "snapshot": dataset.snapshots.first(),
    }
    return render(request, "scoring/experiments.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of an experiment; its buttons add and remove arms, or start it."""
    dataset = access.dataset_to_curate(request.user, slug)
    if request.method == "GET":
        form = ExperimentForm(
            dataset,
            request.user,
            arms=_usual_arms(dataset, request),
            initial={"name": _unused_name(dataset)},
        )
        return _form(request, dataset, form)
    button = request.POST.get("do", START)
    if button != START:
        sent = {name: request.POST.get(name) for name in ExperimentForm.base_fields}
        arms = arms_sent(request.POST, button)
        return _form(
            request, dataset, ExperimentForm(dataset, request.user, arms=arms, initial=sent)
        )
    form = ExperimentForm(dataset, request.user, request.POST, request.FILES)
    if uploads.is_too_large(request):
        form.add_error("truth", f"The file is larger than {uploads.largest_shown()}.")
    if form.is_complete:
        try:
            experiment = launching.start(form.design(), by=request.user)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("scoring:experiment", slug, experiment.pk)
    return _form(request, dataset, form, status=422)


@never_cache
@require_GET
def detail(request: SignedInRequest, slug: str, experiment_id: int) -> HttpResponse:
    """The report, which everybody who curates the dataset may read; how far it is, till then."""
    experiment = scoring_access.experiment_to_watch(request.user, slug, experiment_id)
    context: dict[str, Any] = {
        "dataset": experiment.dataset,
        "experiment": experiment,
        "share_done": shown.share_done(experiment),
        "progress": showing.progress(experiment),
        "scorer_alive": experiment.is_over or bool(presence.alive("scoring")),
    }
    if wants_fragment(request):
        if experiment.is_over:
            return HttpResponseClientRefresh()
        return render(request, "scoring/_experiment_state.html", context)
    found = shown.report(experiment)
    context |= {
        "report": found,
        "can_be_retried": showing.can_be_retried(experiment),
        "all_labels": showing.ALL_LABELS,
        "differences": showing.differences(found),
        "bins": showing.bins(found),
    }
    if found["arms"]:
        context["figures"] = {
            **training_figures.experiment_figures(found),
            **training_figures.curves_of_arms(showing.curves(experiment)),
        }
    return render(request, "scoring/experiment.html", context)


@never_cache
@require_GET
def report(request: SignedInRequest, slug: str, experiment_id: int) -> JsonResponse:
    """The report as JSON, as `manage.py experiment --json` prints it."""
    experiment = scoring_access.experiment_to_watch(request.user, slug, experiment_id)
    return JsonResponse(shown.report(experiment), json_dumps_params={"indent": 1})


@require_POST
def cancel(request: SignedInRequest, slug: str, experiment_id: int) -> HttpResponse:
    experiment = scoring_access.experiment_to_watch(request.user, slug, experiment_id)
    launching.cancel(experiment, by=request.user)
    return redirect("scoring:experiment", slug, experiment_id)


@require_POST
def retry(request: SignedInRequest, slug: str, experiment_id: int) -> HttpResponse:
    experiment = scoring_access.experiment_to_watch(request.user, slug, experiment_id)
    launching.start_again(experiment, by=request.user)
    return redirect("scoring:experiment", slug, experiment_id)


def _form(
    request: SignedInRequest, dataset: Dataset, form: ExperimentForm, status: int = 200
) -> HttpResponse:
    context: dict[str, Any] = {"dataset": dataset, "form": form}
    if wants_fragment(request):
        return render(request, "scoring/_experiment_arms.html", context)
    found = trusted.of_people(dataset)
    count = sum(truth != 0 for truth in found.truths.values())
    context |= {
        "trusted": found,
        "trusted_count": count,
        "trusted_ties": len(found.truths) - count,
        "sources": {name: count for name, count in found.sources.items() if count},
        "lacks_trusted": count < trusted.FEWEST_TRUSTED,
        "fewest_trusted": trusted.FEWEST_TRUSTED,
    }
    return render(request, "scoring/experiment_new.html", context, status=status)


def _usual_arms(dataset: Dataset, request: SignedInRequest) -> list[dict[str, str]]:
    """Raw labels first; then the snapshot or the recipe that the address names, else the last
    snapshot, else what is decided now."""
    raw = {"name": "raw labels", "labels": Arm.Labels.SOURCE.value}
    recipe = request.GET.get("recipe", "")
    if recipe in {entry.name for entry in recipe_book.entries(dataset)}:
        return [raw, {"name": recipe, "labels": Arm.Labels.SOURCE.value, "recipe": recipe}]
    wanted = request.GET.get("after", "")
    snapshots = dataset.snapshots.all()
    if wanted.isdecimal() and len(wanted) < 10:
        snapshots = snapshots.filter(number=int(wanted))
    snapshot = snapshots.first()
    if snapshot is None:
        return [raw, {"name": "as decided", "labels": Arm.Labels.NOW.value}]
    name = f"snapshot {snapshot.number}"
    return [raw, {"name": name, "labels": f"{SNAPSHOT}{snapshot.number}"}]


def _unused_name(dataset: Dataset) -> str:
    number = dataset.experiments.count() + 1
    taken = set(Experiment.objects.filter(dataset=dataset).values_list("name", flat=True))
    while f"experiment {number}" in taken:
        number += 1
    return f"experiment {number}"
