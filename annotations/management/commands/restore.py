"""`manage.py restore SNAPSHOT`: let the decisions of an old snapshot hold again."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations import batches, launch, tagging
from curator.command import CuratorCommand


class Command(CuratorCommand):
    help = "Let the decisions of an old snapshot hold again; pairs that came later are left."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("snapshot", help=tagging.HOW.replace("`", ""))
        parser.add_argument(
            "--expected",
            type=int,
            metavar="PAIRS",
            help="how many verdicts are to change; where it would be others, nothing is done",
        )
        parser.add_argument("--reason", default="", help="why, for the batch")

    def perform(
        self, *, snapshot: str, expected: int | None, reason: str, **options: Any
    ) -> Mapping[str, Any]:
        found = tagging.snapshot_called(snapshot)
        with self.workers("default"):
            seen = {} if expected is None else {"counts": {"all": expected}}
            row = launch.start_restore(snapshot=found, by=None, expected=seen, reason=reason)
            done = self.follow(row, lambda row: (row.share_done, batches.in_words(row)))
        return {"restored": f"{found.dataset.slug}@{found.number}", **batches.as_dict(done)}
