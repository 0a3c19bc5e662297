"""Snapshots of a dataset and the exports written from them."""

from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access, exporting, launch
from annotations.forms import ExportForm
from annotations.models import Export
from curator import presence
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment


@require_GET
def detail(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    snapshot = access.snapshot_to_export(request.user, slug, number)
    rows = {row.format: row for row in snapshot.exports.all()}
    exports = [{"format": format, "row": rows.get(format.value)} for format in Export.Format]
    context = {
        "dataset": snapshot.dataset,
        "snapshot": snapshot,
        "exports": exports,
        "is_waiting": any(not row.is_over for row in rows.values()),
        "worker_alive": bool(presence.alive("default")),
    }
    if not wants_fragment(request):
        return render(request, "annotations/snapshot.html", context)
    if not context["is_waiting"]:
        return HttpResponseClientRefresh()
    return render(request, "annotations/_exports.html", context)


@require_POST
def export(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    snapshot = access.snapshot_to_export(request.user, slug, number)
    form = ExportForm(request.POST)
    if not form.is_valid():
        raise Refusal(f"Choose one of the formats: {', '.join(Export.Format.values)}.")
    launch.start_export(snapshot=snapshot, layout=form.cleaned_data["format"], by=request.user)
    return redirect("annotations:snapshot", slug, number)


@require_GET
def download(request: SignedInRequest, slug: str, number: int, export_id: int) -> FileResponse:
    row = access.export_to_download(request.user, slug, number, export_id)
    if row.status != Export.Status.DONE:
        raise Http404("not written yet")
    return FileResponse(row.file.open("rb"), as_attachment=True, filename=exporting.file_name(row))
