"""Who may do what with a dataset. `check_…` raises a refusal with a sentence; `can_…` answers
for templates."""

from annotations.models import Dataset, Membership, Role
from curator.lib.refusals import Forbidden
from curator.models import User

CURATING = frozenset({Role.CURATOR, Role.OWNER})


def role_of(user: User, dataset: Dataset) -> str | None:
    """The user's role in the dataset, or None when they are not a member, or no longer."""
    return (
        Membership.objects.filter(user=user, dataset=dataset, ended_at=None)
        .values_list("role", flat=True)
        .first()
    )


def can_create_datasets(user: User) -> bool:
    """Everybody but those who only annotate."""
    memberships = Membership.objects.filter(user=user, ended_at=None)
    roles = set(memberships.values_list("role", flat=True))
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


def can_label(user: User, dataset: Dataset) -> bool:
    """Every member may label; what they see while they do is the same for all of them."""
    return role_of(user, dataset) is not None


def check_can_label(user: User, dataset: Dataset) -> None:
    if not can_label(user, dataset):
        raise Forbidden(
            f"You are not, or no longer, a member of {dataset.name}, so this was not kept: ask an "
            f"owner."
        )


def can_manage_people(user: User, dataset: Dataset) -> bool:
    """Owners invite people, give them roles and deactivate them."""
    return role_of(user, dataset) == Role.OWNER


def check_can_manage_people(user: User, dataset: Dataset) -> None:
    if not can_manage_people(user, dataset):
        raise Forbidden(f"Only owners of {dataset.name} may do this: ask one of them.")
