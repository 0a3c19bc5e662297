"""Who works on a dataset: invited, given roles, sent away and taken back."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from annotations import access, leasing, people, permissions
from annotations.models import Annotator, Dataset, Label, Lease, Membership, Role
from curator import sign_in_links
from curator.lib.refusals import Conflict, Forbidden, Refusal
from curator.models import User
from tests import factories


@pytest.fixture
def olivia(db: Any) -> User:
    return factories.user("olivia")


@pytest.fixture
def owned(olivia: User) -> Dataset:
    """A dataset that olivia owns."""
    return factories.dataset("owned", owners=[olivia])


def member(dataset: Dataset, user: User) -> Membership:
    return Membership.objects.get(dataset=dataset, user=user)


def marks(path: str) -> tuple[str, str]:
    """The two parts of a sign-in link."""
    _, mark, token = path.strip("/").split("/")
    return mark, token


# --- Inviting -------------------------------------------------------------------------------------


def test_who_has_no_login_gets_one_and_a_link_that_signs_them_in(
    owned: Dataset, olivia: User
) -> None:
    invitation = people.invite(
        dataset=owned, username="anna", role=Role.ANNOTATOR, by=olivia, full_name="Anna Arendt"
    )
    assert invitation.path is not None
    assert sign_in_links.user_of(*marks(invitation.path)) == invitation.user
    assert invitation.user.shown_name == "Anna Arendt"
    assert not invitation.user.has_usable_password()
    assert permissions.role_of(invitation.user, owned) == Role.ANNOTATOR


def test_who_has_a_login_is_added_and_no_link_is_made(owned: Dataset, olivia: User) -> None:
    anna = factories.user("anna")
    invitation = people.invite(dataset=owned, username=" anna ", role=Role.CURATOR, by=olivia)
    assert (invitation.user, invitation.path) == (anna, None)
    assert permissions.can_curate(anna, owned)


def test_an_invitation_of_who_is_a_member_changes_nothing(owned: Dataset, olivia: User) -> None:
    with pytest.raises(Conflict, match="olivia is a member already, as owner"):
        people.invite(dataset=owned, username="olivia", role=Role.ANNOTATOR, by=olivia)
    assert member(owned, olivia).role == Role.OWNER


def test_an_invitation_takes_back_who_was_sent_away(owned: Dataset, olivia: User) -> None:
    people.invite(dataset=owned, username="anna", role=Role.ANNOTATOR, by=olivia)
    anna = User.objects.get(username="anna")
    people.deactivate(membership=member(owned, anna), by=olivia)
    people.invite(dataset=owned, username="anna", role=Role.CURATOR, by=olivia)
    assert permissions.role_of(anna, owned) == Role.CURATOR
    assert Membership.objects.filter(dataset=owned, user=anna).count() == 1


@pytest.mark.parametrize(
    ("username", "sentence"),
    [
        ("", "cannot be a user"),
        ("two words", "cannot be a user"),
        ("x" * 200, "cannot be a user"),
        ("OLIVIA", "There is a user 'olivia' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    owned: Dataset, olivia: User, username: str, sentence: str
) -> None:
    with pytest.raises(Refusal, match=sentence):
        people.invite(dataset=owned, username=username, role=Role.ANNOTATOR, by=olivia)
    assert list(User.objects.all()) == [olivia]


def test_a_role_that_is_not_known_is_refused(owned: Dataset, olivia: User) -> None:
    with pytest.raises(Refusal, match="role 'king' is not known"):
        people.invite(dataset=owned, username="anna", role="king", by=olivia)
    assert not User.objects.filter(username="anna").exists()


def test_a_closed_login_is_not_let_in(owned: Dataset, olivia: User) -> None:
    gone = factories.user("gone")
    User.objects.filter(pk=gone.pk).update(is_active=False)
    with pytest.raises(Refusal, match="login of gone is closed"):
        people.invite(dataset=owned, username="gone", role=Role.ANNOTATOR, by=olivia)


@pytest.mark.parametrize("role", [Role.CURATOR, Role.ANNOTATOR])
def test_only_owners_change_who_is_there(owned: Dataset, olivia: User, role: str) -> None:
    other = factories.user("other")
    Membership.objects.create(dataset=owned, user=other, role=role)
    mine = member(owned, other)
    with pytest.raises(Forbidden):
        people.invite(dataset=owned, username="friend", role=Role.OWNER, by=other)
    with pytest.raises(Forbidden):
        people.set_role(membership=mine, role=Role.OWNER, by=other)
    for change in (people.deactivate, people.reactivate, people.new_link):
        with pytest.raises(Forbidden):
            change(membership=member(owned, olivia), by=other)
    assert member(owned, other).role == role
    assert not User.objects.filter(username="friend").exists()


# --- Links again ----------------------------------------------------------------------------------


def test_who_lost_their_link_gets_another(owned: Dataset, olivia: User) -> None:
    first = people.invite(dataset=owned, username="anna", role=Role.ANNOTATOR, by=olivia)
    again = people.new_link(membership=first.membership, by=olivia)
    assert again.path is not None
    assert sign_in_links.user_of(*marks(again.path)) == first.user


def test_an_owner_gets_no_link_for_somebody_elses_login(owned: Dataset, olivia: User) -> None:
    """Inviting somebody who is here already must not be a way to become them."""
    factories.user("boss")
    added = people.invite(dataset=owned, username="boss", role=Role.ANNOTATOR, by=olivia)
    with pytest.raises(Forbidden, match="only the machine gives one"):
        people.new_link(membership=added.membership, by=olivia)
    assert people.new_link(membership=added.membership, by=None).path is not None


def test_an_owner_gets_no_link_for_who_works_elsewhere_too(owned: Dataset, olivia: User) -> None:
    mine = people.invite(dataset=owned, username="anna", role=Role.ANNOTATOR, by=olivia)
    other = factories.user("other")
    elsewhere = factories.dataset("elsewhere", owners=[other])
    theirs = people.invite(dataset=elsewhere, username="anna", role=Role.CURATOR, by=other)
    for membership, by in ((mine.membership, olivia), (theirs.membership, other)):
        with pytest.raises(Forbidden):
            people.new_link(membership=membership, by=by)
    people.deactivate(membership=theirs.membership, by=other)
    with pytest.raises(Forbidden):  # who may come back there
        people.new_link(membership=mine.membership, by=olivia)


def test_the_list_says_for_whom_a_link_may_be_made(owned: Dataset, olivia: User) -> None:
    people.invite(dataset=owned, username="anna", role=Role.ANNOTATOR, by=olivia)
    factories.user("boss")
    people.invite(dataset=owned, username="boss", role=Role.ANNOTATOR, by=olivia)
    found = {m.user.username: m.may_get_link for m in people.members(owned, seen_by=olivia)}
    assert found == {"olivia": False, "anna": True, "boss": False}


def test_who_was_sent_away_gets_no_link(owned: Dataset, olivia: User) -> None:
    anna = people.invite(dataset=owned, username="anna", role=Role.ANNOTATOR, by=olivia)
    people.deactivate(membership=anna.membership, by=olivia)
    anna.membership.refresh_from_db()
    with pytest.raises(Refusal, match="reactivate them first"):
        people.new_link(membership=anna.membership, by=olivia)


# --- Roles, going and coming ----------------------------------------------------------------------


def test_a_role_holds_from_then_on(owned: Dataset, olivia: User) -> None:
    anna = factories.annotator(owned, "anna").user
    assert anna is not None
    people.set_role(membership=member(owned, anna), role=Role.CURATOR, by=olivia)
    assert permissions.can_curate(anna, owned)
    people.set_role(membership=member(owned, anna), role=Role.ANNOTATOR, by=olivia)
    assert not permissions.can_curate(anna, owned)


def test_the_last_owner_stays(owned: Dataset, olivia: User) -> None:
    mine = member(owned, olivia)
    with pytest.raises(Refusal, match="olivia is the only owner"):
        people.deactivate(membership=mine, by=olivia)
    with pytest.raises(Refusal, match="olivia is the only owner"):
        people.set_role(membership=mine, role=Role.CURATOR, by=olivia)
    other = people.invite(dataset=owned, username="other", role=Role.OWNER, by=olivia)
    people.deactivate(membership=other.membership, by=olivia)  # who is gone owns nothing
    with pytest.raises(Refusal, match="olivia is the only owner"):
        people.deactivate(membership=mine, by=olivia)
    people.reactivate(membership=other.membership, by=olivia)
    people.deactivate(membership=mine, by=olivia)
    assert permissions.role_of(olivia, owned) is None


def test_who_is_sent_away_sees_nothing_more_and_their_labels_stay(
    owned: Dataset, olivia: User
) -> None:
    factories.pairs(owned, 2)
    factories.opened_round(owned)
    anna = factories.annotator(owned, "anna")
    factories.labelled(anna, "a")
    assert anna.user is not None
    people.deactivate(membership=member(owned, anna.user), by=olivia)
    assert not Dataset.objects.visible_to(anna.user).exists()
    assert Label.objects.judgements().filter(annotator=anna).count() == 1
    listed = people.members(owned, seen_by=olivia)[-1]
    assert (listed.user, listed.given.labels) == (anna.user, 1)
    people.reactivate(membership=member(owned, anna.user), by=olivia)
    assert access.dataset(anna.user, owned.slug) == owned


def test_the_pair_in_their_hands_goes_back(owned: Dataset, olivia: User) -> None:
    factories.pairs(owned, 1)
    round = factories.opened_round(owned)
    anna = factories.annotator(owned, "anna")
    lease = factories.leased(anna)
    assert round.rows.get().open == 0
    assert anna.user is not None
    people.deactivate(membership=member(owned, anna.user), by=olivia)
    lease.refresh_from_db()
    assert lease.state == Lease.State.RELEASED
    assert round.rows.get().open == 1


def test_who_is_sent_away_finishes_what_they_are_doing_first(
    owned: Dataset, olivia: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their annotator is locked before the membership ends, so that no answer is half-way."""
    anna = factories.annotator(owned, "anna")
    assert anna.user is not None
    still_active = []

    def lock(annotator: Annotator) -> None:
        still_active.append(member(owned, annotator.user or olivia).ended_at is None)

    monkeypatch.setattr(leasing, "lock", lock)
    people.deactivate(membership=member(owned, anna.user), by=olivia)
    assert still_active == [True]


def test_sending_away_twice_keeps_the_first_time(owned: Dataset, olivia: User) -> None:
    anna = people.invite(dataset=owned, username="anna", role=Role.ANNOTATOR, by=olivia)
    first = people.deactivate(membership=anna.membership, by=olivia).ended_at
    assert first is not None
    assert first <= timezone.now()
    assert people.deactivate(membership=anna.membership, by=olivia).ended_at == first


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_send_each_other_away_leave_one() -> None:
    one, two = factories.user("one"), factories.user("two")
    shared = factories.dataset("shared", owners=[one, two])
    orders = [(member(shared, two), one), (member(shared, one), two)]

    def send_away(order: tuple[Membership, User]) -> None:
        try:
            people.deactivate(membership=order[0], by=order[1])
        except Refusal:
            pass
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(send_away, orders))
    assert Membership.objects.filter(dataset=shared, ended_at=None).count() == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
def test_a_change_of_members_holds_up_nobody_who_adds_to_the_dataset() -> None:
    """A member's role waits for the end of its transaction, while somebody labels for the first
    time."""
    owner = factories.user("owner")
    shared = factories.dataset("shared", owners=[owner], annotators=[factories.user("anna")])

    def add() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            Annotator.objects.create(dataset=shared, name="anna", kind="human")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads, transaction.atomic():
        people.set_role(membership=member(shared, owner), role=Role.OWNER, by=owner)
        threads.submit(add).result()
    assert shared.annotators.exists()


def test_the_list_asks_the_database_a_fixed_number_of_times(
    owned: Dataset, olivia: User, django_assert_max_num_queries: Any
) -> None:
    for name in ("anna", "bo", "cleo", "dan"):
        factories.annotator(owned, name)
    with django_assert_max_num_queries(6):
        found = people.members(owned, seen_by=olivia)
    assert [m.user.username for m in found] == ["olivia", "anna", "bo", "cleo", "dan"]
