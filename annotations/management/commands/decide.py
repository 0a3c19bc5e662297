"""`manage.py decide SLUG --policy NAME|FILE.json [--dry-run]`: apply a policy, or see what it would
do."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import batches, launch, policies, policy_book, proposals
from annotations.datasets import dataset_called
from annotations.models import Dataset
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = "Apply a policy to a dataset, or see what it would do. People are not overruled."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument(
            "--policy",
            required=True,
            metavar="NAME|FILE.json",
            help=f"one of the dataset's, a file, or {', '.join(policies.PRESETS)}",
        )
        parser.add_argument("--dry-run", action="store_true", help="only count what it would do")
        parser.add_argument("--reason", default="", help="why, for the batch")

    def perform(
        self, *, dataset: str, policy: str, dry_run: bool, reason: str, **options: Any
    ) -> Mapping[str, Any]:
        found = dataset_called(dataset)
        wanted = _policy(found, policy)
        named = {"dataset": found.slug, "policy": wanted.name, "digest": policies.digest(wanted)}
        preview = proposals.preview(found, wanted)
        for warning in preview.warnings:
            self.say(f"Note: {warning}")
        if dry_run:
            return {**named, "dry_run": True, **preview.as_dict()}
        with self.workers("default"):
            row = launch.start_policy(dataset=found, policy=wanted, by=None, reason=reason)
            done = self.follow(row, lambda row: (row.share_done, batches.in_words(row)))
        return {**named, "dry_run": False, **batches.as_dict(done)}


def _policy(dataset: Dataset, named: str) -> policies.Policy:
    if not named.endswith(".json"):
        return policy_book.called(dataset, named)
    try:
        return policy_book.given(json.loads(Path(named).read_text(encoding="utf-8")))
    except OSError as error:
        raise Refusal(f"{named} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{named} is not JSON: {error}") from error
