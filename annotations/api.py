"""The part of the REST API that is about datasets, for programs that act for a person."""

from typing import Any

from django.db.models import Count, Prefetch, QuerySet
from django.http import Http404
from ninja import Field, Router, Schema

from annotations import access, blind, changes, labelling, leasing, tagging
from annotations.changes import Moment
from annotations.models import Dataset, Role, Snapshot, SnapshotTag
from annotations.permissions import CURATING
from annotations.schemas import (
    AnswerIn,
    FeedbackOut,
    KeptOut,
    LeaseOut,
    NextOut,
    SnapshotCardOut,
    SnapshotOut,
    TagIn,
    next_of,
)
from curator.lib.refusals import Refusal
from curator.requests import TokenRequest

datasets_router = Router(tags=["datasets"])
labelling_router = Router(tags=["labelling"])
snapshots_router = Router(tags=["snapshots"])
router = Router()
router.add_router("", datasets_router)
router.add_router("", labelling_router)
router.add_router("", snapshots_router)


class DatasetOut(Schema):
    slug: str = Field(description="What addresses call it.")
    name: str = Field(description="What pages call it.")
    role: Role = Field(description="Yours in this dataset.")
    pairs: int | None = Field(description="How many it holds; null where you only annotate.")


# --- Datasets -------------------------------------------------------------------------------------


@datasets_router.get(
    "/datasets", response=list[DatasetOut], summary="The datasets you are a member of"
)
def datasets(request: TokenRequest) -> list[DatasetOut]:
    visible = Dataset.objects.visible_to(request.auth).order_by("name", "pk")
    rows = visible.values_list("slug", "name", "memberships__role").annotate(Count("pairs"))
    return [
        DatasetOut(slug=slug, name=name, role=role, pairs=pairs if role in CURATING else None)
        for slug, name, role, pairs in rows
    ]


# --- Labelling ------------------------------------------------------------------------------------


@labelling_router.get(
    "/datasets/{slug:slug}/next", response=NextOut, summary="The pair that you label next"
)
def next_pair(request: TokenRequest, slug: str) -> NextOut:
    """The same one until it is answered. It is yours for half an hour, and nobody says of it what
    the source, models or other people think."""
    dataset = access.dataset_to_label(request.auth, slug)
    return next_of(leasing.annotator_for(request.auth, dataset))


@labelling_router.post(
    "/datasets/{slug:slug}/leases/{int:lease_id}/label", response=KeptOut, summary="Answer a pair"
)
def label(request: TokenRequest, slug: str, lease_id: int, given: AnswerIn) -> KeptOut:
    """The same answer sent twice is kept once; another one to the same pair is refused with 409."""
    lease = access.lease_to_answer(request.auth, slug, lease_id)
    outcome = labelling.vote(
        lease=lease, by=request.auth, answer=given.answer(), based_on=given.based_on
    )
    taught = blind.feedback(lease)
    return KeptOut(
        label=outcome.label.pk,
        note=outcome.note,
        feedback=FeedbackOut(**vars(taught)) if taught else None,
        next=next_of(lease.annotator),
    )


@labelling_router.post(
    "/datasets/{slug:slug}/undo", response=LeaseOut, summary="Take your last answer back"
)
def undo(request: TokenRequest, slug: str) -> LeaseOut:
    """Its pair is yours again, with the old answer as a draft. For the last ten answers."""
    dataset = access.dataset_to_label(request.auth, slug)
    annotator = leasing.annotator_for(request.auth, dataset)
    return LeaseOut.of(labelling.undo(annotator), annotator)


# --- Snapshots ------------------------------------------------------------------------------------


@snapshots_router.get(
    "/datasets/{slug:slug}/snapshots", response=list[SnapshotOut], summary="Snapshots, newest first"
)
def snapshots(request: TokenRequest, slug: str) -> QuerySet[Snapshot]:
    dataset = access.dataset_to_curate(request.auth, slug)
    held = SnapshotTag.objects.filter(retired_at=None)
    return dataset.snapshots.prefetch_related(Prefetch("tags", held, to_attr="current_tags"))


@snapshots_router.get(
    "/datasets/{slug:slug}/snapshots/{called}",
    response=SnapshotCardOut,
    summary="A snapshot and its dataset card",
)
def snapshot(request: TokenRequest, slug: str, called: str) -> Snapshot:
    """By its number, or by a tag that it has now."""
    return _snapshot(access.dataset_to_curate(request.auth, slug), called)


@snapshots_router.post(
    "/datasets/{slug:slug}/snapshots/{called}/tags", response=SnapshotOut, summary="Tag a snapshot"
)
def tag(request: TokenRequest, slug: str, called: str, wanted: TagIn) -> Snapshot:
    """A tag names one snapshot: given to another, it moves."""
    found = _snapshot(access.dataset_to_curate(request.auth, slug), called)
    tagging.tag(snapshot=found, name=wanted.name, by=request.auth)
    return found


@snapshots_router.get(
    "/datasets/{slug:slug}/changes",
    response=dict[str, Any],
    summary="What changed between two snapshots, or since one",
)
def changes_between(
    request: TokenRequest, slug: str, since: str = "", until: str = ""
) -> dict[str, Any]:
    """`since` and `until` are numbers or tags of snapshots. Without `until` it is now, and without
    `since` the snapshot before. The same as `manage.py snapshot_diff` prints."""
    dataset = access.dataset_to_curate(request.auth, slug)
    newer = Moment(dataset, _snapshot(dataset, until) if until else None)
    older = Moment(dataset, _snapshot(dataset, since) if since else _before(newer))
    return changes.as_json(older, newer, changes.between(older, newer))


def _snapshot(dataset: Dataset, called: str) -> Snapshot:
    found = tagging.find(dataset, called)
    if found is None:
        raise Http404("no such snapshot")
    return found


def _before(newer: Moment) -> Snapshot:
    rows = newer.dataset.snapshots.all()
    if newer.snapshot is not None:
        rows = rows.filter(number__lt=newer.snapshot.number)
    found = rows.first()
    if found is None:
        raise Refusal("There is no earlier snapshot to compare with: freeze one.")
    return found
