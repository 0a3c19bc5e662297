"""What annotators are asked: the rounds that put pairs to them, the rules of the dataset, the pairs
whose answer is known, and the labels as a file."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotations import access, adjudicating, commenting, filters, golds, label_files, rounds, teams
from annotations.datasets import set_rules
from annotations.forms import GoldFileForm, RulesForm
from annotations.models import Annotator, Dataset, Label, Lease, Round
from annotations.rounds import Given, RoundProgress
from curator.lib import uploads
from curator.lib.kept import kept
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment

SHOWN_ROUNDS = 50
SHOWN_GOLD = 200
SHOWN_COMMENTS = 50
STATUS_WORDS = {"undecided": "undecided", "keep": "kept", "flip": "flipped", "drop": "dropped"}
FLAG_WORDS = {
    "flipped": "likely flipped",
    "none": "prefers neither response",
    "unscored": "not scored yet",
}


@dataclass(frozen=True)
class ShownRound:
    """A round as the page lists it."""

    row: Round
    people: list[str]
    progress: RoundProgress

    @property
    def is_done(self) -> bool:
        """Whether every label that it wanted is there."""
        return self.row.is_over and self.progress.given >= self.progress.wanted

    @property
    def random(self) -> Given | None:
        """How far its random arm is."""
        return self.progress.by_arm.get("random")

    @property
    def filter_words(self) -> str:
        return filter_words(self.row.filter)


@require_GET
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    """The rounds, and the labels as files."""
    dataset = access.dataset_to_curate(request.user, slug)
    if wants_fragment(request):
        shown = {"dataset": dataset, **_rounds(dataset)}
        return render(request, "annotations/_rounds.html", shown)
    context = {**_frame(dataset), **_rounds(dataset), "labels": _label_counts(dataset)}
    return render(request, "annotations/labelling.html", context)


@require_POST
def close_round(request: SignedInRequest, slug: str, round_id: int) -> HttpResponse:
    found = access.round_to_manage(request.user, slug, round_id)
    rounds.close(found, by=request.user)
    messages.info(
        request,
        f"“{found.name}” is closed: nobody is asked its pairs any more. Its labels stay; the list "
        "of closed rounds opens it again.",
    )
    return redirect("annotations:labelling", slug)


@require_POST
def reopen_round(request: SignedInRequest, slug: str, round_id: int) -> HttpResponse:
    found = access.round_to_manage(request.user, slug, round_id)
    rounds.reopen(found, by=request.user)
    messages.info(request, f"“{found.name}” is open again: its pairs are asked where labels miss.")
    return redirect("annotations:labelling", slug)


@require_http_methods(["GET", "POST"])
def rules(request: SignedInRequest, slug: str) -> HttpResponse:
    """What is asked of every pair, and the guidelines."""
    dataset = access.dataset_to_curate(request.user, slug)
    form = RulesForm(dataset, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        set_rules(dataset=dataset, by=request.user, **form.cleaned_data)
        messages.success(request, "The rules are kept, and hold for every answer from now on.")
        return redirect("annotations:labelling-rules", slug)
    shown = access.dataset_to_curate(request.user, slug) if form.errors else dataset
    context = {**_frame(shown), "form": form, "guidelines": form["guidelines"].value()}
    return render(request, "annotations/rules.html", context, status=422 if form.errors else 200)


@require_POST
def preview(request: SignedInRequest, slug: str) -> HttpResponse:
    """The guidelines as annotators will see them."""
    dataset = access.dataset_to_curate(request.user, slug)
    context = {"dataset": dataset, "guidelines": request.POST.get("guidelines", "")}
    return render(request, "annotations/_guidelines.html", context)


@require_http_methods(["GET", "POST"])
def gold_pairs(request: SignedInRequest, slug: str) -> HttpResponse:
    """The pairs whose answer is known; a file adds to them."""
    dataset = access.dataset_to_curate(request.user, slug)
    form, brought = GoldFileForm(), None
    if request.method == "POST":
        form = GoldFileForm(request.POST, request.FILES)
        brought = _bring_in_gold(request, dataset, form)
    listed = list(golds.of_dataset(dataset)[: SHOWN_GOLD + 1])
    context = {
        **_frame(dataset),
        "form": form,
        "brought": brought,
        "practice": [gold for gold in listed if gold.is_practice and gold.retired_at is None],
        "silent": [gold for gold in listed if not gold.is_practice and gold.retired_at is None],
        "retired": [gold for gold in listed if gold.retired_at is not None],
        "more": len(listed) > SHOWN_GOLD,
    }
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "annotations/gold_pairs.html", context, status=status)


@require_GET
def comments(request: SignedInRequest, slug: str) -> HttpResponse:
    """What people have remarked on pairs, the newest first, a page at a time."""
    dataset = access.dataset_to_curate(request.user, slug)
    rows = commenting.of_dataset(dataset).select_related("pair")
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 18:
        rows = rows.filter(pk__lt=int(before))
    listed = list(rows.defer("pair__meta")[: SHOWN_COMMENTS + 1])
    shown, is_more = listed[:SHOWN_COMMENTS], len(listed) > SHOWN_COMMENTS
    older = shown[-1].pk if is_more else None
    context = {**_frame(dataset), "comments": shown, "older": older, "before": before}
    return render(request, "annotations/comments.html", context)


@require_POST
def retire_gold(request: SignedInRequest, slug: str, gold_id: int) -> HttpResponse:
    golds.retire(gold=access.gold_to_manage(request.user, slug, gold_id), by=request.user)
    return redirect("annotations:gold-pairs", slug)


@require_POST
def use_gold_again(request: SignedInRequest, slug: str, gold_id: int) -> HttpResponse:
    golds.use_again(gold=access.gold_to_manage(request.user, slug, gold_id), by=request.user)
    return redirect("annotations:gold-pairs", slug)


@require_GET
def download(request: SignedInRequest, slug: str, layout: str) -> StreamingHttpResponse:
    """All labels as a file; with `history=1` also those that hold no more."""
    dataset = access.dataset_to_curate(request.user, slug)
    if layout not in label_files.WRITERS:
        raise Http404("no such format")
    with_history = request.GET.get("history") == "1"
    name = label_files.file_name(dataset, layout, with_history=with_history)
    return StreamingHttpResponse(
        label_files.WRITERS[layout](dataset, with_history=with_history),
        content_type=label_files.CONTENT_TYPES[layout],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def filter_words(stored: dict[str, Any]) -> str:
    """A round's filter in words; empty where it asks for all pairs."""
    if "conditions" in stored:
        return filters.from_stored(stored).in_words()
    flags = stored.get("flags", [])
    words = [" or ".join(FLAG_WORDS.get(flag, flag) for flag in flags)] if flags else []
    if status := stored.get("status"):
        words.append(STATUS_WORDS.get(status, status))
    low, high = stored.get("strength_from"), stored.get("strength_to")
    if low is not None:
        words.append(f"strength from {low:g}")
    if high is not None:
        words.append(f"strength to {high:g}")
    if text := stored.get("text"):
        words.append(f"with “{text}”")
    return ", ".join(words)


def _frame(dataset: Dataset) -> dict[str, Any]:
    """What every page about labelling shows."""
    return {
        "dataset": dataset,
        "disputes": dataset.standings.in_dispute().count(),
        "lately": commenting.lately(dataset),
    }


def _rounds(dataset: Dataset) -> dict[str, Any]:
    """The slices that are open, the second opinions that wait, and what was closed last; each asked
    for by itself, so that many of the one do not push the others off the page."""
    rows = dataset.rounds.prefetch_related("annotators")
    slices = list(rows.filter(closed_at=None, pair=None))
    opinions = rows.filter(closed_at=None, pair__isnull=False)
    waiting = list(opinions[:SHOWN_ROUNDS])
    closed = list(rows.exclude(closed_at=None).order_by("-closed_at", "-pk")[:SHOWN_ROUNDS])
    found = [*slices, *waiting, *closed]
    progress = rounds.progress([*slices, *waiting]) | _closed_progress(dataset, closed)
    shown = [
        ShownRound(
            row,
            sorted(person.shown_name for person in row.annotators.all()),
            progress.get(row.pk, RoundProgress()),
        )
        for row in found
    ]
    ends = len(slices), len(slices) + len(waiting)
    is_cut = len(waiting) == SHOWN_ROUNDS
    return {
        "open_rounds": shown[: ends[0]],
        "second_opinions": shown[ends[0] : ends[1]],
        "more_opinions": opinions.count() - len(waiting) if is_cut else 0,
        "closed_rounds": shown[ends[1] :],
        "asks_again": bool(slices or waiting),
        "is_filling": any(not row.is_over for row in slices),
    }


def _closed_progress(dataset: Dataset, closed: list[Round]) -> dict[int, RoundProgress]:
    """How far closed rounds came, which changes with what annotators still hold of them alone."""
    since = [(row.pk, row.closed_at) for row in closed]
    held = Lease.objects.filter(state=Lease.State.OPEN, round_pair__round__in=closed)
    state = f"{since} {sorted(held.values_list('pk', flat=True))}"
    return kept(_name("closed", dataset), state, lambda: rounds.progress(closed)).found


def _label_counts(dataset: Dataset) -> dict[str, int]:
    """How much people have said of the dataset."""
    state = f"{teams.last_labels(dataset)} {dataset.standings.decided().count()}"
    return kept(_name("labels", dataset), state, lambda: _counted(dataset)).found


def _name(what: str, dataset: Dataset) -> str:
    return f"{what}-{dataset.pk}-{dataset.created_at.timestamp()}"


def _counted(dataset: Dataset) -> dict[str, int]:
    said = Label.objects.current().filter(
        annotator__dataset=dataset, annotator__kind=Annotator.Kind.HUMAN
    )
    return {
        "given": said.count(),
        "people": said.order_by().values("annotator").distinct().count(),
        "settled": adjudicating.state(dataset).settled,
    }


def _bring_in_gold(
    request: SignedInRequest, dataset: Dataset, form: GoldFileForm
) -> golds.Brought | None:
    """What became of the uploaded file; None where it was refused, and the form says why."""
    if uploads.is_too_large(request):
        form.add_error("file", f"The file is larger than {uploads.largest_shown()}.")
    if not form.is_valid():
        return None
    try:
        return golds.bring_in(
            dataset=dataset,
            file=form.cleaned_data["file"],
            by=request.user,
            practice=form.cleaned_data["practice"],
        )
    except Refusal as refusal:
        form.add_error("file", str(refusal))
        return None
