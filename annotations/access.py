"""Fetchers that authorise: they return the object, or raise 404 for what the user must not know
of, 403 for the rest."""

from django.http import Http404
from django.shortcuts import get_object_or_404

from annotations import permissions
from annotations.models import Dataset, Export, Import, PreferencePair, Snapshot
from curator.models import User


def dataset(user: User, slug: str) -> Dataset:
    """A dataset the user is a member of, in whatever role."""
    found = Dataset.objects.visible_to(user).filter(slug=slug).first()
    if found is None:
        raise Http404("no such dataset")
    return found


def dataset_to_curate(user: User, slug: str) -> Dataset:
    """A dataset whose scores and source labels the user may see, and whose pairs they may
    decide."""
    found = dataset(user, slug)
    permissions.check_can_curate(user, found)
    return found


def pair_to_curate(user: User, slug: str, pair_id: int) -> PreferencePair:
    found = dataset_to_curate(user, slug)
    return get_object_or_404(
        PreferencePair.objects.with_text().select_related("decision"), dataset=found, pk=pair_id
    )


def import_to_watch(user: User, slug: str, import_id: int) -> Import:
    return get_object_or_404(Import, dataset=dataset_to_curate(user, slug), pk=import_id)


def snapshot_to_export(user: User, slug: str, number: int) -> Snapshot:
    return get_object_or_404(Snapshot, dataset=dataset_to_curate(user, slug), number=number)


def export_to_download(user: User, slug: str, number: int, export_id: int) -> Export:
    return get_object_or_404(Export, snapshot=snapshot_to_export(user, slug, number), pk=export_id)
