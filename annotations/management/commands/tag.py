"""`manage.py tag SNAPSHOT NAME`: call a snapshot by a name, or take the name away."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations import tagging
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = "Give a snapshot a name; another that had it loses it."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("snapshot", help=tagging.HOW.replace("`", ""))
        parser.add_argument("name", help="such as v1")
        parser.add_argument("--remove", action="store_true", help="take the name away")

    def perform(
        self, *, snapshot: str, name: str, remove: bool, **options: Any
    ) -> Mapping[str, Any]:
        found = tagging.snapshot_called(snapshot)
        if remove:
            held = tagging.of_snapshot(found).filter(name=name).first()
            if held is None:
                raise Refusal(f"Snapshot {found.number} has no tag {name}.")
            tagging.untag(tag=held, by=None)
        else:
            tagging.tag(snapshot=found, name=name, by=None)
        return {
            "dataset": found.dataset.slug,
            "snapshot": found.pk,
            "number": found.number,
            "tags": list(tagging.of_snapshot(found).values_list("name", flat=True)),
        }
