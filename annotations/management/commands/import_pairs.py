"""`manage.py import_pairs FILE --dataset SLUG`: stream a file of preference pairs into a
dataset."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import launch
from annotations.datasets import create_dataset, user_called
from annotations.formats.layouts import AUTO, BY_NAME
from annotations.models import Dataset, Import
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = (
        "Import a file of preference pairs (JSONL, JSON, CSV or Parquet, also with gzip or xz) "
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
        parser.add_argument(
            "--owner", metavar="USERNAME", help="who owns the dataset, where it is made"
        )

    def perform(
        self, *, path: str, dataset: str, format: str, owner: str | None, **options: Any
    ) -> Mapping[str, Any]:
        file = Path(path)
        if not file.is_file():
            raise Refusal(f"There is no file {path}.")
        launch.check_layout(format)
        if owner is not None:
            user_called(owner)
        with self.workers("default"):
            into = self._dataset(dataset, owner)
            with file.open("rb") as opened:
                row = launch.start_import(
                    dataset=into, file=opened, name=file.name, layout=format, by=None
                )
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

    def _dataset(self, slug: str, owner: str | None) -> Dataset:
        """The dataset of this name, made where there is none."""
        found = Dataset.objects.filter(slug=slug).first()
        if found is not None:
            return found
        by = user_called(owner) if owner else None
        made = create_dataset(slug=slug, name=slug, by=by)
        self.say(f"Made the dataset {slug}.")
        if by is None:
            self.say(
                "Nobody is a member of it yet: `manage.py sign_in_link USERNAME --create "
                f"--dataset {slug}` makes an owner."
            )
        return made


def describe(row: Import) -> tuple[float, str]:
    return row.share_done, f"{row.read:,} rows read, {row.refused:,} refused"
