"""Requests that are larger than the server reads: told so in a sentence, and logged in a line."""

import logging
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from annotations.models import Dataset
from curator import tokens
from curator.models import User

TOO_LONG = "x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
SENTENCE = "What you sent is larger than 2 MiB, the most that is read at once: shorten it."


@pytest.fixture
def guarded(casey: User) -> Client:
    """casey's browser, whose requests are protected from forgery: that reads them early."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(casey)
    client.get(reverse("annotations:keys"))  # for the cookie
    return client


def test_what_is_too_long_is_refused_in_a_sentence(
    dataset: Dataset, guarded: Client, caplog: pytest.LogCaptureFixture
) -> None:
    address = reverse("annotations:labelling-rules", args=[dataset.slug])
    with caplog.at_level(logging.INFO):
        page = guarded.post(address, {"guidelines": TOO_LONG})
        notice = guarded.post(address, {"guidelines": TOO_LONG}, headers={"HX-Request": "true"})
    for answer in (page, notice):
        assert answer.status_code == 413
        assert SENTENCE in answer.content.decode()
    assert "<html" not in notice.content.decode()
    assert notice["HX-Retarget"] == "#notices"
    for record in caplog.records:
        assert record.levelno < logging.ERROR
        assert record.exc_info is None
    assert address in caplog.text


def test_so_are_too_many_fields(guarded: Client, dataset: Dataset, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3
    address = reverse("annotations:labelling-rules", args=[dataset.slug])
    answer = guarded.post(address, {str(number): "x" for number in range(4)})
    assert answer.status_code == 413
    assert "What you sent has more fields than are read at once" in answer.content.decode()


def test_a_program_is_told_in_its_own_way(dataset: Dataset, casey: User) -> None:
    headers = {"Authorization": f"Bearer {tokens.issue(user=casey, name='tests')}"}
    answer = Client().post(
        f"/api/datasets/{dataset.slug}/leases/1/label",
        f'{{"choice": "{TOO_LONG}"}}',
        content_type="application/json",
        headers=headers,
    )
    assert (answer.status_code, answer.json()["detail"]) == (413, SENTENCE)
