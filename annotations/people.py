"""Who works on a dataset: invite people, give them roles, end and resume their membership.

`by` is who asks for it, None on the command line of the machine, which may do everything. Nothing
that a person did goes with them: their labels and decisions stay.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Max
from django.utils import timezone

from annotations import leasing, permissions, teams
from annotations.datasets import note_role
from annotations.models import Dataset, Label, Lease, Membership, Role
from annotations.rendering import NOT_PLAIN, is_plain_name
from curator import sign_in_links
from curator.lib.kept import kept
from curator.lib.refusals import Conflict, Forbidden, Refusal
from curator.models import User

LINK_LASTS = timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT)


@dataclass(frozen=True)
class Invitation:
    """Somebody who may come in, and the one-time link by which they sign in; None for who has a
    login already."""

    membership: Membership
    path: str | None

    @property
    def user(self) -> User:
        return self.membership.user


@dataclass(frozen=True)
class Given:
    """What a user has labelled in a dataset."""

    annotator_id: int | None  # None for who never labelled here
    labels: int  # judgements that hold now
    last_at: datetime | None


NOTHING_GIVEN = Given(None, 0, None)


@dataclass(frozen=True)
class Member:
    """A membership, and what its user has done in the dataset."""

    membership: Membership
    given: Given
    may_get_link: bool

    @property
    def user(self) -> User:
        return self.membership.user


def members(dataset: Dataset, *, seen_by: User) -> list[Member]:
    """Everybody who is or was a member: owners first, those whose membership has ended last."""
    found = list(dataset.memberships.select_related("user"))
    rank = {Role.OWNER: 0, Role.CURATOR: 1, Role.ANNOTATOR: 2}
    found.sort(key=lambda m: (m.ended_at is not None, rank[Role(m.role)], m.user.username))
    name = f"given-{dataset.pk}-{dataset.created_at.timestamp()}"
    given = kept(name, teams.last_labels(dataset), lambda: _labels_given(dataset)).found
    linkable = _who_may_get_a_link(found, seen_by)
    return [
        Member(
            membership,
            given.get(membership.user_id, NOTHING_GIVEN),
            may_get_link=membership.pk in linkable,
        )
        for membership in found
    ]


@transaction.atomic
def invite(
    *, dataset: Dataset, username: str, role: str, by: User | None, full_name: str = ""
) -> Invitation:
    """Make the user a member in this role. Who has no login yet gets one, and a link that signs
    them in once; others sign in as they are used to, and the link is None.

    Raises Conflict for who is a member already.
    """
    _check_may_manage(by, dataset)
    _check_role(role)
    _lock(dataset)
    username = User.normalize_username(username.strip())
    user = User.objects.filter(username=username).first()
    is_new = user is None
    if user is None:
        user = _made(username, full_name)
    elif not user.is_active:
        raise Refusal(f"The login of {user.shown_name} is closed on this installation.")
    membership = Membership.objects.filter(dataset=dataset, user=user).first()
    if membership is not None and membership.ended_at is None:
        raise Conflict(
            f"{user.shown_name} is a member already, as {membership.get_role_display()}: change "
            f"the role in the list."
        )
    was_member = membership is not None
    again = {"role": role, "ended_at": None}
    first = again | ({"joined_at": user.date_joined} if is_new else {})
    membership, _ = Membership.objects.update_or_create(
        dataset=dataset, user=user, defaults=again, create_defaults=first
    )
    if was_member:
        note_role(membership, was="", by=by)
    return Invitation(membership, sign_in_links.path_for(user) if is_new else None)


def new_link(*, membership: Membership, by: User | None) -> Invitation:
    """Another one-time link for a member who lost theirs.

    Whoever holds a link is that person everywhere, so an owner gets one only for people whose login
    was made by inviting them and all of whose datasets are the owner's. Raises Forbidden for
    others.
    """
    _check_may_manage(by, membership.dataset)
    user = membership.user
    if membership.ended_at is not None:
        raise Refusal(f"{user.shown_name} is deactivated here: reactivate them first.")
    if by is not None and not _who_may_get_a_link([membership], by):
        raise Forbidden(
            f"{user.shown_name} has a login for more than your datasets, and a link is good for "
            f"all of it, so only the machine gives one: `manage.py sign_in_link {user.username}`."
        )
    return Invitation(membership, sign_in_links.path_for(user))


@transaction.atomic
def set_role(*, membership: Membership, role: str, by: User | None) -> Membership:
    """Let the member do what the role allows, from now on. The last owner stays owner."""
    _check_may_manage(by, membership.dataset)
    _check_role(role)
    current = _locked(membership)
    if role != Role.OWNER:
        _check_another_owner(current)
    was, current.role = current.role, role
    current.save(update_fields=["role"])
    if was != role:
        note_role(current, was=was, by=by)
    return current


@transaction.atomic
def deactivate(*, membership: Membership, by: User | None) -> Membership:
    """End the membership: the user sees nothing more of the dataset, what they did stays, and the
    pair in their hands goes back. The last owner cannot go; a second time changes nothing."""
    _check_may_manage(by, membership.dataset)
    current = _locked(membership)
    if current.ended_at is not None:
        return current
    _check_another_owner(current)
    for annotator in current.dataset.annotators.filter(user=current.user_id):
        leasing.lock(annotator)  # what they are doing at this moment is done first
    current.ended_at = timezone.now()
    current.save(update_fields=["ended_at"])
    held = Lease.objects.filter(
        annotator__dataset=current.dataset_id,
        annotator__user=current.user_id,
        state=Lease.State.OPEN,
    )
    for lease in held:
        leasing.release(lease)
    return current


@transaction.atomic
def reactivate(*, membership: Membership, by: User | None) -> Membership:
    """Resume an ended membership in the role that it had."""
    _check_may_manage(by, membership.dataset)
    current = _locked(membership)
    if current.ended_at is None:
        return current
    current.ended_at = None
    current.save(update_fields=["ended_at"])
    note_role(current, was="", by=by)
    return current


def _labels_given(dataset: Dataset) -> dict[int, Given]:
    """By user, what they have labelled."""
    annotators = dataset.annotators.filter(user__isnull=False).order_by()
    said = Label.objects.judgements().filter(annotator__in=annotators.values("pk")).order_by()
    counted = said.values_list("annotator_id").annotate(Count("pk"), Max("created_at"))
    counts = {annotator: (count, last) for annotator, count, last in counted}
    return {
        user: Given(annotator, *counts.get(annotator, (0, None)))
        for user, annotator in annotators.values_list("user_id", "pk")
    }


def _who_may_get_a_link(found: list[Membership], by: User) -> set[int]:
    """The memberships whose user `by` could be trusted to be: their login was made by an invitation
    into a dataset that `by` owns, and nobody else has let them into another since."""
    own = Membership.objects.filter(user=by, role=Role.OWNER, ended_at=None).values("dataset")
    of_them = Membership.objects.filter(user__in=[m.user_id for m in found])
    elsewhere = set(of_them.exclude(dataset__in=own).values_list("user_id", flat=True))
    invited = of_them.filter(dataset__in=own, joined_at=F("user__date_joined"))
    trusted = set(invited.values_list("user_id", flat=True)) - elsewhere
    return {
        membership.pk
        for membership in found
        if membership.ended_at is None
        and membership.user_id in trusted
        and membership.user.is_active
        and not (membership.user.is_staff or membership.user.is_superuser)
    }


def _made(username: str, full_name: str) -> User:
    """A user without a password, who signs in by links."""
    namesake = User.objects.filter(username__iexact=username).first()
    if namesake is not None:  # anna and Anna would be taken for each other ever after
        raise Refusal(
            f"There is a user {namesake.username!r} already: write the name just so if you mean "
            f"them, or choose another."
        )
    if not is_plain_name(full_name):
        raise Refusal(NOT_PLAIN)
    user = User(username=username, first_name=full_name.strip())
    user.set_unusable_password()
    try:
        user.full_clean(exclude=["password"])
        with transaction.atomic():
            user.save()
    except ValidationError as error:
        raise Refusal(f"{username!r} cannot be a user: {' '.join(error.messages)}") from error
    except IntegrityError as error:
        raise Conflict(f"Somebody made the user {username!r} at the same moment.") from error
    return user


def _check_may_manage(by: User | None, dataset: Dataset) -> None:
    if by is not None:
        permissions.check_can_manage_people(by, dataset)


def _check_role(role: str) -> None:
    if role not in Role.values:
        raise Refusal(f"The role {role!r} is not known: choose {', '.join(Role.values)}.")


def _lock(dataset: Dataset) -> None:
    """One change of a dataset's members at a time: two owners who each send the other away would
    leave none. Nobody else waits for it: whoever labels or imports needs the dataset's row, and
    reads memberships without a lock."""
    members = Membership.objects.select_for_update(no_key=True).filter(dataset=dataset)
    list(members.order_by("pk").values_list("pk"))


def _locked(membership: Membership) -> Membership:
    _lock(membership.dataset)
    return Membership.objects.select_related("user", "dataset").get(pk=membership.pk)


def _check_another_owner(membership: Membership) -> None:
    """Raises Refusal where the membership is the last of an owner."""
    if membership.role != Role.OWNER or membership.ended_at is not None:
        return
    owners = Membership.objects.filter(
        dataset=membership.dataset_id, role=Role.OWNER, ended_at=None
    )
    if not owners.exclude(pk=membership.pk).exists():
        raise Refusal(
            f"{membership.user.shown_name} is the only owner: make somebody else an owner first."
        )
