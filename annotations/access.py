"""Fetchers that authorise: they return the object, or raise 404 for what the user must not know
of, 403 for the rest."""

from django.http import Http404
from django.shortcuts import get_object_or_404

from annotations import permissions
from annotations.models import (
    Annotator,
    Dataset,
    DecisionBatch,
    Export,
    GoldPair,
    Import,
    Lease,
    Membership,
    Policy,
    PreferencePair,
    Round,
    SavedView,
    Snapshot,
)
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


def dataset_to_label(user: User, slug: str) -> Dataset:
    """A dataset whose pairs the user may be asked, which is every member, whatever their role."""
    return dataset(user, slug)


def lease_to_answer(user: User, slug: str, lease_id: int) -> Lease:
    """A pair that was put to this user, and to nobody else. Whether they may still answer it is
    said where the answer is kept: they know of the pair, and are owed a sentence."""
    rows = Lease.objects.select_related("annotator__dataset", "pair__standing", "label")
    return get_object_or_404(
        rows.defer("pair__meta"),
        pk=lease_id,
        annotator__user=user,
        annotator__dataset__slug=slug,
    )


def pair_to_curate(user: User, slug: str, pair_id: int) -> PreferencePair:
    found = dataset_to_curate(user, slug)
    return get_object_or_404(
        PreferencePair.objects.select_related("standing__decision"), dataset=found, pk=pair_id
    )


def view_to_open(user: User, slug: str, view_id: int) -> SavedView:
    """A saved view, also one that is off the list."""
    return get_object_or_404(
        SavedView.objects.select_related("dataset"),
        dataset=dataset_to_curate(user, slug),
        pk=view_id,
    )


def import_to_watch(user: User, slug: str, import_id: int) -> Import:
    return get_object_or_404(Import, dataset=dataset_to_curate(user, slug), pk=import_id)


def snapshot_to_export(user: User, slug: str, number: int) -> Snapshot:
    return get_object_or_404(Snapshot, dataset=dataset_to_curate(user, slug), number=number)


def export_to_download(user: User, slug: str, number: int, export_id: int) -> Export:
    return get_object_or_404(Export, snapshot=snapshot_to_export(user, slug, number), pk=export_id)


def membership_to_change(user: User, slug: str, membership_id: int) -> Membership:
    found = dataset(user, slug)
    permissions.check_can_manage_people(user, found)
    rows = Membership.objects.select_related("user", "dataset")
    return get_object_or_404(rows, dataset=found, pk=membership_id)


def annotator_to_see(user: User, slug: str, annotator_id: int) -> Annotator:
    """Curators see the figures of all annotators, annotators their own."""
    found = dataset(user, slug)
    rows = Annotator.objects.select_related("dataset", "user").filter(dataset=found)
    if not permissions.can_curate(user, found):
        rows = rows.filter(user=user)
    return get_object_or_404(rows, pk=annotator_id)


def round_to_manage(user: User, slug: str, round_id: int) -> Round:
    found = dataset_to_curate(user, slug)
    return get_object_or_404(Round.objects.select_related("dataset"), dataset=found, pk=round_id)


def gold_to_manage(user: User, slug: str, gold_id: int) -> GoldPair:
    found = dataset_to_curate(user, slug)
    return get_object_or_404(GoldPair.objects.select_related("dataset"), dataset=found, pk=gold_id)


def policy_to_use(user: User, slug: str, policy_id: int) -> Policy:
    """A kept version of one of the dataset's policies."""
    found = dataset_to_curate(user, slug)
    rows = Policy.objects.select_related("dataset", "created_by")
    return get_object_or_404(rows, dataset=found, pk=policy_id)


def batch_to_watch(user: User, slug: str, batch_id: int) -> DecisionBatch:
    """Decisions that are, or were, made many at once."""
    found = dataset_to_curate(user, slug)
    rows = DecisionBatch.objects.select_related("dataset", "policy", "snapshot", "undoes")
    return get_object_or_404(rows, dataset=found, pk=batch_id)
