"""The snapshots of a dataset: freeze one, with the evidence of the current run."""

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access
from annotations.forms import SnapshotForm
from annotations.models import Dataset, SnapshotRequest, SnapshotTag
from curator import presence
from curator.lib.refusals import Refusal, status_beside_form
from curator.requests import SignedInRequest, wants_fragment
from scoring import freezing, launch
from scoring.models import ScoringRun


@require_http_methods(["GET", "POST"])
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    if wants_fragment(request) and request.method == "GET":
        return _progress(request, dataset)
    form = SnapshotForm(request.POST if request.method == "POST" else None)
    status = 422 if form.errors else 200
    if form.is_bound and form.is_valid():
        try:
            return _freeze(request, dataset, form.cleaned_data["note"])
        except Refusal as refusal:
            status = status_beside_form(refusal)
            form.add_error(None, str(refusal))
    tags = Prefetch("tags", SnapshotTag.objects.filter(retired_at=None), to_attr="current_tags")
    frozen = dataset.snapshots.select_related("created_by").prefetch_related("exports", tags)
    pairs = dataset.standings.count()
    context = {
        "dataset": dataset,
        "form": form,
        "snapshots": frozen,
        "pairs": pairs,
        "decided": dataset.standings.decided().count(),
        "run": ScoringRun.objects.current(dataset),
        "row": _unfinished(dataset),
        "in_background": pairs > freezing.FREEZES_AT_ONCE,
        "worker_alive": bool(presence.alive("default")),
    }
    return render(request, "scoring/snapshots.html", context, status=status)


@require_POST
def write_card(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The card of a snapshot that was frozen before cards were kept."""
    freezing.write_card(access.snapshot_to_export(request.user, slug, number))
    return redirect("annotations:snapshot", slug, number)


def _freeze(request: SignedInRequest, dataset: Dataset, note: str) -> HttpResponse:
    """At once where that is quick, else in the background."""
    if dataset.standings.count() > freezing.FREEZES_AT_ONCE:
        launch.start_snapshot(dataset=dataset, by=request.user, note=note)
        return redirect("scoring:snapshots", dataset.slug)
    latest = dataset.snapshots.first()
    snapshot = freezing.freeze(dataset=dataset, by=request.user, note=note)
    if snapshot == latest:
        messages.info(request, "Nothing has changed since this snapshot, so no other was made.")
    return redirect("annotations:snapshot", dataset.slug, snapshot.number)


def _unfinished(dataset: Dataset) -> SnapshotRequest | None:
    """The last request, unless it led to a snapshot."""
    last = dataset.snapshot_requests.first()
    return None if last is None or last.status == SnapshotRequest.Status.DONE else last


def _progress(request: SignedInRequest, dataset: Dataset) -> HttpResponse:
    row = _unfinished(dataset)
    if row is None or row.is_over:
        return HttpResponseClientRefresh()
    context = {"row": row, "dataset": dataset, "worker_alive": bool(presence.alive("default"))}
    return render(request, "scoring/_snapshot_request.html", context)
