"""`manage.py import_labels FILE --dataset SLUG`: add labels of several annotators to pairs that are
there."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import launch
from annotations.datasets import dataset_called
from annotations.formats.labels import LABELS
from annotations.models import Import
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = (
        "Add a file of labels (as `export_labels` writes them; JSONL, JSON, CSV or Parquet) to the "
        "pairs of a dataset. Labels that are there already are not added again."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("path", help="the file of labels")
        parser.add_argument("--dataset", required=True, metavar="SLUG", help="where the pairs are")

    def perform(self, *, path: str, dataset: str, **options: Any) -> Mapping[str, Any]:
        file, into = Path(path), dataset_called(dataset)
        if not file.is_file():
            raise Refusal(f"There is no file {path}.")
        with self.workers("default"), file.open("rb") as opened:
            row = launch.start_import(
                dataset=into, file=opened, name=file.name, layout=LABELS, by=None
            )
            self.follow(row, describe)
        return {
            "dataset": into.slug,
            "import": row.pk,
            "format": row.found_format,
            "read": row.read,
            "created": row.labels_created,
            "duplicates": row.duplicates,
            "refused": row.refused,
            "report": row.report.path if row.report else None,
        }


def describe(row: Import) -> tuple[float, str]:
    return row.share_done, f"{row.read:,} rows read, {row.refused:,} refused"
