"""Start long work: write the row that the user watches, then ring for a worker once it is
committed."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from django.core.files import File
from django.db import transaction

from annotations import conditions, permissions, policies, policy_book, proposals
from annotations.formats.labels import LABELS
from annotations.formats.layouts import AUTO, BY_NAME
from annotations.models import Dataset, DecisionBatch, Export, Import, Snapshot
from curator.lib import work
from curator.lib.doorbell import ring_on_commit
from curator.lib.refusals import Conflict, Refusal
from curator.models import User

RUN_IMPORT = "annotations.tasks.run_import"
WRITE_EXPORT = "annotations.tasks.write_export"
DECIDE_BATCH = "annotations.tasks.decide_batch"
COMMAND_LINE = "the command line"


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


# --- Many pairs at once ---------------------------------------------------------------------------


def start_bulk(
    *,
    dataset: Dataset,
    bulk: proposals.Bulk,
    by: User | None,
    expected: Mapping[str, Any] | None = None,
    reason: str = "",
) -> DecisionBatch:
    """Give all pairs of the filter the verdict, in the background.

    `expected` is what the preview showed (`Preview.expected`): where something else would happen by
    then, but for what people decide meanwhile, nothing is changed. Raises CannotPropose, and
    Conflict while another batch of the dataset is at work or its pairs are being given new scores.
    `by` is None on the command line.
    """
    proposals.check_bulk(bulk.verdict, bulk.probability)
    return _start_batch(
        dataset,
        by,
        kind=DecisionBatch.Kind.BULK,
        filter=[conditions.as_json(clause) for clause in bulk.clauses],
        verdict=bulk.verdict,
        label_probability=bulk.probability,
        overrules_people=bulk.overrules_people,
        expected=proposals.check_expected(expected or {}),
        reason=reason,
    )


def start_policy(
    *,
    dataset: Dataset,
    policy: policies.Policy,
    by: User | None,
    expected: Mapping[str, Any] | None = None,
    reason: str = "",
) -> DecisionBatch:
    """Apply the policy, of which a version is kept, in the background; as `start_bulk`."""
    if by is not None:
        permissions.check_can_curate(by, dataset)
    with transaction.atomic():
        return _start_batch(
            dataset,
            by,
            kind=DecisionBatch.Kind.POLICY,
            policy=policy_book.keep(dataset=dataset, policy=policy, by=by),
            expected=proposals.check_expected(expected or {}),
            reason=reason,
        )


@transaction.atomic
def start_undo(*, batch: DecisionBatch, by: User | None, reason: str = "") -> DecisionBatch:
    """Take a batch back, in the background: what held before it holds again, but for pairs that
    were decided again since. The undo of an undo brings it back.

    Raises Conflict where it was undone already, and where it is not over; an undo that failed is
    tried again.
    """
    if by is not None:
        permissions.check_can_curate(by, batch.dataset)
    Dataset.objects.select_for_update(no_key=True).get(pk=batch.dataset_id)
    earlier = check_undo(batch)
    if earlier is None:
        return _start_batch(
            batch.dataset, by, kind=DecisionBatch.Kind.UNDO, undoes=batch, reason=reason
        )
    _check_none_at_work(batch.dataset)
    work.requeue(earlier)
    ring_on_commit(DECIDE_BATCH, batch_id=earlier.pk)
    earlier.refresh_from_db()
    return earlier


def check_undo(batch: DecisionBatch) -> DecisionBatch | None:
    """The undo that failed before and can be tried again, or None. Raises Conflict where the batch
    cannot be taken back."""
    if batch.status != DecisionBatch.Status.DONE:
        raise Conflict(f"Batch {batch.pk} has changed nothing: it is {batch.get_status_display()}.")
    earlier = DecisionBatch.objects.filter(undoes=batch).first()
    again = (DecisionBatch.Status.FAILED, DecisionBatch.Status.CANCELLED)
    if earlier is not None and earlier.status not in again:
        raise Conflict(_undone_already(batch, earlier))
    return earlier


def start_restore(
    *,
    snapshot: Snapshot,
    by: User | None,
    expected: Mapping[str, Any] | None = None,
    reason: str = "",
) -> DecisionBatch:
    """Let the decisions of an old snapshot hold again, in the background; as `start_bulk`."""
    return _start_batch(
        snapshot.dataset,
        by,
        kind=DecisionBatch.Kind.RESTORE,
        snapshot=snapshot,
        expected=proposals.check_expected(expected or {}),
        reason=reason,
    )


@transaction.atomic
def _start_batch(dataset: Dataset, by: User | None, **fields: Any) -> DecisionBatch:
    if by is not None:
        permissions.check_can_curate(by, dataset)
    locked = _check_none_at_work(dataset)
    actor = by.shown_name if by else COMMAND_LINE
    row = DecisionBatch(dataset=dataset, created_by=by, actor=actor, **fields)
    if row.goes_by_scores:
        proposals.check_scores_are_whole(locked)
    row.save()
    ring_on_commit(DECIDE_BATCH, batch_id=row.pk)
    return row


def _check_none_at_work(dataset: Dataset) -> Dataset:
    """The dataset as it is now, where no other batch starts until the transaction ends. Raises
    Conflict naming the batch that is waiting or at work."""
    locked = Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
    other = dataset.batches.filter(status__in=work.OPEN).first()
    if other is not None:
        raise Conflict(
            f"{other.actor} is having batch {other.pk} done in {dataset.name} "
            f"({other.get_kind_display()}): wait until it is over, and look again."
        )
    return locked


def _undone_already(batch: DecisionBatch, by: DecisionBatch) -> str:
    if not by.is_over:
        return f"{by.actor} is undoing batch {batch.pk} just now, as batch {by.pk}."
    when = f"{by.finished_at:%Y-%m-%d %H:%M} UTC" if by.finished_at else "before"
    said = f"Batch {batch.pk} was undone by {by.actor} on {when}, as batch {by.pk}"
    again = DecisionBatch.objects.filter(undoes=by, status=DecisionBatch.Status.DONE).first()
    if again is None:
        return f"{said}: undo that one to bring it back."
    return f"{said}, and brought back by {again.actor}, as batch {again.pk}: undo that one."
