"""Decisions made many at once: one verdict on all pairs of a filter, with a preview first; and the
page of a batch, with its progress, its pairs and its undo."""

from typing import Any

from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRefresh

from annotations import (
    access,
    batch_records,
    batches,
    confirming,
    filters,
    illustrating,
    launch,
    policies,
    policy_book,
    proposals,
)
from annotations.batch_forms import BulkForm, ConfirmForm, UndoForm
from annotations.filters import Filter
from annotations.models import Dataset, DecisionBatch
from curator import presence
from curator.lib.refusals import Conflict, Refusal, status_beside_form
from curator.requests import SignedInRequest, wants_fragment

UNSUCCESSFUL = (DecisionBatch.Status.FAILED, DecisionBatch.Status.CANCELLED)


@never_cache
@require_http_methods(["GET", "POST"])
def bulk(request: SignedInRequest, slug: str) -> HttpResponse:
    """One verdict on all pairs of the address's filter: what it would do, and the button."""
    dataset = access.dataset_to_curate(request.user, slug)
    asked = request.GET if request.method == "GET" else request.POST
    wanted = filters.from_query(asked, besides=None if request.method == "POST" else ("view",))
    form = BulkForm(request.POST if request.method == "POST" else None)
    confirmed = ConfirmForm(request.POST)
    problem, status = "", 200
    is_confirmed = request.POST.get("do") == "confirm"
    if is_confirmed and form.is_valid() and confirmed.is_valid() and not wanted.problems:
        try:
            batch = confirming.decide_in_bulk(
                dataset=dataset,
                bulk=form.bulk(wanted.clauses),
                by=request.user,
                seen=confirming.from_text(confirmed.cleaned_data["shown"]),
                reason=form.cleaned_data["reason"],
            )
            return redirect("scoring:batch", slug, batch.pk)
        except Refusal as refusal:
            problem, status = str(refusal), status_beside_form(refusal)
    context = {
        "dataset": dataset,
        "wanted": wanted,
        "parameters": list(QueryDict(wanted.as_query()).lists()),
        "form": form,
        "problem": problem,
        **_proposed(dataset, wanted, form),
    }
    if wants_fragment(request):
        return render(request, "scoring/_bulk_preview.html", context)
    context["now"] = illustrating.as_they_stand(dataset, wanted.clauses)
    is_wrong = wanted.problems or (is_confirmed and form.errors)
    status = 422 if is_wrong and not problem else status
    return render(request, "scoring/bulk.html", context, status=status)


@never_cache
@require_GET
def detail(request: SignedInRequest, slug: str, batch_id: int) -> HttpResponse:
    batch = access.batch_to_watch(request.user, slug, batch_id)
    context: dict[str, Any] = {
        "dataset": batch.dataset,
        "row": batch,
        "batch": batch,
        "progress": batches.in_words(batch),
        "worker_alive": batch.is_over or bool(presence.alive("default")),
    }
    if wants_fragment(request) and "after" not in request.GET:
        if batch.is_over:
            return HttpResponseClientRefresh()
        return render(request, "scoring/_batch_state.html", context)
    context |= _pairs(batch, request.GET.get("after", "0"))
    if wants_fragment(request):
        return render(request, "scoring/_batch_rows.html", context)
    context |= {
        "what": batch_records.in_words(batch),
        "words": policies.in_words(policy_book.read(batch.policy)) if batch.policy else [],
        "did": batch_records.did(batch),
        "fell_short": batch_records.fell_short(batch),
        "taken_back_by": batch_records.taken_back_by(batch),
        "passed_over": batch_records.passed_over(batch),
        "chain": batch_records.chain(batch),
        "again": _again(batch),
        "can_undo": _can_undo(batch),
    }
    return render(request, "scoring/batch.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def undo(request: SignedInRequest, slug: str, batch_id: int) -> HttpResponse:
    """What taking the batch back would do, and the button. A second click finds the first's
    batch."""
    batch = access.batch_to_watch(request.user, slug, batch_id)
    form = UndoForm(request.POST if request.method == "POST" else None)
    problem, status = "", 422 if form.errors else 200
    if form.is_bound and form.is_valid():
        try:
            row: DecisionBatch | None = launch.start_undo(
                batch=batch, by=request.user, reason=form.cleaned_data["reason"]
            )
        except Conflict as conflict:
            mine = DecisionBatch.objects.filter(undoes=batch, created_by=request.user)
            row = mine.exclude(status__in=UNSUCCESSFUL).first()
            problem, status = str(conflict), status_beside_form(conflict)
        if row is not None:
            return redirect("scoring:batch", slug, row.pk)
    context = {
        "dataset": batch.dataset,
        "batch": batch,
        "what": batch_records.in_words(batch),
        "form": form,
        "problem": problem,
        "taken_back": batch_records.taken_back(batch),
        "can_undo": _can_undo(batch),
    }
    return render(request, "scoring/batch_undo.html", context, status=status)


def _proposed(dataset: Dataset, wanted: Filter, form: BulkForm) -> dict[str, Any]:
    """What the verdict that was chosen would do; nothing before one is."""
    if wanted.problems or not form.is_bound or not form.is_valid():
        return {}
    bulk = form.bulk(wanted.clauses)
    found = proposals.preview_bulk(dataset, bulk)
    return {
        "preview": found,
        "shown": confirming.shown(dataset, found).as_text(),
        "acts": illustrating.acts_of(found.effect, max(found.effect.pairs, 1)),
        "passed_over": illustrating.passed_over_of(found.effect),
        "changes": illustrating.changes_of(found.effect),
        "sample": illustrating.illustrated(proposals.sample_bulk(dataset, bulk)),
    }


def _pairs(batch: DecisionBatch, after: str) -> dict[str, Any]:
    """Some of the batch's decisions, from the pair after this one."""
    if not after.isdecimal() or len(after) > 18:
        raise Http404("no such page")
    size = batch_records.PAGE_SIZE
    rows = list(batch_records.made(batch, after=int(after))[: size + 1])
    more = rows[size - 1].pair_id if len(rows) > size else None
    return {"decisions": rows[:size], "more": more}


def _can_undo(batch: DecisionBatch) -> bool:
    """Whether it is done, and what it did was not taken back."""
    undone = DecisionBatch.objects.filter(undoes=batch).exclude(status__in=UNSUCCESSFUL)
    return batch.status == DecisionBatch.Status.DONE and not undone.exists()


def _again(batch: DecisionBatch) -> str:
    """The filter of a bulk decision, as an address asks for it."""
    if batch.kind != DecisionBatch.Kind.BULK:
        return ""
    return filters.from_json(batch.filter).as_query()
