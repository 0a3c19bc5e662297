"""Save the filter of the list of pairs under a name, rename and retire what was saved."""

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from annotations import access, filters, saved_views
from annotations.models import SavedView
from curator.requests import SignedInRequest


@require_POST
def save(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    wanted = filters.from_query(QueryDict(request.POST.get("query", "")))
    name = request.POST.get("name", "")
    view = saved_views.save(dataset=dataset, name=name, wanted=wanted, by=request.user)
    messages.success(request, f"“{view.name}” is saved: its address can be shared.")
    return _to(view)


@require_POST
def rename(request: SignedInRequest, slug: str, view_id: int) -> HttpResponse:
    view = access.view_to_open(request.user, slug, view_id)
    saved_views.rename(view, name=request.POST.get("name", ""), by=request.user)
    return _to(view)


@require_POST
def retire(request: SignedInRequest, slug: str, view_id: int) -> HttpResponse:
    view = access.view_to_open(request.user, slug, view_id)
    saved_views.retire(view, by=request.user)
    messages.success(request, f"“{view.name}” is off the list; its address still opens it.")
    return redirect("scoring:pairs", slug)


def _to(view: SavedView) -> HttpResponse:
    return redirect(f"{reverse('scoring:pairs', args=[view.dataset.slug])}?view={view.pk}")
