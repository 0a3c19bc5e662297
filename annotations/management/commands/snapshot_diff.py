"""`manage.py snapshot_diff SNAPSHOT [--since SNAPSHOT | --now]`: what changed between the two."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations import changes, tagging
from annotations.changes import Moment
from annotations.models import Snapshot
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = "What changed up to a snapshot since the one before, or another, or from it until now."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("snapshot", help=tagging.HOW.replace("`", ""))
        other = parser.add_mutually_exclusive_group()
        other.add_argument("--since", metavar="SNAPSHOT", help="default: the one before")
        other.add_argument("--now", action="store_true", help="from the snapshot until now")

    def perform(
        self, *, snapshot: str, since: str | None, now: bool, **options: Any
    ) -> Mapping[str, Any]:
        named = tagging.snapshot_called(snapshot)
        newer = Moment(named.dataset, None if now else named)
        older = named if now else tagging.snapshot_called(since) if since else _before(named)
        then = Moment(older.dataset, older)
        return changes.as_json(then, newer, changes.compute(then, newer))


def _before(snapshot: Snapshot) -> Snapshot:
    found = snapshot.dataset.snapshots.filter(number__lt=snapshot.number).first()
    if found is None:
        raise Refusal("There is no snapshot before this one: compare it with `--now`.")
    return found
