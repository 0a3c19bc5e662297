"""`manage.py api_token USERNAME --name NAME`: a token with which a program acts as a person."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations.datasets import user_called
from curator import tokens
from curator.command import CuratorCommand


class Command(CuratorCommand):
    help = (
        "Make a token with which a program uses the REST API as this person, and print its secret, "
        "which cannot be shown again; with --revoke, make the token of this name useless."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument("--name", required=True, help="what the token is for")
        parser.add_argument("--revoke", action="store_true", help="the token of this name")

    def perform(
        self, *, username: str, name: str, revoke: bool, **options: Any
    ) -> Mapping[str, Any]:
        user = user_called(username)
        if revoke:
            tokens.revoke(user=user, name=name)
            return {"username": username, "name": name, "revoked": True}
        return {"username": username, "name": name, "token": tokens.issue(user=user, name=name)}
