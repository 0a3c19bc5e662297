"""`manage.py gold SLUG FILE`: mark pairs whose right answer is known."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import golds
from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = (
        "Mark the pairs that a file names as gold or practice pairs. A row has the pair's `id` or "
        "`digest`, the right `label` (a, b, tie, both_bad), an `explanation` and `practice`."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="the dataset")
        parser.add_argument("path", help="the file: JSONL, JSON or CSV, also with gzip or xz")
        parser.add_argument(
            "--practice", action="store_true", help="for practice, where a row does not say"
        )

    def perform(self, *, slug: str, path: str, practice: bool, **options: Any) -> Mapping[str, Any]:
        dataset, file = dataset_called(slug), Path(path)
        if not file.is_file():
            raise Refusal(f"There is no file {path}.")
        with file.open("rb") as opened:
            brought = golds.bring_in(dataset=dataset, file=opened, by=None, practice=practice)
        if brought.read == brought.refused:
            raise Refusal(f"None of the {brought.read:,} rows could be used. {brought.reasons[0]}")
        for reason in brought.reasons:
            self.say(reason)
        return {
            "dataset": dataset.slug,
            "read": brought.read,
            "marked": brought.marked,
            "unchanged": brought.unchanged,
            "refused": brought.refused,
        }
