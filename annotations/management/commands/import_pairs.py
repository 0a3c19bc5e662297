"""`manage.py import_pairs FILE --dataset SLUG`: stream a file of preference pairs into a
dataset."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import launch
from annotations.datasets import create_dataset
from annotations.formats.layouts import AUTO, BY_NAME
from annotations.models import Dataset, Import
from curator.command import CuratorCommand
from curator.lib.doorbell import ring
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = (
        "Import a file of preference pairs (JSONL, JSON, CSV or Parquet, optionally gzipped) "
        "into a dataset."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("path", help="the file to import")
        parser.add_argument(
            "--dataset", required=True, metavar="SLUG", help="made if it is not there yet"
        )
        parser.add_argument(
            "--format", default=AUTO, help=f"{AUTO} (default), {', '.join(BY_NAME)}"
        )

    def perform(self, *, path: str, dataset: str, format: str, **options: Any) -> Mapping[str, Any]:
        file = Path(path)
        if not file.is_file():
            raise Refusal(f"There is no file {path}.")
        into = Dataset.objects.filter(slug=dataset).first()
        if into is None:
            into = create_dataset(slug=dataset, name=dataset, by=None)
            self.say(f"Made the dataset {dataset}.")
        with file.open("rb") as opened:
            row = launch.start_import(
                dataset=into, file=opened, name=file.name, layout=format, by=None
            )
        with self.workers("default"):
            ring(
                launch.RUN_IMPORT, import_id=row.pk
            )  # again, in case the broker has only just come up
            self.follow(row, describe)
        return {
            "dataset": into.slug,
            "import": row.pk,
            "format": row.found_format,
            "read": row.read,
            "created": row.created,
            "duplicates": row.duplicates,
            "refused": row.refused,
            "report": row.report.path if row.report else None,
        }


def describe(row: Import) -> tuple[float, str]:
    return row.share_done, f"{row.read:,} rows read, {row.refused:,} refused"
