"""`manage.py sign_in_link USERNAME`: a one-time link that signs a person in."""

import argparse
from collections.abc import Mapping
from typing import Any

from curator import sign_in_links
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from curator.models import User


class Command(CuratorCommand):
    help = (
        "Print a link that signs a person in once, for three days; with --create, make the "
        "person first."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument(
            "--create", action="store_true", help="make the user if there is none of this name"
        )
        parser.add_argument(
            "--base", default="http://127.0.0.1:8000", help="where the server answers"
        )

    def perform(
        self, *, username: str, create: bool, base: str, **options: Any
    ) -> Mapping[str, Any]:
        user = User.objects.filter(username=username).first()
        if user is None and create:
            user = User(username=username)
            user.set_unusable_password()
            user.full_clean(exclude=["password"])
            user.save()
        if user is None:
            raise Refusal(f"There is no user {username!r}: name one that exists, or add --create.")
        return {"username": username, "link": base.rstrip("/") + sign_in_links.path_for(user)}
