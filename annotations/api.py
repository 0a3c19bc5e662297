"""The part of the REST API that is about datasets, for programs that act for a person."""

from django.db.models import Count
from ninja import Field, Router, Schema

from annotations import access, blind, labelling, leasing
from annotations.models import Dataset, Role
from annotations.permissions import CURATING
from annotations.schemas import AnswerIn, FeedbackOut, KeptOut, LeaseOut, NextOut, next_of
from curator.requests import TokenRequest

datasets_router = Router(tags=["datasets"])
labelling_router = Router(tags=["labelling"])
router = Router()
router.add_router("", datasets_router)
router.add_router("", labelling_router)


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
