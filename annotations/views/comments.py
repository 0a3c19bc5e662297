"""What people do beside judging a pair: comment on it, have one more person asked, hold its answer
for gold."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST

from annotations import access, commenting, golds, labelling, rounds
from annotations.forms import GoldForm, SecondOpinionForm
from annotations.models import PreferencePair
from annotations.views import beside
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment


@require_POST
def comment(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """A curator's remark; those of everybody are shown with it."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    text, back = request.POST.get("text", ""), beside.back_to(request, found)
    return _commented(request, found, text, "annotations/_comments.html", back)


@require_POST
def comment_on_lease(request: SignedInRequest, slug: str, lease_id: int) -> HttpResponse:
    """An annotator's remark on the pair that was put to them; they see their own alone."""
    lease = access.lease_to_answer(request.user, slug, lease_id)
    template, extra = "annotations/_own_comments.html", {"lease_id": lease.pk}
    lease.pair.dataset = lease.annotator.dataset
    text, back = request.POST.get("comment", ""), reverse("annotations:label", args=[slug])
    response = _commented(request, lease.pair, text, template, back, only_own=True, **extra)
    if response.status_code < 400:
        labelling.forget_comment(lease)
    return response


@require_POST
def second_opinion(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """Ask one more person, or the people who are named, one label each."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    form = SecondOpinionForm(found, request.POST)
    if not form.is_valid():
        raise Refusal(
            "Choose people of this dataset who have said nothing of this pair, or nobody for "
            "whoever comes first."
        )
    people = list(form.cleaned_data["annotators"])
    rounds.second_opinion(
        pair=found, by=request.user, annotators=people, labels=max(len(people), 1)
    )
    if not wants_fragment(request):
        messages.success(request, "One more opinion is asked for: it comes before other pairs.")
        return HttpResponseRedirect(beside.back_to(request, found))
    return _fragment(request, "annotations/_second_opinion.html", found, beside.asking(found))


@require_POST
def gold(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """Hold an answer to the pair for right, or, with `retire`, ask it as gold no more."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    known, form = golds.known_of(found), None
    if "retire" in request.POST:
        if known is not None:
            golds.retire(gold=known, by=request.user)
    else:
        form = GoldForm(request.POST, auto_id="gold_%s")
        if form.is_valid():
            try:
                golds.mark(pair=found, by=request.user, **form.cleaned_data)
            except golds.NotGold as refusal:
                form.add_error("explanation", str(refusal))
    wrong = form if form is not None and form.errors else None
    if wrong is None and not wants_fragment(request):
        return HttpResponseRedirect(beside.back_to(request, found))
    if wrong is not None and not wants_fragment(request):
        said = [str(sentence) for errors in wrong.errors.values() for sentence in errors]
        raise golds.NotGold(" ".join(said))
    context, status = beside.gold_of(found, form=wrong), 422 if wrong else 200
    return _fragment(request, "annotations/_gold.html", found, context, status=status)


def _commented(
    request: SignedInRequest,
    pair: PreferencePair,
    text: str,
    template: str,
    back: str,
    *,
    only_own: bool = False,
    **extra: Any,
) -> HttpResponse:
    problem = None
    try:
        commenting.comment(pair=pair, by=request.user, text=text)
    except commenting.NotAComment as refusal:
        if not wants_fragment(request):
            raise
        problem = refusal
    if not wants_fragment(request):
        return HttpResponseRedirect(back)
    comments = commenting.comments_for(request.user, pair)
    if only_own:
        comments = comments.filter(author=request.user)
    entered, status = (text, problem.status) if problem else ("", 200)
    context = {"comments": comments, "problem": problem, "entered": entered, **extra}
    return _fragment(request, template, pair, context, status=status)


def _fragment(
    request: SignedInRequest,
    template: str,
    pair: PreferencePair,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    shown = {"dataset": pair.dataset, "pair": pair, "back": request.POST.get("next", "")}
    return render(request, template, {**shown, **context}, status=status)
