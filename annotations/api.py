"""The part of the REST API that is about datasets, for programs that act for a person."""

from typing import Any

from django.db.models import Count, Prefetch, QuerySet
from django.http import Http404
from ninja import Field, Router, Schema

from annotations import (
    access,
    blind,
    changes,
    labelling,
    launch,
    leasing,
    policies,
    policy_book,
    proposals,
    tagging,
)
from annotations.changes import Moment
from annotations.models import Dataset, DecisionBatch, Role, Snapshot, SnapshotTag
from annotations.permissions import CURATING
from annotations.schemas import (
    AnswerIn,
    ApplyIn,
    BatchOut,
    DecideIn,
    FeedbackOut,
    KeptOut,
    LeaseOut,
    NextOut,
    PolicyIn,
    PolicyOut,
    PreviewOut,
    RestoreIn,
    SnapshotCardOut,
    SnapshotOut,
    TagIn,
    VerdictIn,
    next_of,
)
from curator.lib.refusals import Refusal
from curator.requests import TokenRequest

datasets_router = Router(tags=["datasets"])
labelling_router = Router(tags=["labelling"])
snapshots_router = Router(tags=["snapshots"])
decisions_router = Router(tags=["decisions"])
router = Router()
router.add_router("", datasets_router)
router.add_router("", labelling_router)
router.add_router("", snapshots_router)
router.add_router("", decisions_router)


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
    `since` the snapshot before. The same as `manage.py snapshot_diff` prints, and, without `until`,
    what to send as `expected` with the order to restore the earlier snapshot."""
    dataset = access.dataset_to_curate(request.auth, slug)
    newer = Moment(dataset, _snapshot(dataset, until) if until else None)
    older = Moment(dataset, _snapshot(dataset, since) if since else _before(newer))
    last = proposals.last_decision()
    found = changes.between(older, newer)
    expected = {"counts": {"all": found.decided}, "last_decision": last}
    told = {} if until else {"expected": expected}  # to restore the older with
    return {**changes.as_json(older, newer, found), **told}


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


# --- Many decisions at once -----------------------------------------------------------------------


@decisions_router.get(
    "/datasets/{slug:slug}/policies", response=list[PolicyOut], summary="Policies and presets"
)
def list_policies(request: TokenRequest, slug: str) -> list[Any]:
    """The latest version of each policy that was kept, then the presets."""
    dataset = access.dataset_to_curate(request.auth, slug)
    return [policy_book.as_json(entry) for entry in policy_book.entries(dataset)]


@decisions_router.post(
    "/datasets/{slug:slug}/policies/preview",
    response=PreviewOut,
    summary="What a policy would do now",
)
def preview_policy(request: TokenRequest, slug: str, wanted: PolicyIn) -> dict[str, Any]:
    dataset = access.dataset_to_curate(request.auth, slug)
    return proposals.preview(dataset, _policy(dataset, wanted)).as_dict()


@decisions_router.post(
    "/datasets/{slug:slug}/policies/apply", response={202: BatchOut}, summary="Apply a policy"
)
def apply_policy(request: TokenRequest, slug: str, wanted: ApplyIn) -> DecisionBatch:
    """A version of it is kept. People are not overruled, and to apply it again changes nothing."""
    dataset = access.dataset_to_curate(request.auth, slug)
    return launch.start_policy(
        dataset=dataset,
        policy=_policy(dataset, wanted),
        by=request.auth,
        expected=wanted.expected,
        reason=wanted.reason,
    )


@decisions_router.post(
    "/datasets/{slug:slug}/decide/preview",
    response=PreviewOut,
    summary="What one verdict on all pairs of a filter would do now",
)
def preview_verdict(request: TokenRequest, slug: str, wanted: VerdictIn) -> dict[str, Any]:
    dataset = access.dataset_to_curate(request.auth, slug)
    return proposals.preview_bulk(dataset, wanted.bulk()).as_dict()


@decisions_router.post(
    "/datasets/{slug:slug}/decide",
    response={202: BatchOut},
    summary="Give all pairs of a filter one verdict",
)
def decide(request: TokenRequest, slug: str, wanted: DecideIn) -> DecisionBatch:
    """Ask for the batch until its status is `done` or `failed`; all pairs change at once, or
    none."""
    return launch.start_bulk(
        dataset=access.dataset_to_curate(request.auth, slug),
        bulk=wanted.bulk(),
        by=request.auth,
        expected=wanted.expected,
        reason=wanted.reason,
    )


@decisions_router.get(
    "/datasets/{slug:slug}/batches",
    response=list[BatchOut],
    summary="The last hundred batches, newest first",
)
def batches(request: TokenRequest, slug: str) -> QuerySet[DecisionBatch]:
    dataset = access.dataset_to_curate(request.auth, slug)
    return dataset.batches.select_related("policy", "undone_by")[:100]


@decisions_router.get(
    "/datasets/{slug:slug}/batches/{int:batch_id}",
    response=BatchOut,
    summary="A batch, and how far it is",
)
def batch(request: TokenRequest, slug: str, batch_id: int) -> DecisionBatch:
    return access.batch_to_watch(request.auth, slug, batch_id)


@decisions_router.post(
    "/datasets/{slug:slug}/batches/{int:batch_id}/undo",
    response={202: BatchOut},
    summary="Take a batch back",
)
def undo_batch(request: TokenRequest, slug: str, batch_id: int) -> DecisionBatch:
    """What held before holds again, but for pairs that were decided again since. The undo of an
    undo brings it back."""
    found = access.batch_to_watch(request.auth, slug, batch_id)
    return launch.start_undo(batch=found, by=request.auth)


@decisions_router.post(
    "/datasets/{slug:slug}/snapshots/{called}/restore",
    response={202: BatchOut},
    summary="Let the decisions of an old snapshot hold again",
)
def restore(request: TokenRequest, slug: str, called: str, wanted: RestoreIn) -> DecisionBatch:
    """Pairs that came after it are left as they are; given `expected`, also those that people have
    decided since."""
    found = _snapshot(access.dataset_to_curate(request.auth, slug), called)
    return launch.start_restore(
        snapshot=found, by=request.auth, expected=wanted.expected, reason=wanted.reason
    )


def _policy(dataset: Dataset, wanted: PolicyIn) -> policies.Policy:
    if isinstance(wanted.policy, str):
        return policy_book.called(dataset, wanted.policy)
    return policy_book.given(wanted.policy)
