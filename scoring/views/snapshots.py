"""The snapshots of a dataset: freeze one, with the evidence of the current run."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from annotations import access
from annotations.forms import SnapshotForm
from curator.requests import SignedInRequest
from scoring import freezing, reports


@require_http_methods(["GET", "POST"])
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    form = SnapshotForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        latest = dataset.snapshots.first()
        snapshot = freezing.freeze(dataset=dataset, by=request.user, note=form.cleaned_data["note"])
        if snapshot == latest:
            messages.info(request, "Nothing has changed since this snapshot, so no other was made.")
        return redirect("annotations:snapshot", slug, snapshot.number)
    context = {
        "dataset": dataset,
        "form": form,
        "snapshots": dataset.snapshots.select_related("created_by").prefetch_related("exports"),
        "standing": reports.standing(dataset),
    }
    return render(request, "scoring/snapshots.html", context, status=422 if form.errors else 200)
