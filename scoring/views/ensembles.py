"""Ensembles and runs: train, assemble, score, watch, pause, cancel, try again, audit."""

from typing import Any

from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access
from annotations.models import Dataset
from curator import presence
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import access as scoring_access
from scoring import figures, launch, recipe_book, reports, shards
from scoring.core.recipes import LINEAR
from scoring.evidence_forms import AuditForm
from scoring.forms import AssemblyForm, ComparisonForm, ScoringForm, TrainingForm
from scoring.models import Ensemble, Flag, TrainingRun
from scoring.recipe_book import Entry
from scoring.training_figures import Curve, training_curves
from scoring.views.recipes import telling


@require_http_methods(["GET", "POST"])
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    """The dataset's ensembles and runs, and the forms that train or assemble another."""
    dataset = access.dataset_to_curate(request.user, slug)
    if request.method == "GET":
        return _index(request, dataset)
    form = TrainingForm(dataset, request.POST)
    if form.is_valid():
        try:
            run = launch.start_training(dataset=dataset, by=request.user, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("scoring:ensemble", slug, run.ensemble.name)
    return _index(request, dataset, form=form)


@require_POST
def assemble(request: SignedInRequest, slug: str) -> HttpResponse:
    """Put an ensemble together from registered models and, if chosen, trained heads."""
    dataset = access.dataset_to_curate(request.user, slug)
    form = AssemblyForm(dataset, request.POST, among=scoring_access.checkpoints(request.user))
    if form.is_valid():
        try:
            ensemble = launch.assemble(dataset=dataset, by=request.user, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("scoring:ensemble", slug, ensemble.name)
    return _index(request, dataset, assembly=form)


def _index(
    request: SignedInRequest,
    dataset: Dataset,
    *,
    form: TrainingForm | None = None,
    assembly: AssemblyForm | None = None,
) -> HttpResponse:
    """The page, with a form that was refused in place of its fresh one."""
    ensembles = dataset.ensembles.select_related("training")
    wanted = form.data if form else request.GET
    try:
        entry = recipe_book.entry_called(dataset, wanted.get("recipe") or recipe_book.PLAIN)
    except Refusal:
        entry = recipe_book.entry_called(dataset, recipe_book.PLAIN)
    name = f"heads-{dataset.ensembles.count() + 1}"
    context = {
        "dataset": dataset,
        "form": form or TrainingForm(dataset, initial={"name": name, "recipe": entry.name}),
        **telling(dataset, entry),
        "assembly": assembly
        or AssemblyForm(dataset, among=scoring_access.checkpoints(request.user)),
        "ensembles": ensembles.annotate(registered=Count("members__checkpoint")),
        "runs": dataset.scoring_runs.select_related("ensemble"),
        "scorer_alive": bool(presence.alive("scoring")),
    }
    status = 422 if form or assembly else 200
    return render(request, "scoring/ensembles.html", context, status=status)


@require_GET
def detail(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    ensemble = scoring_access.ensemble_to_use(request.user, slug, name)
    if not wants_fragment(request):
        return _detail(request, ensemble, ScoringForm())
    training = scoring_access.training_to_watch(request.user, slug, name)
    if training.is_over:
        return HttpResponseClientRefresh()
    context = {
        "training": training,
        "scorer_alive": bool(presence.alive("scoring")),
        **_how_it_goes(training),
    }
    return render(request, "scoring/_training_state.html", context)


def _detail(request: SignedInRequest, ensemble: Ensemble, form: ScoringForm) -> HttpResponse:
    """The page of an ensemble that was trained, or of one that was assembled and has no
    training."""
    members = ensemble.members.select_related("checkpoint")
    training = TrainingRun.objects.filter(ensemble=ensemble).first()
    context = {
        "dataset": ensemble.dataset,
        "ensemble": ensemble,
        "training": training,
        **(_how_it_goes(training) if training else {}),
        **_followed(ensemble),
        "members": members,
        "has_registered": any(not member.bag for member in members),
        "mean_accuracy": reports.mean_accuracy(ensemble),
        "can_score": ensemble.is_trained,
        "form": form,
        "scorer_alive": bool(presence.alive("scoring")),
    }
    status = 422 if form.is_bound else 200
    return render(request, "scoring/ensemble.html", context, status=status)


def _how_it_goes(training: TrainingRun) -> dict[str, Any]:
    """The members that are trained one by one, if any, the training's curves, and warnings."""
    rows = list(training.member_trainings.all())
    curves = [Curve(f"member {row.position + 1}", row.curve) for row in rows]
    warnings = [f"Member {row.position + 1}: {said}" for row in rows for said in row.warnings]
    return {
        "member_trainings": rows,
        "figures": training_curves(curves or [Curve("", training.curve)]),
        "warnings": [*training.summary.get("warnings", []), *warnings],
    }


def _followed(ensemble: Ensemble) -> dict[str, Any]:
    """The recipe that the ensemble was trained by, its version, and what it went by; nothing where
    it was given none."""
    if not ensemble.recipe.get("training"):
        return {}
    recipe, dataset = recipe_book.recipe_of(ensemble), ensemble.dataset
    version = ensemble.recipe.get("training_version")
    kept = dataset.recipes.filter(name=recipe.name, version=version).first()
    return {
        "followed": Entry(recipe, kept),
        "recipe_text": recipe_book.as_text(recipe),
        "has_curves": recipe.model.kind != LINEAR,
        "went_by": dataset.scoring_runs.filter(pk=ensemble.recipe.get("run")).first(),
        "learnt_with": dataset.response_sets.filter(pk=ensemble.recipe.get("responses")).first(),
    }


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
        return _detail(request, ensemble, form)
    run = launch.start_scoring(
        ensemble=ensemble,
        by=request.user,
        mode=form.cleaned_data["mode"],
        adaptive=form.cleaned_data["adaptive"],
        options=form.options(),
    )
    return redirect("scoring:run", slug, run.pk)


@require_GET
def run(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    found = scoring_access.run_to_watch(request.user, slug, run_id)
    audits = list(found.audits.all())
    context = {
        "dataset": found.dataset,
        "run": found,
        "progress": reports.progress(found),
        "flags": Flag,
        "audits": audits,
        "scorer_alive": bool(presence.alive("scoring")),
    }
    if wants_fragment(request):
        if found.is_over and all(audit.is_over for audit in audits):
            return HttpResponseClientRefresh()
        return render(request, "scoring/_run_state.html", context)
    if "histogram" in found.summary:
        context["figures"] = {"histogram": figures.strength_histogram(found)}
    context |= {
        "form": AuditForm(),
        "savings": reports.savings(found),
        "options": reports.engine_options(found),
        "comparison": ComparisonForm(found),
    }
    return render(request, "scoring/run.html", context)


@require_POST
def pause_run(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    shards.pause(scoring_access.run_to_watch(request.user, slug, run_id))
    return redirect("scoring:run", slug, run_id)


@require_POST
def resume_run(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    shards.resume(scoring_access.run_to_watch(request.user, slug, run_id))
    return redirect("scoring:run", slug, run_id)


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
        raise Refusal("Plant between 1 % and 49 % of the labels: 10 is usual.")
    launch.start_audit(run=found, by=request.user, share=form.cleaned_data["share"] / 100)
    return redirect("scoring:run", slug, run_id)
