"""`manage.py export_labels SLUG --output PATH`: write what annotators said of a dataset."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import label_files
from annotations.datasets import dataset_called
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = (
        "Write the labels of a dataset, one judgement a line: by whom, which response stood first, "
        "strength, aspects, reason, marks, seconds."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="the dataset")
        parser.add_argument("--output", required=True, metavar="PATH", help="the file to write")
        parser.add_argument(
            "--format", default="jsonl", help=f"{', '.join(label_files.WRITERS)} (default: jsonl)"
        )
        parser.add_argument(
            "--superseded",
            action="store_true",
            help="also labels that were changed or taken back, repeats and practice",
        )

    def perform(
        self, *, slug: str, output: str, format: str, superseded: bool, **options: Any
    ) -> Mapping[str, Any]:
        dataset, path = dataset_called(slug), Path(output)
        if format not in label_files.WRITERS:
            known = ", ".join(label_files.WRITERS)
            raise Refusal(f"The format {format!r} is not known: choose {known}.")
        if not path.parent.is_dir():
            raise Refusal(f"There is no folder {path.parent} to write to.")
        partial = path.with_name(f".{path.name}.part")
        tally = label_files.Tally()
        with partial.open("wb") as file:
            write = label_files.WRITERS[format]
            for page in write(dataset, with_history=superseded, tally=tally):
                file.write(page)
        partial.replace(path)
        return {"path": str(path), "format": format, "labels": tally.labels}
