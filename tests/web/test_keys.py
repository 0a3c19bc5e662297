"""Everybody's own keys: one printable character each, never twice, and never anything but text."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from annotations import keys
from annotations.models import Dataset
from curator.models import User
from tests import factories

HOSTILE = ["<", '"', "'", "&"]


def chosen(**changes: str) -> dict[str, str]:
    return {**keys.DEFAULTS, **changes}


def post(client: Client, **changes: str) -> Any:
    return client.post(reverse("annotations:keys"), chosen(**changes))


def test_own_keys_are_kept_and_shown_on_the_buttons(as_casey: Client, dataset: Dataset) -> None:
    factories.pairs(dataset)
    factories.opened_round(dataset)
    assert post(as_casey, first="j", second="k").status_code == 302
    kept = User.objects.get(username="casey").keys
    assert kept == {"first": "j", "second": "k"}
    page = as_casey.get(reverse("annotations:label", args=[dataset.slug])).content.decode()
    assert "1 better <kbd>j</kbd>" in page
    assert '"first": "j"' in page


def test_a_capital_is_kept_as_the_small_letter_that_its_key_gives(as_casey: Client) -> None:
    post(as_casey, first="J")
    assert User.objects.get(username="casey").keys == {"first": "j"}


def test_one_goes_back_to_the_defaults(as_casey: Client, casey: User) -> None:
    casey.keys = {"first": "j"}
    casey.save()
    as_casey.post(reverse("annotations:keys"), {"defaults": "1"})
    assert User.objects.get(username="casey").keys == {}


@pytest.mark.parametrize(
    "key", ["", " ", "ab", "\t", "\n", "\u202e", "\u200b", "\u0301", "\x07", "<script>", "Enter"]
)
def test_what_is_no_single_printable_character_is_refused(as_casey: Client, key: str) -> None:
    answer = post(as_casey, first=key)
    assert answer.status_code == 422
    assert "first" in answer.context["form"].errors
    assert User.objects.get(username="casey").keys == {}


def test_one_key_for_two_actions_is_refused_at_both(as_casey: Client) -> None:
    answer = post(as_casey, first="t")
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {"first", "tie"}
    assert "This key stands twice" in answer.content.decode()


@pytest.mark.parametrize("key", HOSTILE)
def test_a_sign_of_markup_is_a_key_like_any_other_and_stays_text(
    as_casey: Client, dataset: Dataset, key: str
) -> None:
    factories.pairs(dataset)
    factories.opened_round(dataset)
    assert post(as_casey, first=key).status_code == 302
    label = as_casey.get(reverse("annotations:label", args=["pairs"])).content.decode()
    assert f"<kbd>{escape(key)}</kbd>" in label
    assert f'value="{escape(key)}"' in as_casey.get(reverse("annotations:keys")).content.decode()


@pytest.mark.parametrize(
    "stored",
    [
        {"first": "<script>alert(1)</script>"},
        {"first": "<img src=x onerror=alert(1)>"},
        {"first": ["1"]},
        {"first": None},
        {"unknown": "x"},
        {"first": "t"},
        {"first": "ab", "second": "\u202e"},
        [],
        "x",
        None,
        7,
    ],
)
def test_whatever_is_stored_only_keys_come_out(stored: object) -> None:
    assert keys.keys_of(stored) == keys.DEFAULTS


def test_markup_that_somebody_put_into_the_database_reaches_no_page(
    as_casey: Client, dataset: Dataset, casey: User
) -> None:
    factories.pairs(dataset)
    factories.opened_round(dataset)
    casey.keys = {"first": '"><script>alert(1)</script>', "tie": "<b>"}
    casey.save()
    for address in (reverse("annotations:keys"), reverse("annotations:label", args=["pairs"])):
        page = as_casey.get(address).content.decode()
        assert "alert(1)" not in page
        assert "<b>" not in page


def test_the_defaults_are_a_choice_that_is_allowed() -> None:
    assert keys.problems(keys.DEFAULTS) == {}
    assert keys.changes(keys.DEFAULTS) == {}


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("/datasets/pairs/label/", "/datasets/pairs/label/"),
        ("https://elsewhere.example/", "/keys/"),
        ("//elsewhere.example/", "/keys/"),
        ("javascript:alert(1)", "/keys/"),
        ("foo", "/keys/"),
    ],
)
def test_one_comes_back_to_where_one_was_and_nowhere_else(
    as_casey: Client, address: str, target: str
) -> None:
    answer: Any = as_casey.post(reverse("annotations:keys"), {**keys.DEFAULTS, "next": address})
    assert answer["Location"] == target


def test_a_stranger_to_the_installation_signs_in_first(client: Client, db: Any) -> None:
    assert client.get(reverse("annotations:keys")).status_code == 302
