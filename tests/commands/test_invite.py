"""People are let in from the machine too, by whoever has a shell on it."""

import pytest

from tests.commands.conftest import Installation


@pytest.fixture(scope="module")
def dataset(installation: Installation) -> str:
    """A dataset that olga owns."""
    path = installation.home / "pairs.jsonl"
    path.write_text('{"id": "1", "prompt": "Q?", "response_a": "yes", "response_b": "no"}\n')
    installation.json("sign_in_link", "olga", "--create")
    installation.json("import_pairs", str(path), "--dataset", "invited", "--owner", "olga")
    return "invited"


def test_who_is_new_gets_a_link_and_who_is_not_gets_none(
    installation: Installation, dataset: str
) -> None:
    made = installation.json("invite", dataset, "anna", "--name", "Anna Arendt")
    assert (made["username"], made["role"], made["dataset"]) == ("anna", "annotator", dataset)
    assert made["link"].startswith("http://127.0.0.1:8000/sign-in/")
    installation.json("sign_in_link", "casey", "--create")
    added = installation.json("invite", dataset, "casey", "--role", "curator")
    assert (added["role"], added["link"]) == ("curator", None)


def test_what_cannot_be_is_refused_in_a_sentence(installation: Installation, dataset: str) -> None:
    again = installation.run("invite", dataset, "olga").refusal
    assert again.startswith("Refused: olga is a member already, as owner")
    nowhere = installation.run("invite", "nowhere", "bo").refusal
    assert nowhere.startswith("Refused: There is no dataset 'nowhere'")
    king = installation.run("invite", dataset, "bo", "--role", "king").refusal
    assert king.startswith("Refused: The role 'king' is not known")
    odd = installation.run("invite", dataset, "two words").refusal
    assert odd.startswith("Refused: 'two words' cannot be a user")


def test_agreement_is_told_where_nobody_has_labelled(
    installation: Installation, dataset: str
) -> None:
    found = installation.json("agreement", dataset)
    assert (found["labels"], found["annotators"]) == (0, [])
    assert [measure["estimate"] for measure in found["agreement"]] == [None] * 4
