"""Start long work: write the row that the user watches, then ring for a worker once it is
committed."""

import uuid
from pathlib import Path
from typing import IO

from django.core.files import File
from django.db import transaction

from annotations import permissions
from annotations.formats.labels import LABELS
from annotations.formats.layouts import AUTO, BY_NAME
from annotations.models import Dataset, Export, Import, Snapshot
from curator.lib import work
from curator.lib.doorbell import ring_on_commit
from curator.lib.refusals import Refusal
from curator.models import User

RUN_IMPORT = "annotations.tasks.run_import"
WRITE_EXPORT = "annotations.tasks.write_export"


def start_import(
    *, dataset: Dataset, file: IO[bytes], name: str, layout: str, by: User | None
) -> Import:
    """Keep the file and import it in the background. `by` is None on the command line of the
    machine."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    check_layout(layout)
    row = Import(dataset=dataset, file_name=Path(name).name[:255], format=layout, created_by=by)
    stored = row.file.storage.save(f"imports/{uuid.uuid4().hex}", File(file))
    row.file.name = stored
    row.file_bytes = row.file.size
    with transaction.atomic():
        row.save()
        ring_on_commit(RUN_IMPORT, import_id=row.pk)
    return row


def check_layout(layout: str) -> None:
    """Raises Refusal for a layout of files that is not known."""
    known = (AUTO, *BY_NAME, LABELS)
    if layout not in known:
        raise Refusal(f"The format {layout!r} is not known: choose {', '.join(known)}.")


@transaction.atomic
def start_export(*, snapshot: Snapshot, layout: str, by: User | None) -> Export:
    """Write the snapshot in the format, or return the export that already did; a failed one is
    tried again."""
    if by is not None:
        permissions.check_can_curate(by, snapshot.dataset)
    if layout not in Export.Format.values:
        raise Refusal(
            f"The export format {layout!r} is not known: choose {', '.join(Export.Format.values)}."
        )
    row, is_new = Export.objects.get_or_create(
        snapshot=snapshot, format=layout, defaults={"created_by": by}
    )
    if is_new or work.requeue(row):
        ring_on_commit(WRITE_EXPORT, export_id=row.pk)
    row.refresh_from_db()
    return row
