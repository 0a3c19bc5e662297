"""Snapshots of a dataset: their card and tags, what changed between two of them, the files written
from them, and their decisions restored."""

from typing import Any

from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access, cards, changes, describing, exporting, launch, proposals, tagging
from annotations.changes import Changes, Moment, Page
from annotations.forms import ExportForm
from annotations.models import Export, Snapshot, Verdict
from curator import presence
from curator.lib.refusals import Refusal, status_beside_form
from curator.lib.texts import storable_text
from curator.requests import SignedInRequest, wants_fragment

KIND_TITLES = {
    "verdict": "Verdict changed",
    "label": "Label changed",
    "again": "Decided again",
    "flag": "Flag changed",
    "came": "New pairs",
}
NOW = "now"


@require_GET
def detail(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    return _detail(request, access.snapshot_to_export(request.user, slug, number))


def _detail(
    request: SignedInRequest, snapshot: Snapshot, *, problem: str = "", status: int = 200
) -> HttpResponse:
    """The page; with the tag that was refused in its field, and why."""
    rows = {row.format: row for row in snapshot.exports.all()}
    exports = [{"format": format, "row": rows.get(format.value)} for format in Export.Format]
    context = {
        "dataset": snapshot.dataset,
        "snapshot": snapshot,
        "exports": exports,
        "is_waiting": any(not row.is_over for row in rows.values()),
        "worker_alive": bool(presence.alive("default")),
    }
    if wants_fragment(request):
        if not context["is_waiting"]:
            return HttpResponseClientRefresh()
        return render(request, "annotations/_exports.html", context)
    card = describing.of_snapshot(snapshot)
    others = snapshot.dataset.snapshots.exclude(pk=snapshot.pk).order_by("-number")
    context |= {
        "tags": tagging.of_snapshot(snapshot).select_related("created_by"),
        "card": card and cards.body(describing.with_files(card)),
        "others": list(others.only("number", "created_at")),
        "before": others.filter(number__lt=snapshot.number).first(),
        "problem": problem,
        "typed": request.POST.get("name", ""),
    }
    return render(request, "annotations/snapshot.html", context, status=status)


@require_GET
def tagged(request: SignedInRequest, slug: str, tag: str) -> HttpResponse:
    """The snapshot that the tag names now."""
    dataset = access.dataset_to_curate(request.user, slug)
    found = tagging.find(dataset, tag)
    if found is None:
        raise Http404("no such tag")
    return redirect("annotations:snapshot", slug, found.number)


@require_POST
def add_tag(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    snapshot = access.snapshot_to_export(request.user, slug, number)
    name = request.POST.get("name", "")
    held = tagging.find_tag(snapshot.dataset, name)
    try:
        given = tagging.tag(snapshot=snapshot, name=name, by=request.user)
    except Refusal as refusal:
        status = status_beside_form(refusal)
        return _detail(request, snapshot, problem=str(refusal), status=status)
    if held is not None and held.snapshot_id != snapshot.pk:
        words = f"{given.name} named snapshot {held.snapshot.number} before and names this one now."
        messages.info(request, words)
    return redirect("annotations:snapshot", slug, number)


@require_POST
def remove_tag(request: SignedInRequest, slug: str, number: int, tag_id: int) -> HttpResponse:
    snapshot = access.snapshot_to_export(request.user, slug, number)
    given = get_object_or_404(tagging.of_snapshot(snapshot), pk=tag_id)
    tagging.untag(tag=given, by=request.user)
    return redirect("annotations:snapshot", slug, number)


@require_GET
def card(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    snapshot = access.snapshot_to_export(request.user, slug, number)
    found = describing.of_snapshot(snapshot)
    if found is None:
        raise Http404("no card")
    name = describing.file_name(snapshot)
    return HttpResponse(
        describing.with_files(found),
        content_type="text/markdown; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


# --- What changed ---------------------------------------------------------------------------------


@require_GET
def compare(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Two snapshots, or one and now, in whatever order they were chosen."""
    access.snapshot_to_export(request.user, slug, number)
    other = request.GET.get("with", NOW)
    if other == NOW:
        return redirect("annotations:snapshot-changes-now", slug, number)
    if not (other.isascii() and other.isdigit()):
        raise Http404("no such snapshot")
    low, high = sorted((number, int(other[:9])))
    return redirect("annotations:snapshot-changes", slug, high, low)


@require_GET
def changes_since(
    request: SignedInRequest, slug: str, since: int, number: int | None = None
) -> HttpResponse:
    """What changed from snapshot `since` to snapshot `number`, or to now."""
    older, newer = _moments(request, slug, since, number)
    found = changes.between(older, newer)
    wanted = _wanted(request, found)
    context = {
        "dataset": older.dataset,
        "older": older,
        "newer": newer,
        "found": found,
        "kinds": [
            {"name": name, "title": title, "count": found.of_kind(name)}
            for name, title in KIND_TITLES.items()
        ],
        "wanted": wanted,
        "page": _listed(older, newer, found, wanted),
        "snapshots": older.dataset.snapshots.order_by("-number").only("number", "created_at"),
        "verdicts": _matrix(found.verdicts),
        "flags": _matrix(found.flags),
    }
    template = "_changed_pairs.html" if wants_fragment(request) else "changes.html"
    return render(request, f"annotations/{template}", context)


def _moments(
    request: SignedInRequest, slug: str, since: int, number: int | None
) -> tuple[Moment, Moment]:
    then = access.snapshot_to_export(request.user, slug, since)
    if number is None:
        return Moment(then.dataset, then), Moment(then.dataset)
    now = get_object_or_404(Snapshot, dataset=then.dataset, number=number)
    return Moment(then.dataset, then), Moment(then.dataset, now)


def _wanted(request: SignedInRequest, found: Changes) -> dict[str, Any]:
    """Which of the changed pairs are listed: the first kind that there are, unless one was
    chosen."""
    some = next((kind for kind in KIND_TITLES if found.of_kind(kind)), "verdict")
    kind = request.GET.get("kind", some)
    after = request.GET.get("after", "")
    return {
        "kind": kind if kind in KIND_TITLES else some,
        "was": _verdict(request, "was"),
        "now": _verdict(request, "now"),
        "after": int(after[:18]) if after.isascii() and after.isdigit() else 0,
    }


def _listed(older: Moment, newer: Moment, found: Changes, wanted: dict[str, Any]) -> Page:
    """The database is not asked to look all pairs through for what is known not to be there."""
    if not found.of_kind(wanted["kind"]):
        return Page([], None)
    return changes.page(older, newer, **wanted)


def _verdict(request: SignedInRequest, name: str) -> str | None:
    found = request.GET.get(name)
    return found if found in Verdict.values else None


def _matrix(counts: Any) -> dict[str, Any]:
    """Before and after as rows and columns, of those that occur."""
    before = sorted({was for was, _ in counts})
    after = sorted({now for _, now in counts})
    rows = [(was, [(now, counts.get((was, now), 0)) for now in after]) for was in before]
    return {"columns": after, "rows": rows}


# --- Restoring ------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def restore(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """What would change if the snapshot's decisions held again, and, confirmed, that they do."""
    snapshot = access.snapshot_to_export(request.user, slug, number)
    then, now = Moment(snapshot.dataset, snapshot), Moment(snapshot.dataset)
    reason = storable_text(request.POST.get("reason", ""))[:1000]
    problem, status = "", 200
    if request.method == "POST":
        try:
            batch = launch.start_restore(
                snapshot=snapshot,
                by=request.user,
                expected={
                    "counts": {"all": _shown(request, "expected")},
                    "last_decision": _shown(request, "last_decision"),
                },
                reason=reason,
            )
        except Refusal as refusal:
            problem, status = str(refusal), status_beside_form(refusal)
        else:
            messages.info(request, "The decisions of the snapshot are being restored.")
            return redirect("scoring:batch", snapshot.dataset.slug, batch.pk)
    last_decision = proposals.last_decision()
    found = changes.compute(then, now)
    back = {(is_now, was): count for (was, is_now), count in found.verdicts.items()}
    context = {
        "dataset": snapshot.dataset,
        "snapshot": snapshot,
        "found": found,
        "last_decision": last_decision,
        "ways": sorted(back.items(), key=lambda way: (-way[1], way[0])),
        "reason": reason,
        "problem": problem,
    }
    return render(request, "annotations/snapshot_restore.html", context, status=status)


def _shown(request: SignedInRequest, name: str) -> int:
    count = request.POST.get(name, "")
    if not (count.isascii() and count.isdigit()):
        raise Refusal("Open the page of the snapshot again, and restore it from there.")
    return int(count[:18])


def snapshot_url(snapshot: Snapshot) -> str:
    return reverse("annotations:snapshot", args=[snapshot.dataset.slug, snapshot.number])


# --- Exports --------------------------------------------------------------------------------------


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
