"""Policies: presets and kept versions, an editor with a live preview, and their application."""

from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from annotations import (
    access,
    batch_records,
    composing,
    confirming,
    illustrating,
    offering,
    policies,
    policy_book,
    proposals,
)
from annotations.batch_forms import ConfirmForm
from annotations.composing import Draft, Submission
from annotations.fields import NONE
from annotations.models import Dataset, DecisionBatch, Policy
from annotations.policies import DEFAULT, PRESETS
from curator.lib.refusals import Refusal, status_beside_form
from curator.requests import SignedInRequest, wants_fragment
from scoring import topics

KEEP = ("save", "apply")
LONGEST_ID = 18


class NoSuchPreset(Refusal):
    """The address names a preset that there is not."""

    status = 404


@dataclass(frozen=True)
class Card:
    """A policy in words."""

    policy: policies.Policy

    @property
    def words(self) -> list[str]:
        return policies.in_words(self.policy)

    @property
    def warnings(self) -> list[str]:
        return policies.warnings(self.policy)

    @property
    def is_default(self) -> bool:
        return self.policy.name == DEFAULT


@dataclass(frozen=True)
class Kept:
    """The latest version of a policy, and its last application."""

    policy: Policy
    batch: DecisionBatch | None


@never_cache
@require_GET
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    applied = batch_records.latest_by_policy(dataset)
    kept = [entry.row for entry in policy_book.entries(dataset) if entry.row]
    context = {
        "dataset": dataset,
        "presets": [Card(preset) for preset in PRESETS.values()],
        "saved": [Kept(row, applied.get(row.name)) for row in kept],
        "batches": batch_records.recent(dataset),
    }
    return render(request, "scoring/policies.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def compose(request: SignedInRequest, slug: str, policy_id: int | None = None) -> HttpResponse:
    """The editor: of a new policy, which may begin as a preset, or of a kept version."""
    dataset = access.dataset_to_curate(request.user, slug)
    saved = None if policy_id is None else access.policy_to_use(request.user, slug, policy_id)
    if request.method == "GET":
        return _editor(request, dataset, saved, composing.submission(_beginning(request, saved)))
    form, button = _submitted(request), request.POST.get("do", "")
    if button in KEEP and form.reading.policy is not None:
        row = policy_book.keep(dataset=dataset, policy=form.reading.policy, by=request.user)
        name = "scoring:policy-apply" if button == "apply" else "scoring:policy"
        return redirect(name, slug, row.pk)
    draft, focus = composing.pressed(form.draft, button)
    if draft != form.draft:
        form = replace(form, draft=draft) if form.is_text else composing.submission(draft)
    return _editor(request, dataset, saved, form, focus=focus, button=button)


@never_cache
@require_POST
def preview(request: SignedInRequest, slug: str) -> HttpResponse:
    """What the policy in the form would do now, and what is wrong with it, beside its rules."""
    dataset = access.dataset_to_curate(request.user, slug)
    form = _submitted(request)
    context = {
        "dataset": dataset,
        "form": form,
        "form_url": _editor_of(request, dataset),
        "rules": offering.rules_of(form.draft, form.reading, {}),
        "is_live": True,
        **_shown(dataset, form.reading.policy),
    }
    return render(request, "scoring/_policy_preview.html", context)


@never_cache
@require_POST
def examples(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    policy = _submitted(request).reading.policy
    context = {"dataset": dataset, "examples": _examples(dataset, policy) if policy else []}
    return render(request, "scoring/_policy_examples.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def apply(request: SignedInRequest, slug: str, policy_id: int) -> HttpResponse:
    """Ask once more, with exactly the counts that will be made."""
    saved = access.policy_to_use(request.user, slug, policy_id)
    dataset, policy = saved.dataset, policy_book.read(saved)
    form = ConfirmForm(request.POST if request.method == "POST" else None)
    problem, status = "", 422 if form.errors else 200
    if form.is_bound and form.is_valid():
        try:
            batch = confirming.apply_policy(
                dataset=dataset,
                policy=policy,
                by=request.user,
                seen=confirming.from_text(form.cleaned_data["shown"]),
                reason=form.cleaned_data["reason"],
            )
            return redirect("scoring:batch", slug, batch.pk)
        except Refusal as refusal:
            problem, status = str(refusal), status_beside_form(refusal)
    found = proposals.preview(dataset, policy)
    context = {
        "dataset": dataset,
        "saved": saved,
        "words": policies.in_words(policy),
        "form": form,
        "problem": problem,
        "shown": confirming.shown(dataset, found).as_text(),
        **_effect(policy, found),
    }
    return render(request, "scoring/policy_apply.html", context, status=status)


def _editor(
    request: SignedInRequest,
    dataset: Dataset,
    saved: Policy | None,
    form: Submission,
    *,
    focus: str = "",
    button: str = "",
) -> HttpResponse:
    context: dict[str, Any] = {
        "dataset": dataset,
        "saved": saved,
        "form": form,
        "rules": offering.rules_of(form.draft, form.reading, _offers(dataset, form.draft)),
        "focus": focus,
        "json_open": button in ("read", composing.DISCARD),
        "form_url": request.path,
    }
    if wants_fragment(request):
        context["is_swapped"] = True
        response = render(request, "scoring/_policy_form.html", context)
        return trigger_client_event(response, "policy-changed", after="settle")
    if request.method == "POST":
        context |= _shown(dataset, form.reading.policy)
        if form.reading.policy is not None:
            context["examples"] = _examples(dataset, form.reading.policy)
    if saved is not None:
        newest = policy_book.versions(dataset, saved.name)[0]
        context["newer"] = newest if newest != saved else None
    status = 422 if button in KEEP else 200
    return render(request, "scoring/policy.html", context, status=status)


def _beginning(request: HttpRequest, saved: Policy | None) -> Draft:
    """What the form of a new policy starts with. Raises NoSuchPreset."""
    if saved is not None:
        return composing.of_policy(policy_book.read(saved))
    name = request.GET.get("preset", "")
    if not name:
        return Draft("new policy")
    if name not in PRESETS:
        raise NoSuchPreset(f"There is no preset “{name[:40]}”: choose {', '.join(PRESETS)}.")
    return composing.of_policy(PRESETS[name])


def _editor_of(request: HttpRequest, dataset: Dataset) -> str:
    """The editor that the preview stands beside: of a kept version, or of a new policy."""
    kept = request.POST.get("version", "")
    if kept.isdecimal() and len(kept) <= LONGEST_ID:
        return reverse("scoring:policy", args=[dataset.slug, int(kept)])
    return reverse("scoring:policy-new", args=[dataset.slug])


def _submitted(request: HttpRequest) -> Submission:
    return composing.submitted(dict(request.POST.lists()))


def _offers(dataset: Dataset, draft: Draft) -> dict[str, dict[str, str]]:
    """The origins and topics to choose from, where the draft asks for them."""
    asked = offering.open_fields(draft)
    offers = {}
    if "origin" in asked:
        offers["origin"] = illustrating.origins(dataset)
    if "topic" in asked:
        known = {str(number): name for number, name in topics.names_of(dataset).items()}
        offers["topic"] = known | {NONE: "unknown"}
    return offers


def _shown(dataset: Dataset, policy: policies.Policy | None) -> dict[str, Any]:
    if policy is None:
        return {"preview": None, "is_unreadable": True}
    return _effect(policy, proposals.preview(dataset, policy))


def _effect(policy: policies.Policy, found: proposals.Preview) -> dict[str, Any]:
    """A preview as it is drawn."""
    whole = max(found.effect.pairs, 1)
    return {
        "preview": found,
        "acts": illustrating.acts_of(found.effect, whole),
        "passed_over": illustrating.passed_over_of(found.effect),
        "changes": illustrating.changes_of(found.effect),
        "by_rule": illustrating.rules_of(policy, found),
    }


def _examples(dataset: Dataset, policy: policies.Policy) -> list[Any]:
    return illustrating.by_act(proposals.examples(dataset, policy))
