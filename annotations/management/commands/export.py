"""`manage.py export SNAPSHOT --format NAME --output PATH`: write a snapshot for a trainer."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import launch
from annotations.models import Export, Snapshot
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = (
        "Write a snapshot in the format of a trainer. The same snapshot always gives the same "
        "bytes."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("snapshot", type=int, help="the id that `snapshot` printed")
        parser.add_argument(
            "--format", default=Export.Format.TRL_REWARD, help=", ".join(Export.Format.values)
        )
        parser.add_argument("--output", required=True, metavar="PATH", help="the file to write")

    def perform(
        self, *, snapshot: int, format: str, output: str, **options: Any
    ) -> Mapping[str, Any]:
        found = Snapshot.objects.filter(pk=snapshot).first()
        if found is None:
            raise Refusal(
                f"There is no snapshot {snapshot}: make one with `manage.py snapshot SLUG`."
            )
        path = Path(output)
        if not path.parent.is_dir():
            raise Refusal(f"There is no folder {path.parent} to write to.")
        if format not in Export.Format.values:
            raise Refusal(
                f"The format {format!r} is not known: choose {', '.join(Export.Format.values)}."
            )
        written = found.exports.filter(format=format, status=Export.Status.DONE).first()
        row = written or self._write(found, format)
        partial = path.with_name(f".{path.name}.part")
        with row.file.open("rb") as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target)
        partial.replace(path)
        return {
            "path": str(path),
            "format": row.format,
            "rows": row.rows,
            "left_out": row.left_out,
            "sha256": row.sha256,
        }

    def _write(self, snapshot: Snapshot, layout: str) -> Export:
        with self.workers("default"):
            row = launch.start_export(snapshot=snapshot, layout=layout, by=None)
            return self.follow(row, lambda row: (row.share_done, f"{row.rows:,} rows written"))
