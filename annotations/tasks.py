"""Thin Celery tasks: name the row, call the work. Rows that lost their message or their worker
are rung for again."""

from datetime import timedelta

from celery import shared_task

from annotations import batches, exporting, importing, launch, leasing, staging
from annotations.models import DecisionBatch, Export, Import
from curator.lib import work
from curator.lib.doorbell import is_quiet, ring

UNHEARD = timedelta(seconds=10)


@shared_task
def run_import(*, import_id: int) -> None:
    work.perform(Import, import_id, importing.run)


@shared_task
def write_export(*, export_id: int) -> None:
    work.perform(Export, export_id, exporting.write)


@shared_task
def decide_batch(*, batch_id: int) -> None:
    work.perform(DecisionBatch, batch_id, batches.run)


@shared_task
def sweep() -> None:
    """Ring for imports and exports that are due: their worker died, or their message was lost.
    And give back the pairs that annotators held beyond their time."""
    leasing.release_expired()
    for import_id in work.due(Import, unheard=UNHEARD, quiet=is_quiet("default")):
        ring(launch.RUN_IMPORT, import_id=import_id)
    for export_id in work.due(Export, unheard=UNHEARD, quiet=is_quiet("default")):
        ring(launch.WRITE_EXPORT, export_id=export_id)
    for batch_id in work.due(DecisionBatch, unheard=UNHEARD, quiet=is_quiet("default")):
        ring(launch.DECIDE_BATCH, batch_id=batch_id)
    over = Import.objects.filter(status__in=work.OVER, staged_pairs__isnull=False).distinct()
    for row in over:
        staging.discard(row)
