"""`manage.py invite SLUG USERNAME`: make somebody a member of a dataset."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations import people
from annotations.datasets import dataset_called
from annotations.models import Role
from curator.command import CuratorCommand


class Command(CuratorCommand):
    help = (
        "Make somebody a member of a dataset. Who has no login yet gets one, and a link that signs "
        "them in once."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("username")
        parser.add_argument("--role", default=Role.ANNOTATOR, help=", ".join(Role.values))
        parser.add_argument("--name", default="", help="their full name, for a new login")
        parser.add_argument(
            "--base", default="http://127.0.0.1:8000", help="where the server answers"
        )

    def perform(
        self, *, dataset: str, username: str, role: str, name: str, base: str, **options: Any
    ) -> Mapping[str, Any]:
        invitation = people.invite(
            dataset=dataset_called(dataset), username=username, role=role, full_name=name, by=None
        )
        link = base.rstrip("/") + invitation.path if invitation.path else None
        return {
            "dataset": dataset,
            "username": invitation.user.username,
            "role": invitation.membership.role,
            "link": link,
        }

    def report(self, found: Mapping[str, Any]) -> None:
        self.stdout.write(f"{found['username']} is now {found['role']} of {found['dataset']}.")
        if found["link"]:
            self.stdout.write(f"One-time sign-in link: {found['link']}")
        else:
            self.stdout.write("They have a login already, and sign in as they are used to.")
