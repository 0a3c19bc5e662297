"""Make datasets."""

from django.core.exceptions import ValidationError
from django.db import transaction

from annotations.models import Dataset, Membership, Role
from curator.lib.refusals import Refusal
from curator.models import User


@transaction.atomic
def create_dataset(
    *, slug: str, name: str, by: User | None, description: str = "", guidelines: str = ""
) -> Dataset:
    """A dataset owned by its creator; by nobody yet when it is made on the command line of the
    machine."""
    dataset = Dataset(
        slug=slug, name=name or slug, description=description, guidelines=guidelines, created_by=by
    )
    try:
        dataset.full_clean()
    except ValidationError as error:
        raise Refusal(f"{slug!r} cannot be a dataset: {' '.join(error.messages)}") from error
    dataset.save()
    if by is not None:
        Membership.objects.create(dataset=dataset, user=by, role=Role.OWNER)
    return dataset


@transaction.atomic
def add_member(*, dataset: Dataset, user: User, role: str) -> Membership:
    """Give the user this role in the dataset, in place of the one they had."""
    if role not in Role.values:
        raise Refusal(f"The role {role!r} is not known: choose {', '.join(Role.values)}.")
    member, _ = Membership.objects.update_or_create(
        dataset=dataset, user=user, defaults={"role": role}
    )
    return member


def user_called(username: str) -> User:
    """The user, for commands of the machine. Raises Refusal when there is none."""
    found = User.objects.filter(username=username).first()
    if found is None:
        raise Refusal(
            f"There is no user {username!r}: make one with `manage.py sign_in_link {username} "
            f"--create`."
        )
    return found


def dataset_called(slug: str) -> Dataset:
    """The dataset, for commands of the machine, which may see all of them. Raises Refusal naming
    those there are."""
    found = Dataset.objects.filter(slug=slug).first()
    if found is not None:
        return found
    known = ", ".join(Dataset.objects.order_by("slug").values_list("slug", flat=True)[:10])
    raise Refusal(
        f"There is no dataset {slug!r}. "
        f"{f'There are: {known}.' if known else 'There are none yet.'}"
    )
