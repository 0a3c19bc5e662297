"""The page of people: who sees it, who changes it, and what a link on it is good for."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotations.models import Dataset, Membership, Role
from curator.models import User
from tests import factories


@pytest.fixture
def olivia(db: Any) -> User:
    return factories.user("olivia")


@pytest.fixture
def owned(olivia: User, casey: User) -> Dataset:
    """A dataset that olivia owns and casey curates."""
    return factories.dataset("owned", owners=[olivia], curators=[casey])


@pytest.fixture
def desk(owned: Dataset, olivia: User, client: Client) -> Client:
    client.force_login(olivia)
    return client


def text(response: Any) -> str:
    return " ".join(response.content.decode().replace("\u202f", " ").split())


def post(desk: Client, name: str, *arguments: Any, **data: Any) -> Any:
    return desk.post(reverse(f"annotations:{name}", args=["owned", *arguments]), data)


def page(client: Client) -> Any:
    return client.get(reverse("annotations:people", args=["owned"]))


def member(dataset: Dataset, username: str) -> Membership:
    return Membership.objects.get(dataset=dataset, user__username=username)


def test_an_invitation_shows_its_link_once(desk: Client, owned: Dataset) -> None:
    response = post(desk, "people", username="anna", full_name="Anna Arendt", role="annotator")
    assert response.status_code == 200
    link = response.context["link"]
    assert link.startswith("http://testserver/sign-in/")
    assert link in text(response)
    assert "3 days from now" in text(response)
    assert "no-store" in response["Cache-Control"]
    assert "/sign-in/" not in text(page(desk))
    visitor = Client()
    asked = visitor.get(link.removeprefix("http://testserver"))
    assert "Anna Arendt" in text(asked)
    visitor.post(link.removeprefix("http://testserver"))
    assert visitor.get(reverse("scoring:overview", args=["owned"])).status_code == 200


def test_who_has_a_login_is_added_without_a_link(desk: Client, owned: Dataset) -> None:
    factories.user("anna")
    response = post(desk, "people", username="anna", role="curator")
    assert response.status_code == 302
    assert "anna is a member now" in text(page(desk))
    assert member(owned, "anna").role == Role.CURATOR


def test_what_was_typed_wrong_is_said_beside_it(desk: Client) -> None:
    for data, sentence in (
        ({"username": "two words", "role": "annotator"}, "cannot be a user"),
        ({"username": "casey", "role": "annotator"}, "casey is a member already, as curator"),
        ({"username": "", "role": "annotator"}, "This field is required"),
        ({"username": "anna", "role": "king"}, "Select a valid choice"),
    ):
        response = post(desk, "people", **data)
        assert response.status_code == 422, data
        assert sentence in text(response), data
    assert not User.objects.filter(username="anna").exists()


def test_names_are_shown_as_text(desk: Client) -> None:
    evil = "<script>alert(1)</script>"
    response = post(desk, "people", username="anna", full_name=evil, role="annotator")
    assert evil not in response.content.decode()
    assert evil not in page(desk).content.decode()


def test_a_role_is_changed_in_the_list(desk: Client, owned: Dataset) -> None:
    response = post(desk, "people-role", member(owned, "casey").pk, role="annotator")
    assert response["Location"] == reverse("annotations:people", args=["owned"])
    assert "casey is now an annotator" in text(page(desk))
    assert member(owned, "casey").role == Role.ANNOTATOR
    assert post(desk, "people-role", member(owned, "casey").pk, role="king").status_code == 400


def test_who_is_sent_away_comes_back_the_same(desk: Client, owned: Dataset, casey: User) -> None:
    theirs = Client()
    theirs.force_login(casey)
    casey_id = member(owned, "casey").pk
    post(desk, "people-deactivate", casey_id)
    assert page(theirs).status_code == 404
    assert "Reactivate casey" in text(page(desk))
    post(desk, "people-deactivate", casey_id)  # a second click
    post(desk, "people-reactivate", casey_id)
    assert page(theirs).status_code == 200


def test_the_last_owner_is_told_to_find_another(desk: Client, owned: Dataset) -> None:
    response = post(desk, "people-deactivate", member(owned, "olivia").pk)
    assert response.status_code == 400
    assert "olivia is the only owner" in text(response)


def test_an_owner_may_go_when_another_stays(desk: Client, owned: Dataset) -> None:
    post(desk, "people-role", member(owned, "casey").pk, role="owner")
    response = post(desk, "people-deactivate", member(owned, "olivia").pk)
    assert response["Location"] == reverse("scoring:datasets")
    assert page(desk).status_code == 404


def test_a_lost_link_is_made_again_but_not_for_somebody_elses_login(
    desk: Client, owned: Dataset
) -> None:
    post(desk, "people", username="anna", role="annotator")
    assert "New sign-in link for anna" in text(page(desk))
    again = post(desk, "people-link", member(owned, "anna").pk)
    assert "/sign-in/" in again.context["link"]
    assert "New sign-in link for casey" not in text(page(desk))
    refused = post(desk, "people-link", member(owned, "casey").pk)
    assert refused.status_code == 403
    assert "/sign-in/" not in text(refused)


def test_curators_look_and_do_not_touch(client: Client, owned: Dataset, casey: User) -> None:
    client.force_login(casey)
    seen = text(page(client))
    assert "olivia" in seen
    assert "Invite somebody" not in seen
    assert "Deactivate" not in seen
    assert post(client, "people", username="anna", role="owner").status_code == 403
    mine = member(owned, "casey").pk
    assert post(client, "people-role", mine, role="owner").status_code == 403
    for name in ("people-deactivate", "people-reactivate", "people-link"):
        assert post(client, name, member(owned, "olivia").pk).status_code == 403, name


def test_annotators_and_strangers_see_nobody(owned: Dataset) -> None:
    anna = factories.annotator(owned, "anna").user
    assert anna is not None
    for person, status in ((anna, 403), (factories.user("stranger"), 404)):
        client = Client()
        client.force_login(person)
        assert page(client).status_code == status
        assert post(client, "people-role", member(owned, "olivia").pk).status_code == status


def test_a_membership_of_another_dataset_is_not_found(desk: Client, owned: Dataset) -> None:
    other = factories.dataset("other", owners=[factories.user("other")])
    theirs = member(other, "other").pk
    for name in ("people-role", "people-deactivate", "people-reactivate", "people-link"):
        assert post(desk, name, theirs, role="annotator").status_code == 404, name


def test_the_page_asks_the_database_a_fixed_number_of_times(
    desk: Client, owned: Dataset, django_assert_max_num_queries: Any
) -> None:
    for number in range(8):
        factories.annotator(owned, f"person-{number}")
    with django_assert_max_num_queries(16):
        page(desk)
