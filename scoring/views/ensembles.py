"""Ensembles and runs: train, score, watch, cancel, try again, audit."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access
from curator import presence
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import access as scoring_access
from scoring import figures, launch, reports, shards
from scoring.forms import AuditForm, ComparisonForm, ScoringForm, TrainingForm
from scoring.models import Flag


@require_http_methods(["GET", "POST"])
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    """The dataset's ensembles and runs, and the form that trains another."""
    dataset = access.dataset_to_curate(request.user, slug)
    name = f"heads-{dataset.ensembles.count() + 1}"
    form = (
        TrainingForm(request.POST)
        if request.method == "POST"
        else TrainingForm(initial={"name": name})
    )
    if form.is_bound and form.is_valid():
        try:
            run = launch.start_training(dataset=dataset, by=request.user, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("scoring:ensemble", slug, run.ensemble.name)
    context = {
        "dataset": dataset,
        "form": form,
        "ensembles": dataset.ensembles.select_related("training"),
        "runs": dataset.scoring_runs.select_related("ensemble"),
        "scorer_alive": bool(presence.alive("scoring")),
    }
    return render(request, "scoring/ensembles.html", context, status=422 if form.is_bound else 200)


@require_GET
def detail(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    training = scoring_access.training_to_watch(request.user, slug, name)
    context = {
        "dataset": training.ensemble.dataset,
        "ensemble": training.ensemble,
        "training": training,
        "members": training.ensemble.members.all(),
        "mean_accuracy": reports.mean_accuracy(training.ensemble),
        "form": ScoringForm(),
        "scorer_alive": bool(presence.alive("scoring")),
    }
    if not wants_fragment(request):
        return render(request, "scoring/ensemble.html", context)
    if training.is_over:
        return HttpResponseClientRefresh()
    return render(request, "scoring/_training_state.html", context)


@require_POST
def cancel_training(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    shards.cancel(scoring_access.training_to_watch(request.user, slug, name))
    return redirect("scoring:ensemble", slug, name)


@require_POST
def retry_training(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    training = scoring_access.training_to_watch(request.user, slug, name)
    launch.start_again(training, by=request.user)
    return redirect("scoring:ensemble", slug, name)


@require_POST
def score(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    ensemble = scoring_access.ensemble_to_use(request.user, slug, name)
    form = ScoringForm(request.POST)
    if not form.is_valid():
        raise Refusal("Choose one of the modes: out-of-bag or in-sample.")
    run = launch.start_scoring(ensemble=ensemble, by=request.user, mode=form.cleaned_data["mode"])
    return redirect("scoring:run", slug, run.pk)


@require_GET
def run(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    found = scoring_access.run_to_watch(request.user, slug, run_id)
    context = {
        "dataset": found.dataset,
        "run": found,
        "flags": Flag,
        "audits": found.audits.all(),
        "form": AuditForm(),
        "scorer_alive": bool(presence.alive("scoring")),
        "members": found.ensemble.members.all(),
    }
    if wants_fragment(request):
        if found.is_over and all(audit.is_over for audit in found.audits.all()):
            return HttpResponseClientRefresh()
        return render(request, "scoring/_run_state.html", context)
    if "histogram" in found.summary:
        context["figures"] = {"histogram": figures.strength_histogram(found.summary)}
    context["comparison"] = ComparisonForm(found)
    return render(request, "scoring/run.html", context)


@require_POST
def cancel_run(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    shards.cancel(scoring_access.run_to_watch(request.user, slug, run_id))
    return redirect("scoring:run", slug, run_id)


@require_POST
def retry_run(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    launch.start_again(scoring_access.run_to_watch(request.user, slug, run_id), by=request.user)
    return redirect("scoring:run", slug, run_id)


@require_POST
def audit(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    found = scoring_access.run_to_watch(request.user, slug, run_id)
    form = AuditForm(request.POST)
    if not form.is_valid():
        raise Refusal("The share of planted flips must be between 1 % and 49 %.")
    launch.start_audit(run=found, by=request.user, share=form.cleaned_data["share"])
    return redirect("scoring:run", slug, run_id)
