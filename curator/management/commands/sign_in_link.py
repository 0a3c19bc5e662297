"""`manage.py sign_in_link USERNAME`: a one-time link that signs a person in."""

import argparse
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from annotations.datasets import add_member, dataset_called, user_called
from annotations.models import Role
from curator import sign_in_links
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal
from curator.models import User


class Command(CuratorCommand):
    help = (
        "Print a link that signs a person in once, within three days; with --create, make the "
        "person first; with --dataset, give them a role in it."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument(
            "--create", action="store_true", help="make the user if there is none of this name"
        )
        parser.add_argument("--dataset", metavar="SLUG", help="make them a member of it")
        parser.add_argument(
            "--role", default=Role.OWNER, help=f"in the dataset: {', '.join(Role.values)}"
        )
        parser.add_argument(
            "--base", default="http://127.0.0.1:8000", help="where the server answers"
        )

    @transaction.atomic
    def perform(
        self,
        *,
        username: str,
        create: bool,
        dataset: str | None,
        role: str,
        base: str,
        **options: Any,
    ) -> Mapping[str, Any]:
        is_new = create and not User.objects.filter(username=username).exists()
        user = _made(username) if is_new else user_called(username)
        if dataset is not None:
            add_member(dataset=dataset_called(dataset), user=user, role=role)
        return {"username": username, "link": base.rstrip("/") + sign_in_links.path_for(user)}


def _made(username: str) -> User:
    user = User(username=username)
    user.set_unusable_password()
    try:
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        raise Refusal(f"{username!r} cannot be a user: {' '.join(error.messages)}") from error
    user.save()
    return user
