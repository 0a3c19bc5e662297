"""The part of the REST API that is about datasets, for programs that act for a person."""

from django.db.models import Count
from ninja import Field, Router, Schema

from annotations.models import Dataset, Role
from annotations.permissions import CURATING
from curator.requests import TokenRequest

router = Router(tags=["datasets"])


class DatasetOut(Schema):
    slug: str = Field(description="What addresses call it.")
    name: str = Field(description="What pages call it.")
    role: Role = Field(description="Yours in this dataset.")
    pairs: int | None = Field(description="How many it holds; null where you only annotate.")


@router.get("/datasets", response=list[DatasetOut], summary="The datasets you are a member of")
def datasets(request: TokenRequest) -> list[DatasetOut]:
    visible = Dataset.objects.visible_to(request.auth).order_by("name", "pk")
    rows = visible.values_list("slug", "name", "memberships__role").annotate(Count("pairs"))
    return [
        DatasetOut(slug=slug, name=name, role=role, pairs=pairs if role in CURATING else None)
        for slug, name, role, pairs in rows
    ]
