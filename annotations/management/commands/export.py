"""`manage.py export SNAPSHOT --format NAME --output PATH`: write a snapshot for a trainer."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotations import describing, launch, tagging
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
        parser.add_argument("snapshot", help=tagging.HOW.replace("`", ""))
        parser.add_argument(
            "--format", default=Export.Format.TRL_REWARD, help=", ".join(Export.Format.values)
        )
        parser.add_argument("--output", required=True, metavar="PATH", help="the file to write")
        parser.add_argument("--card", metavar="PATH", help="write the dataset card there, too")

    def perform(
        self, *, snapshot: str, format: str, output: str, card: str | None, **options: Any
    ) -> Mapping[str, Any]:
        found = tagging.snapshot_called(snapshot)
        path = _place(output)
        card_path = _place(card) if card else None
        if card_path is not None and describing.of_snapshot(found) is None:
            raise Refusal(
                f"Snapshot {snapshot} has no card: it was frozen before cards were kept. Its page "
                f"writes one."
            )
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
        if card_path is not None:
            _write_card(found, card_path)
        return {
            "path": str(path),
            **({"card": str(card_path)} if card_path else {}),
            "format": row.format,
            "rows": row.rows,
            "left_out": row.left_out,
            "sha256": row.sha256,
        }

    def _write(self, snapshot: Snapshot, layout: str) -> Export:
        with self.workers("default"):
            row = launch.start_export(snapshot=snapshot, layout=layout, by=None)
            return self.follow(row, lambda row: (row.share_done, f"{row.rows:,} rows written"))


def _place(path: str) -> Path:
    place = Path(path)
    if not place.parent.is_dir():
        raise Refusal(f"There is no folder {place.parent} to write to.")
    return place


def _write_card(snapshot: Snapshot, path: Path) -> None:
    kept = describing.of_snapshot(snapshot)
    assert kept is not None
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(describing.with_files(kept), encoding="utf-8")
    partial.replace(path)
