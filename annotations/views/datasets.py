"""Make a dataset."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from annotations import permissions
from annotations.datasets import create_dataset
from annotations.forms import DatasetForm
from curator.requests import SignedInRequest


@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest) -> HttpResponse:
    permissions.check_can_create_datasets(request.user)
    form = DatasetForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        dataset = create_dataset(by=request.user, **form.cleaned_data)
        return redirect("annotations:import-new", dataset.slug)
    status = 422 if form.is_bound else 200
    return render(request, "annotations/dataset_new.html", {"form": form}, status=status)
