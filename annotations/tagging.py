"""Names for snapshots, such as `v1`: one snapshot a name. Moved or taken away, it stays known what
it named before. Commands and addresses find a snapshot by them."""

import re

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotations import permissions
from annotations.models import Dataset, Snapshot, SnapshotTag
from curator.lib.refusals import Conflict, Refusal
from curator.models import User

TAG = re.compile(r"(?!\d+\Z)(?!now\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,59}\Z")
HOW = "`demo@v1` by its tag, `demo@3` by its number, or by the id that `snapshot` printed"


class NotATag(Refusal):
    """A snapshot cannot be called so."""

    status = 422


@transaction.atomic
def tag(*, snapshot: Snapshot, name: str, by: User | None) -> SnapshotTag:
    """Call the snapshot by this name from now on; another that had it loses it. `by` is None on the
    command line of the machine."""
    if by is not None:
        permissions.check_can_curate(by, snapshot.dataset)
    wanted = name.strip()
    if not TAG.match(wanted):
        raise NotATag(
            "A tag has up to 60 letters, digits, dots, hyphens and _, and is not a number alone, "
            "such as v1 or 2026-11-reviewed."
        )
    held = current(snapshot.dataset).filter(name=wanted).first()
    if held is not None and held.snapshot_id == snapshot.pk:
        return held
    if held is not None:
        _retire(held, by)
    try:
        with transaction.atomic():
            return SnapshotTag.objects.create(
                snapshot=snapshot, dataset=snapshot.dataset, name=wanted, created_by=by
            )
    except IntegrityError as error:
        raise Conflict(f"Somebody else gave the tag {wanted} just now: look again.") from error


@transaction.atomic
def untag(*, tag: SnapshotTag, by: User | None) -> None:
    """Take the name away; that it was there stays in the activity."""
    if by is not None:
        permissions.check_can_curate(by, tag.dataset)
    _retire(tag, by)


def current(dataset: Dataset) -> QuerySet[SnapshotTag]:
    """The tags that name a snapshot now."""
    return SnapshotTag.objects.filter(dataset=dataset, retired_at=None)


def find_tag(dataset: Dataset, name: str) -> SnapshotTag | None:
    """The tag of this name, with the snapshot that it names now; None where there is none, or a
    name that no tag can have."""
    wanted = name.strip()
    held = current(dataset).filter(name=wanted).select_related("snapshot__dataset")
    return held.first() if TAG.match(wanted) else None


def of_snapshot(snapshot: Snapshot) -> QuerySet[SnapshotTag]:
    return SnapshotTag.objects.filter(snapshot=snapshot, retired_at=None)


def find(dataset: Dataset, called: str) -> Snapshot | None:
    """The dataset's snapshot of this number, or with this tag."""
    if called.isascii() and called.isdigit():
        number = int(called[:9])
        return dataset.snapshots.filter(number=number).first()
    held = find_tag(dataset, called)
    return held.snapshot if held else None


def snapshot_called(called: str) -> Snapshot:
    """The snapshot, for commands of the machine, which may see all of them. Raises Refusal."""
    slug, at, name = called.partition("@")
    if at:
        dataset = Dataset.objects.filter(slug=slug).first()
        found = find(dataset, name) if dataset else None
    elif called.isascii() and called.isdigit():
        found = Snapshot.objects.filter(pk=int(called[:18])).first()
    else:
        found = None
    if found is None:
        raise Refusal(
            f"There is no snapshot {called}: name it {HOW}. `manage.py snapshot SLUG` makes one."
        )
    return found


def _retire(tag: SnapshotTag, by: User | None) -> None:
    rows = SnapshotTag.objects.filter(pk=tag.pk, retired_at=None)
    rows.update(retired_at=timezone.now(), retired_by=by)
