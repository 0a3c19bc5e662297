"""The people of a dataset: who they are, what they may do, and the way in."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from annotations import access, people, permissions
from annotations.forms import InviteForm, RoleForm
from annotations.models import Dataset, Membership, Role
from annotations.people import Invitation
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest


@never_cache
@require_http_methods(["GET", "POST"])
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    """Everybody who is or was a member; owners invite others."""
    dataset = access.dataset_to_curate(request.user, slug)
    if request.method != "POST":
        return _page(request, dataset)
    permissions.check_can_manage_people(request.user, dataset)
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, dataset, form=form, status=422)
    try:
        invitation = people.invite(dataset=dataset, by=request.user, **form.cleaned_data)
    except Refusal as refusal:
        form.add_error("username", str(refusal))
        return _page(request, dataset, form=form, status=422)
    return _invited(request, dataset, invitation)


@require_POST
def role(request: SignedInRequest, slug: str, membership_id: int) -> HttpResponse:
    membership = access.membership_to_change(request.user, slug, membership_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise Refusal(f"Choose a role: {', '.join(Role.values)}.")
    changed = people.set_role(
        membership=membership, role=form.cleaned_data["role"], by=request.user
    )
    name = changed.user.shown_name
    return _back(
        request, changed.dataset, f"{name} is now {_with_article(changed.get_role_display())}."
    )


@require_POST
def deactivate(request: SignedInRequest, slug: str, membership_id: int) -> HttpResponse:
    sentence = "{} sees nothing more of this dataset. What they did stays."
    return _change(request, slug, membership_id, people.deactivate, sentence)


@require_POST
def reactivate(request: SignedInRequest, slug: str, membership_id: int) -> HttpResponse:
    return _change(request, slug, membership_id, people.reactivate, "{} is a member again.")


@never_cache
@require_POST
def new_link(request: SignedInRequest, slug: str, membership_id: int) -> HttpResponse:
    """Another sign-in link for a member who lost theirs, shown this once."""
    membership = access.membership_to_change(request.user, slug, membership_id)
    invitation = people.new_link(membership=membership, by=request.user)
    return _page(request, membership.dataset, invitation=invitation)


def _invited(request: SignedInRequest, dataset: Dataset, invitation: Invitation) -> HttpResponse:
    """The page with the link, which is kept nowhere; for who needs none, the page as it now is."""
    if invitation.path is not None:
        return _page(request, dataset, invitation=invitation)
    name = invitation.user.shown_name
    return _back(
        request, dataset, f"{name} is a member now, and signs in the way they are used to."
    )


@sensitive_variables("invitation")
def _page(
    request: SignedInRequest,
    dataset: Dataset,
    *,
    form: InviteForm | None = None,
    invitation: Invitation | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "dataset": dataset,
        "members": people.members(dataset, seen_by=request.user),
        "may_manage": permissions.can_manage_people(request.user, dataset),
        "roles": Role.choices,
        "form": form or InviteForm(),
        "invitation": invitation,
    }
    if invitation is not None and invitation.path is not None:
        context["link"] = request.build_absolute_uri(invitation.path)
        context["link_lasts"] = people.LINK_LASTS
        context["link_ends"] = timezone.now() + people.LINK_LASTS
    return render(request, "annotations/people.html", context, status=status)


def _change(
    request: SignedInRequest,
    slug: str,
    membership_id: int,
    change: Callable[..., Membership],
    sentence: str,
) -> HttpResponse:
    membership = access.membership_to_change(request.user, slug, membership_id)
    changed = change(membership=membership, by=request.user)
    return _back(request, changed.dataset, sentence.format(changed.user.shown_name))


def _back(request: SignedInRequest, dataset: Dataset, sentence: str) -> HttpResponse:
    """The list as it is now; who has just sent themselves away sees it no more."""
    messages.success(request, sentence)
    if permissions.can_curate(request.user, dataset):
        return redirect("annotations:people", dataset.slug)
    return redirect("scoring:datasets")


def _with_article(role: str) -> str:
    return f"{'an' if role[0] in 'aeiou' else 'a'} {role}"
