"""Make datasets, and set what annotators of them are asked."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.db import transaction

from annotations import permissions
from annotations.formats.labels import LONGEST_ASPECT
from annotations.models import Dataset, Membership, Role, RoleChange
from annotations.rendering import NOT_PLAIN, is_plain_name
from curator.lib.refusals import Refusal
from curator.models import User

MOST_ASKED = 8  # aspects; each is one more question of every pair
LONGEST_GUIDELINES = 50_000
MOST_BETWEEN = 1000  # pairs from one gold or repeated pair to the next


class NotRules(Refusal):
    """What annotators would be asked makes no sense."""

    status = 422


@transaction.atomic
def create_dataset(
    *, slug: str, name: str, by: User | None, description: str = "", guidelines: str = ""
) -> Dataset:
    """A dataset owned by its creator; by nobody yet when it is made on the command line of the
    machine."""
    dataset = Dataset(
        slug=slug, name=name or slug, description=description, guidelines=guidelines, created_by=by
    )
    if not is_plain_name(dataset.name):
        raise Refusal(NOT_PLAIN)
    try:
        dataset.full_clean()
    except ValidationError as error:
        raise Refusal(f"{slug!r} cannot be a dataset: {' '.join(error.messages)}") from error
    dataset.save()
    if by is not None:
        Membership.objects.create(dataset=dataset, user=by, role=Role.OWNER)
    return dataset


@transaction.atomic
def set_rules(
    *,
    dataset: Dataset,
    by: User,
    guidelines: str,
    aspects: Sequence[str],
    asks_strength: bool,
    requires_rationale: bool,
    gold_every: int,
    repeat_every: int,
) -> None:
    """What annotators of the dataset are asked from now on. Labels given before stay as they
    are."""
    permissions.check_can_curate(by, dataset)
    check_aspects(aspects)
    if len(guidelines) > LONGEST_GUIDELINES:
        raise NotRules(f"The guidelines are longer than {LONGEST_GUIDELINES:,} characters.")
    check_every(gold_every)
    check_every(repeat_every)
    dataset.guidelines, dataset.aspects = guidelines, list(aspects)
    dataset.asks_strength, dataset.requires_rationale = asks_strength, requires_rationale
    dataset.gold_every, dataset.repeat_every = gold_every, repeat_every
    dataset.save(
        update_fields=[
            *("guidelines", "aspects", "asks_strength", "requires_rationale"),
            *("gold_every", "repeat_every"),
        ]
    )


def check_aspects(names: Sequence[str]) -> None:
    """Raises NotRules for aspects that could not be asked."""
    if len(names) > MOST_ASKED:
        raise NotRules(
            f"At most {MOST_ASKED} aspects: every one is a question asked of every pair."
        )
    if any(not name.strip() or len(name) > LONGEST_ASPECT for name in names):
        raise NotRules(f"The name of an aspect has 1 to {LONGEST_ASPECT} characters.")
    if not all(map(is_plain_name, names)):
        raise NotRules("The name of an aspect is a plain word or two.")
    if len({name.casefold() for name in names}) != len(names):
        raise NotRules("Two aspects have the same name.")


def check_every(pairs: int) -> None:
    """Raises NotRules where one pair in so many cannot be set aside."""
    if pairs == 1 or not 0 <= pairs <= MOST_BETWEEN:
        raise NotRules(f"Choose 0 for none, or 2 to {MOST_BETWEEN:,}.")


@transaction.atomic
def add_member(*, dataset: Dataset, user: User, role: str) -> Membership:
    """Give the user this role in the dataset, in place of the one they had; a membership that has
    ended is resumed."""
    if role not in Role.values:
        raise Refusal(f"The role {role!r} is not known: choose {', '.join(Role.values)}.")
    before = Membership.objects.filter(dataset=dataset, user=user).first()
    member, _ = Membership.objects.update_or_create(
        dataset=dataset, user=user, defaults={"role": role, "ended_at": None}
    )
    was = before.role if before is not None and before.ended_at is None else ""
    if before is not None and was != role:
        note_role(member, was=was, by=None)
    return member


def note_role(membership: Membership, *, was: str, by: User | None) -> None:
    """Keep that a member has another role than before, or, `was` being blank, is one again, and who
    saw to it; None on the command line of the machine."""
    RoleChange.objects.create(membership=membership, was=was, role=membership.role, created_by=by)


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
