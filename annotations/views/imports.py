"""Upload a file of pairs, watch its import, download the report of refused rows."""

from typing import Any

from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access, importing, launch
from annotations.forms import ImportForm
from curator import presence
from curator.lib import uploads, work
from curator.requests import SignedInRequest, wants_fragment


@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if uploads.is_too_large(request):
        form.add_error(
            "file",
            f"The file is larger than {uploads.largest_shown()}: split it, or compress it with "
            f"gzip.",
        )
    elif request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        layout = form.cleaned_data["layout"]
        row = launch.start_import(
            dataset=dataset, file=file, name=file.name, layout=layout, by=request.user
        )
        return redirect("annotations:import", slug, row.pk)
    context = {
        "dataset": dataset,
        "form": form,
        "imports": dataset.imports.all()[:20],
        "largest": uploads.largest_shown(),
    }
    return render(
        request, "annotations/import_new.html", context, status=422 if form.is_bound else 200
    )


@require_GET
def detail(request: SignedInRequest, slug: str, import_id: int) -> HttpResponse:
    row = access.import_to_watch(request.user, slug, import_id)
    context: dict[str, Any] = {
        "dataset": row.dataset,
        "row": row,
        "worker_alive": row.is_over or bool(presence.alive("default")),
    }
    if wants_fragment(request):
        if row.is_over:
            return HttpResponseClientRefresh()
        return render(request, "annotations/_import_state.html", context)
    context["first_refused"] = importing.first_refused(row)
    return render(request, "annotations/import.html", context)


@require_POST
def cancel(request: SignedInRequest, slug: str, import_id: int) -> HttpResponse:
    work.cancel(access.import_to_watch(request.user, slug, import_id))
    return redirect("annotations:import", slug, import_id)


@require_GET
def report(request: SignedInRequest, slug: str, import_id: int) -> HttpResponse | FileResponse:
    row = access.import_to_watch(request.user, slug, import_id)
    if not row.report:
        raise Http404("no row was refused")
    return FileResponse(
        row.report.open("rb"), as_attachment=True, filename=f"import-{row.pk}-refused.csv"
    )
