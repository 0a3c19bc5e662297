"""Tokens for the REST API are made and revoked by whoever has a shell on the machine."""

import pytest

from tests.commands.conftest import Installation


@pytest.fixture(scope="module")
def ada(installation: Installation) -> str:
    """Somebody with an account."""
    installation.json("sign_in_link", "ada", "--create")
    return "ada"


def test_a_token_is_shown_once_and_revoked_by_its_name(
    installation: Installation, ada: str
) -> None:
    made = installation.json("api_token", ada, "--name", "nightly")
    assert (made["username"], made["name"]) == (ada, "nightly")
    assert made["token"].startswith("cur_")
    again = installation.run("api_token", ada, "--name", "nightly").refusal
    assert again.startswith("Refused: ada has a token called 'nightly' already: revoke it first")
    assert made["token"] not in again
    revoked = installation.json("api_token", ada, "--name", "nightly", "--revoke")
    assert revoked == {"username": ada, "name": "nightly", "revoked": True}
    other = installation.json("api_token", ada, "--name", "nightly")["token"]
    assert other != made["token"]


def test_what_cannot_be_a_token_is_refused(installation: Installation, ada: str) -> None:
    nobody = installation.run("api_token", "nobody", "--name", "x").refusal
    assert nobody.startswith("Refused: There is no user 'nobody'")
    gone = installation.run("api_token", ada, "--name", "gone", "--revoke").refusal
    assert gone.startswith("Refused: ada has no token called 'gone'; there are:")
    for name in ("", "x" * 61):
        refusal = installation.run("api_token", ada, "--name", name).refusal
        assert "cannot be a token" in refusal
