"""`manage.py snapshot SLUG`: freeze where a dataset stands."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations import tagging
from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from scoring import freezing


class Command(CuratorCommand):
    help = "Freeze the dataset's decisions and the current run's strengths under a digest."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", metavar="SLUG")
        parser.add_argument("--note", default="")
        parser.add_argument("--tag", default="", help="a name for it, such as v1")

    def perform(self, *, dataset: str, note: str, tag: str, **options: Any) -> Mapping[str, Any]:
        snapshot = freezing.freeze(dataset=dataset_called(dataset), by=None, note=note)
        if tag:
            tagging.tag(snapshot=snapshot, name=tag, by=None)
        return {
            "snapshot": snapshot.pk,
            "number": snapshot.number,
            "digest": snapshot.digest,
            "pairs": snapshot.pairs_count,
            **snapshot.counts,
        }
