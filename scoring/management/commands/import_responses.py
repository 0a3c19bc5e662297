"""`manage.py import_responses SLUG FILE --name NAME`: keep prompts with several sampled
responses, to meta-train on or to choose the best of."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import responses


class Command(CuratorCommand):
    help = (
        "Keep a file of prompts with several responses each, sampled from a policy: rows of "
        '{"prompt", "responses": […], "scores": […]}, of which the scores may be left out.'
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("file", metavar="FILE", help="JSON lines, JSON or Parquet; also packed")
        parser.add_argument("--name", required=True)

    def perform(self, *, dataset: str, file: str, name: str, **options: Any) -> Mapping[str, Any]:
        row, report = responses.store_from(
            dataset=dataset_called(dataset), path=Path(file), name=name, by=None
        )
        for problem in report.problems:
            self.say(problem)
        return {
            "responses": row.name,
            "digest": row.digest,
            "read": report.read,
            "prompts": row.prompts,
            "kept": row.responses,
            "scored": row.scored,
            "refused": report.refused,
        }
