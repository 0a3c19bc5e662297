"""Label: one pair at a time, blind; answer by key, undo, go on. And the annotator's own page and
keys.

What is shown of a pair comes from `blind` alone: neither the lease nor the pair reaches a template.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import replace_url

from annotations import (
    access,
    blind,
    commenting,
    compare,
    keys,
    labelling,
    leasing,
    permissions,
)
from annotations.forms import AnswerForm, KeysForm
from annotations.models import (
    Annotator,
    Comment,
    Dataset,
    GoldPair,
    Lease,
    Membership,
    Occasion,
    SkipReason,
)
from curator.lib.addresses import local_address
from curator.lib.refusals import Conflict, Forbidden, Refusal
from curator.requests import SignedInRequest, wants_fragment

CHOICES = (
    ("first", "1 better", "first"),
    ("second", "2 better", "second"),
    ("tie", "Tie", "tie"),
    ("both_bad", "Both bad", "both_bad"),
)
STRENGTHS = ((1, "slightly", "slightly"), (2, "clearly", "clearly"), (3, "much", "much"))
FORMER = (
    "You are no longer a member of this dataset, so there is nothing for you to label here. If "
    "that is a mistake, ask one of its owners."
)
RIGHT = {
    "first": "1 is better",
    "second": "2 is better",
    "tie": "a tie",
    "both_bad": "both are bad",
}


@dataclass(frozen=True)
class Place:
    """Where in the practice set a pair stands."""

    number: int
    of: int


@dataclass(frozen=True)
class Question:
    """A pair as the annotator sees it, and what they have entered of their answer."""

    lease_id: int
    pair: blind.BlindPair
    draft: Mapping[str, Any]
    based_on: int | None
    practice: Place | None

    @property
    def sides(self) -> list[tuple[str, str, list[blind.Message]]]:
        return [("first", "1", self.pair.first), ("second", "2", self.pair.second)]

    @property
    def spans(self) -> str:
        return json.dumps(self.draft.get("spans") or [])

    @property
    def choices(self) -> list[tuple[str, str, str, bool]]:
        return [(*choice, self.draft.get("choice") == choice[0]) for choice in CHOICES]

    @property
    def strengths(self) -> list[tuple[int, str, str, bool]]:
        return [(*one, self.draft.get("strength") == one[0]) for one in STRENGTHS]

    def aspects(self, names: list[str]) -> list[tuple[str, str]]:
        """The aspects with what is chosen for each."""
        chosen = self.draft.get("aspects") or {}
        return [(name, chosen.get(name, "")) for name in names]


@never_cache
@require_GET
def label(request: SignedInRequest, slug: str) -> HttpResponse:
    """The pair in the annotator's hands, or the next one; after a practice answer what it
    taught."""
    annotator = _annotator(request, slug)
    answered = request.GET.get("answered", "")
    if answered.isdecimal() and len(answered) < 18:
        lease = leasing.leases().select_related("label").filter(annotator=annotator)
        taught = lease.filter(pk=int(answered), occasion=Occasion.PRACTICE).first()
        if taught is not None and taught.state == Lease.State.ANSWERED:
            return _teach(request, annotator, taught)
    return _show(request, annotator, leasing.next_lease(annotator))


@require_POST
def vote(request: SignedInRequest, slug: str, lease_id: int) -> HttpResponse:
    """Keep the answer and go on to the next pair. Where it cannot be kept, it stays on the page
    with the sentence that says why."""
    lease = access.lease_to_answer(request.user, slug, lease_id)
    annotator = lease.annotator
    form = AnswerForm(request.POST)
    answer = form.answer()
    try:
        form.check()
        _comment(request, lease, form.comment())
        outcome = labelling.vote(
            lease=lease, by=request.user, answer=answer, based_on=form.based_on_label()
        )
    except labelling.NotAnAnswer as refusal:
        return _show(request, annotator, lease, problem=refusal, entered=answer.as_draft())
    except commenting.NotAComment as refusal:
        entered = {**answer.as_draft(), "comment": form.comment()}
        return _show(request, annotator, lease, problem=refusal, entered=entered)
    except Conflict as conflict:
        return _after_conflict(request, lease, conflict, answer.as_draft())
    is_practice = lease.occasion == Occasion.PRACTICE
    if not wants_fragment(request):
        return _go_on(request, slug, note=outcome.note, taught=lease if is_practice else None)
    if is_practice:
        lease.label = outcome.label
        # so that a reload shows it again
        return replace_url(_teach(request, annotator, lease), _address(slug, taught=lease))
    return _show(request, annotator, leasing.next_lease(annotator), note=outcome.note, kept=True)


@require_POST
def undo(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take the last answer back and show its pair again with what was answered."""
    annotator = _annotator(request, slug)
    try:
        lease: Lease | None = labelling.undo(annotator)
    except Refusal as refusal:
        held = leasing.next_lease(annotator)
        return _show(request, annotator, held, problem=refusal)
    if not wants_fragment(request):
        return _go_on(request, slug)
    return _show(request, annotator, lease)


@require_POST
def draft(request: SignedInRequest, slug: str, lease_id: int) -> HttpResponse:
    """Keep what is entered so far; it comes back with the pair."""
    lease = _lease(request, slug, lease_id)
    form = AnswerForm(request.POST)
    entered = {**form.answer().as_draft(), "comment": form.comment()}
    labelling.save_draft(lease, entered)
    return HttpResponse(status=204)


@never_cache
@require_GET
def differences(request: SignedInRequest, slug: str, lease_id: int) -> JsonResponse:
    """Which stretches of each response the other lacks, as pairs of start and end in characters;
    null where they have too little in common. Asked for when somebody wants to see them: matching
    long responses takes longer than all the rest of the page."""
    pair = blind.shown(_lease(request, slug, lease_id))
    texts = ["".join(message["content"] for message in side) for side in (pair.first, pair.second)]
    found = compare.word_diff(*texts)
    if found is None:
        return JsonResponse({"first": None, "second": None})
    return JsonResponse({"first": _stretches(found[0]), "second": _stretches(found[1])})


@require_http_methods(["GET", "POST"])
def own_keys(request: SignedInRequest) -> HttpResponse:
    """The keys of the signed-in person, for every dataset."""
    back = local_address(request.POST.get("next") or request.GET.get("next", ""))
    if request.method == "POST" and "defaults" in request.POST:
        return _keep_keys(request, {}, back)
    form = KeysForm(request.POST or None, own=keys.keys_of(request.user.keys))
    if form.is_bound and form.is_valid():
        return _keep_keys(request, keys.changes(form.cleaned_data), back)
    groups = _grouped([(action.group, form[action.name]) for action in keys.ACTIONS])
    context = {"form": form, "groups": groups, "next": back, "defaults": keys.DEFAULTS}
    status = 422 if form.is_bound else 200
    return render(request, "annotations/keys.html", context, status=status)


def home(request: SignedInRequest, dataset: Dataset) -> HttpResponse:
    """What an annotator sees of the dataset: guidelines, how far they are, and the way to the next
    pair."""
    annotator = leasing.annotator_seen(request.user, dataset)
    progress = labelling.progress(annotator, afresh=True)
    context = {
        "dataset": dataset,
        "annotator": annotator,
        "progress": progress,
        "practice": _practice_total(dataset) if progress.practice_left else 0,
    }
    return render(request, "annotations/for_annotators.html", context)


# --- What is shown --------------------------------------------------------------------------------


def _annotator(request: SignedInRequest, slug: str) -> Annotator:
    """The user as annotator. Who was a member is told that they are none any more; to strangers
    there is nothing here."""
    try:
        dataset = access.dataset_to_label(request.user, slug)
    except Http404:
        memberships = Membership.objects.filter(user=request.user, dataset__slug=slug)
        if memberships.exists():
            raise Forbidden(FORMER) from None
        raise
    return leasing.annotator_for(request.user, dataset)


def _lease(request: SignedInRequest, slug: str, lease_id: int) -> Lease:
    lease = access.lease_to_answer(request.user, slug, lease_id)
    permissions.check_can_label(request.user, lease.annotator.dataset)
    return lease


def _show(
    request: SignedInRequest,
    annotator: Annotator,
    lease: Lease | None,
    *,
    entered: Mapping[str, Any] | None = None,
    problem: Refusal | None = None,
    note: str = "",
    kept: bool = False,
    lost: str = "",
) -> HttpResponse:
    """The leased pair with what is entered, or that there is none; with the sentence of a refusal
    where there was one."""
    progress = labelling.progress(annotator, afresh=lease is None)
    context: dict[str, Any] = {"problem": problem, "note": note, "kept": kept, "lost": lost}
    if lease is None:
        context["why_nothing"] = leasing.nothing_left(annotator)
    else:
        dataset = annotator.dataset
        question = Question(
            lease_id=lease.pk,
            pair=blind.shown(lease),
            draft=entered if entered is not None else lease.draft,
            based_on=lease.label_id,
            practice=_place(dataset, lease, progress),
        )
        context |= {
            "question": question,
            "aspects": question.aspects(dataset.aspects),
            "reasons": list(enumerate(SkipReason.choices, start=1)),
            "lease_id": lease.pk,
            "comments": _own_comments(request, lease),
        }
    return _page(request, annotator, progress, context, status=problem.status if problem else 200)


def _teach(request: SignedInRequest, annotator: Annotator, lease: Lease) -> HttpResponse:
    """What the practice pair teaches, beside its responses."""
    progress = labelling.progress(annotator)
    taught = blind.feedback(lease)
    assert lease.label is not None
    question = Question(
        lease_id=lease.pk,
        pair=blind.shown(lease),
        draft=labelling.answer_of(lease.label, lease).as_draft(),
        based_on=None,
        practice=_place(annotator.dataset, lease, progress),
    )
    context: dict[str, Any] = {"question": question, "feedback": taught}
    if taught is not None:
        context["right"] = RIGHT[taught.right]
        context["answered"] = RIGHT.get(str(question.draft["choice"]), "skipped")
    return _page(request, annotator, progress, context)


def _page(
    request: SignedInRequest,
    annotator: Annotator,
    progress: labelling.Progress,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    own = keys.keys_of(request.user.keys)
    context |= {"dataset": annotator.dataset, "progress": progress, "keys": own}
    if wants_fragment(request):
        part = render(request, "annotations/_label.html", context, status=status)
        slug = annotator.dataset.slug
        return replace_url(part, _address(slug)) if "feedback" not in context else part
    shown = [(action.group, {"key": own[action.name], **vars(action)}) for action in keys.ACTIONS]
    context |= {
        "key_groups": _grouped(shown),
        "curates": permissions.can_curate(request.user, annotator.dataset),
    }
    return render(request, "annotations/label.html", context, status=status)


def _comment(request: SignedInRequest, lease: Lease, text: str) -> None:
    """Keep a remark that was written but not sent, with the answer."""
    if text.strip():
        lease.pair.dataset = lease.annotator.dataset
        commenting.comment(pair=lease.pair, by=request.user, text=text)


def _own_comments(request: SignedInRequest, lease: Lease) -> list[Comment]:
    """What the user has remarked on the pair; what others have said of it is not for now."""
    lease.pair.dataset = lease.annotator.dataset
    return list(commenting.comments_for(request.user, lease.pair).filter(author=request.user))


def _place(dataset: Dataset, lease: Lease, progress: labelling.Progress) -> Place | None:
    if lease.occasion != Occasion.PRACTICE:
        return None
    total = _practice_total(dataset)
    waiting = progress.practice_left - (lease.state == Lease.State.OPEN)
    return Place(number=min(max(total - waiting, 1), max(total, 1)), of=max(total, 1))


def _practice_total(dataset: Dataset) -> int:
    return GoldPair.objects.filter(dataset=dataset, is_practice=True, retired_at=None).count()


def _stretches(segments: list[compare.Segment]) -> list[tuple[int, int]]:
    stretches, position = [], 0
    for segment in segments:
        end = position + len(segment.text)
        if segment.differs:
            stretches.append((position, end))
        position = end
    return stretches


def _grouped(pairs: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Lists of what belongs together, in order."""
    groups: dict[str, list[Any]] = {}
    for name, one in pairs:
        groups.setdefault(name, []).append(one)
    return [{"name": name, "rows": rows} for name, rows in groups.items()]


# --- Where it goes on -----------------------------------------------------------------------------


def _after_conflict(
    request: SignedInRequest, lease: Lease, conflict: Conflict, entered: Mapping[str, Any]
) -> HttpResponse:
    """The pair again where it is still the annotator's, with what they entered; else what comes
    next, and what they wrote of the last one, to take along."""
    annotator = lease.annotator
    following = leasing.next_lease(annotator)
    is_same = following is not None and following.pk == lease.pk
    if is_same:
        return _show(request, annotator, following, problem=conflict, entered=entered)
    lost = str(entered.get("rationale") or "")
    return _show(request, annotator, following, problem=conflict, lost=lost)


def _go_on(
    request: SignedInRequest, slug: str, *, note: str = "", taught: Lease | None = None
) -> HttpResponse:
    """For a browser without scripts: the page of what comes next."""
    if note:
        messages.info(request, note)
    return redirect(_address(slug, taught=taught))


def _address(slug: str, *, taught: Lease | None = None) -> str:
    """Where the annotator labels; with what a practice pair has taught."""
    address = reverse("annotations:label", args=[slug])
    return f"{address}?answered={taught.pk}" if taught else address


def _keep_keys(request: SignedInRequest, own: Mapping[str, str], back: str) -> HttpResponse:
    request.user.keys = dict(own)
    request.user.save(update_fields=["keys"])
    messages.success(request, "Your keys are kept.")
    return HttpResponseRedirect(back or reverse("annotations:keys"))
