"""Who cannot sign in is told whom to ask."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError, connection
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


@pytest.fixture
def somebody_writes() -> Iterator[None]:
    """Another process is in the midst of a long transaction, and nobody waits for it for long."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has one writer at a time")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, uri=True)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.rollback()
    other.close()
    connection.close()  # the next one waits as it should


@pytest.mark.django_db(transaction=True)
def test_who_signs_in_while_the_database_is_written_is_asked_to_try_again(
    casey: User, somebody_writes: None
) -> None:
    desk = Client(raise_request_exception=False)
    answer: Any = desk.post(
        reverse("sign-in"), {"username": "casey", "password": "a long enough password"}
    )
    assert answer.status_code == 503
    assert "Busy, try again" in answer.content.decode()
    assert answer["Retry-After"]


def test_a_session_that_cannot_be_kept_is_no_fault_of_ours(
    casey: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is written after the view has answered, where no refusal is heard."""

    def locked(*_: Any, **__: Any) -> None:
        raise OperationalError("database is locked")

    desk = Client(raise_request_exception=False)
    monkeypatch.setattr(SessionStore, "save", locked)
    right = {"username": "casey", "password": "a long enough password"}
    assert desk.post(reverse("sign-in"), right).status_code == 503


@pytest.mark.django_db
def test_what_nobody_expected_is_still_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OperationalError("something else")

    desk = Client(raise_request_exception=False)
    monkeypatch.setattr("django.contrib.auth.views.LoginView.dispatch", broken)
    assert desk.get(reverse("sign-in")).status_code == 500
