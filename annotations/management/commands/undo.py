"""`manage.py undo BATCH`: take decisions that were made many at once back as one."""

import argparse
from collections.abc import Mapping
from typing import Any

from annotations import batches, launch
from annotations.models import DecisionBatch
from curator.command import CuratorCommand
from curator.lib.refusals import Refusal


class Command(CuratorCommand):
    help = "Take a batch of decisions back: what held before holds again. Undo that to redo it."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("batch", type=int, metavar="BATCH", help="its id, as decide printed it")

    def perform(self, *, batch: int, **options: Any) -> Mapping[str, Any]:
        found = DecisionBatch.objects.filter(pk=batch).first()
        if found is None:
            last = DecisionBatch.objects.order_by("-pk").values_list("pk", flat=True)[:10]
            known = ", ".join(map(str, last)) or "none yet"
            raise Refusal(f"There is no batch {batch}; the last are: {known}.")
        launch.check_undo(found)
        with self.workers("default"):
            row = launch.start_undo(batch=found, by=None)
            done = self.follow(row, lambda row: (row.share_done, batches.in_words(row)))
        return {"undone": found.pk, **batches.as_dict(done)}
