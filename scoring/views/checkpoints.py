"""Registered models: list, register, watch, test again."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from curator import presence
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import access, launch, reports
from scoring.forms import CheckpointForm


@require_http_methods(["GET", "POST"])
def index(request: SignedInRequest) -> HttpResponse:
    """The registered models, and the form that registers another."""
    found = access.checkpoints(request.user)
    form = CheckpointForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            checkpoint = launch.start_registration(by=request.user, **form.cleaned_data)
        except Refusal as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("scoring:model", checkpoint.name)
    context = {
        "form": form,
        "rows": [reports.registered(checkpoint) for checkpoint in found],
        "scorer_alive": bool(presence.alive("scoring")),
    }
    return render(request, "scoring/models.html", context, status=422 if form.is_bound else 200)


@require_GET
def detail(request: SignedInRequest, model: str) -> HttpResponse:
    checkpoint = access.checkpoint_to_watch(request.user, model)
    context = {
        "checkpoint": checkpoint,
        "registered": reports.registered(checkpoint),
        "scorer_alive": bool(presence.alive("scoring")),
    }
    if not wants_fragment(request):
        context["ensembles"] = access.ensembles_with(request.user, checkpoint)
        return render(request, "scoring/model.html", context)
    if checkpoint.is_over:
        return HttpResponseClientRefresh()
    return render(request, "scoring/_model_state.html", context)


@require_POST
def test_again(request: SignedInRequest, model: str) -> HttpResponse:
    launch.test_again(access.checkpoint_to_watch(request.user, model), by=request.user)
    return redirect("scoring:model", model)
