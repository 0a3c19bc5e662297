"""Who may do what with a dataset. `check_…` raises a refusal with a sentence; `can_…` answers
for templates."""

from annotations.models import Dataset, Membership, Role
from curator.lib.refusals import Forbidden
from curator.models import User

CURATING = frozenset({Role.CURATOR, Role.OWNER})


def role_of(user: User, dataset: Dataset) -> str | None:
    """The user's role in the dataset, or None when they are not a member."""
    return (
        Membership.objects.filter(user=user, dataset=dataset).values_list("role", flat=True).first()
    )


def can_create_datasets(user: User) -> bool:
    """Everybody but those who only annotate."""
    roles = set(Membership.objects.filter(user=user).values_list("role", flat=True))
    return roles != {Role.ANNOTATOR}


def check_can_create_datasets(user: User) -> None:
    if not can_create_datasets(user):
        raise Forbidden("Annotators label; ask a curator to make a dataset.")


def can_curate(user: User, dataset: Dataset) -> bool:
    """Curators and owners see scores and source labels, decide, import, train, freeze and
    export."""
    return role_of(user, dataset) in CURATING


def check_can_curate(user: User, dataset: Dataset) -> None:
    if not can_curate(user, dataset):
        raise Forbidden(
            f"Only curators and owners of {dataset.name} may do this: ask an owner for the role."
        )
