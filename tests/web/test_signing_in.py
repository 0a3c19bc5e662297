"""Who cannot sign in is told whom to ask."""

import pytest
from django.test import Client
from django.urls import reverse

from curator import sign_in_links
from curator.models import User


def test_who_has_a_used_link_is_sent_to_an_owner_and_not_to_a_machine(
    client: Client, casey: User
) -> None:
    path = sign_in_links.path_for(casey)
    assert client.post(path).status_code == 302
    client.logout()
    answer = client.get(path)
    assert answer.status_code == 410
    page = answer.content.decode()
    assert "ask an owner of your dataset for a new link" in page
    assert "manage.py" not in page


@pytest.mark.django_db
def test_who_has_no_password_is_told_whom_to_ask(client: Client) -> None:
    assert "an owner of your dataset" in client.get(reverse("sign-in")).content.decode()
