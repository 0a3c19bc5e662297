"""Long work that a row describes: who may take it up, for how long, and how it ended.

The row is the truth and the broker only a doorbell: a message that is lost, doubled or late changes
nothing, because whoever hears it must first *claim* the row by a conditional update. A claim
carries a *lease*, which is renewed for as long as the holder works, and a *fence*, a number that
grows with every claim: results are written in one transaction with a check of the fence, so that a
worker believed dead cannot write after another has taken over.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, connection, models
from django.utils import timezone

from curator.lib.faults import system_fault
from curator.lib.processes import is_dead, this_process
from curator.lib.refusals import Refusal

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
LONGEST_STEP = timedelta(hours=1)  # without progress, after which a holder is taken to be stuck
MOST_ATTEMPTS = 3
MOST_RUNG = 1000


class LeaseLost(Exception):
    """The row was cancelled or taken over while we worked on it; nothing more of ours may be
    written."""


class Work(models.Model):
    """A row that a worker takes up, and that a person watches."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    status = models.CharField(max_length=9, choices=Status, default=Status.QUEUED)
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    holder = models.CharField(
        max_length=300, blank=True, help_text="host/process that holds the lease"
    )
    fence = models.PositiveIntegerField(default=0, help_text="grows with every claim")
    attempts = models.PositiveSmallIntegerField(
        default=0, help_text="claims since the last progress"
    )
    problem = models.TextField(blank=True, help_text="why it failed, in a sentence for the user")

    class Meta:
        abstract = True

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    @property
    def is_waiting(self) -> bool:
        """Queued, and no worker has taken it up."""
        return self.status == self.Status.QUEUED

    @property
    def last_sign_of_life(self) -> datetime | None:
        return self.heartbeat_at

    @property
    def seconds(self) -> float | None:
        """How long it has run, or ran."""
        if self.started_at is None:
            return None
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()


OVER = (Work.Status.DONE, Work.Status.FAILED, Work.Status.CANCELLED)
OPEN = (Work.Status.QUEUED, Work.Status.RUNNING)

Row = TypeVar("Row", bound=Work)


def rows_of(kind: type[Row]) -> models.Manager[Row]:
    return kind._default_manager


def is_free(row: Work) -> bool:
    """Whether nobody holds the row's lease now."""
    return (
        row.lease_expires_at is None or row.lease_expires_at < timezone.now() or is_dead(row.holder)
    )


def claim(kind: type[Row], pk: int, *, lease: timedelta = LEASE) -> Row | None:
    """Take the row up, or None when it is over, gone or in other hands. The third lost attempt
    fails it."""
    row = rows_of(kind).filter(pk=pk, status__in=OPEN).first()
    if row is None or not is_free(row):
        return None
    if row.attempts >= MOST_ATTEMPTS:
        _end(
            row,
            Work.Status.FAILED,
            row.problem
            or f"Given up after {row.attempts} attempts, none of which came to an end: the "
            f"worker's log says more.",
        )
        return None
    now = timezone.now()
    changes: dict[str, Any] = {
        "status": Work.Status.RUNNING,
        "holder": this_process(),
        "fence": row.fence + 1,
        "attempts": row.attempts + 1,
        "started_at": row.started_at or now,
        "heartbeat_at": now,
        "lease_expires_at": now + lease,
    }
    if not _change(row, changes):
        return None
    logger.info("claimed %s=%s fence=%s", kind.__name__, pk, row.fence)
    return row


def renew(row: Work, *, lease: timedelta = LEASE, **changes: Any) -> None:
    """Say that we are still at it, and note progress. Raises LeaseLost when the row is no longer
    ours."""
    now = timezone.now()
    _must_change(row, {"heartbeat_at": now, "lease_expires_at": now + lease, **changes})


def release(
    row: Work, *, status: str = Work.Status.RUNNING, progressed: bool = True, **changes: Any
) -> None:
    """Give the row back for the next claim; after progress the attempts are counted afresh."""
    attempts = 0 if progressed else row.attempts
    _must_change(
        row,
        {"status": status, "holder": "", "lease_expires_at": None, "attempts": attempts, **changes},
    )


def finish(row: Work, **changes: Any) -> None:
    """Mark the row done. Call it in the transaction that writes the results: a lost lease rolls
    both back."""
    now = timezone.now()
    end = {
        "status": Work.Status.DONE,
        "finished_at": now,
        "lease_expires_at": None,
        "holder": "",
        "problem": "",
    }
    _must_change(row, {**end, "heartbeat_at": now, **changes})


def cancel(row: Work) -> bool:
    """Stop the work: whoever holds it learns at its next renewal. False when it was over
    already."""
    now = timezone.now()
    open_rows = rows_of(type(row)).filter(pk=row.pk, status__in=OPEN)
    changed = open_rows.update(
        status=Work.Status.CANCELLED, finished_at=now, lease_expires_at=None, holder=""
    )
    return bool(changed)


def requeue(row: Work, *, also_done: bool = False) -> bool:
    """Let failed or cancelled work be tried again from where it stands; `also_done` where work that
    came to its end lacks a part."""
    again = [Work.Status.FAILED, Work.Status.CANCELLED]
    ended = rows_of(type(row)).filter(
        pk=row.pk, status__in=[*again, Work.Status.DONE] if also_done else again
    )
    fresh = {
        "attempts": 0,
        "problem": "",
        "finished_at": None,
        "lease_expires_at": None,
        "holder": "",
    }
    return bool(ended.update(status=Work.Status.QUEUED, queued_at=timezone.now(), **fresh))


@contextmanager
def attempt(row: Work) -> Iterator[None]:
    """Run one attempt at claimed work so that however it ends, the row says so.

    A refusal or a fault of the machine ends the work with its sentence; any other error is logged,
    noted, and leaves the row for another attempt until there have been enough.
    """
    try:
        with _lease_kept(row):
            yield
    except LeaseLost:
        logger.info("lease lost %s=%s fence=%s", type(row).__name__, row.pk, row.fence)
    except Refusal as refusal:
        _end(row, Work.Status.FAILED, str(refusal))
    except Exception as error:
        known = system_fault(error)
        if known:
            logger.warning("failed %s=%s: %s", type(row).__name__, row.pk, known)
            _end(row, Work.Status.FAILED, known)
            return
        logger.exception("attempt %s failed %s=%s", row.attempts, type(row).__name__, row.pk)
        problem = f"{type(error).__name__}: {error}"[:2000]
        if row.attempts >= MOST_ATTEMPTS:
            _end(row, Work.Status.FAILED, problem)
        else:
            again = {
                "status": Work.Status.QUEUED,
                "holder": "",
                "lease_expires_at": None,
                "problem": problem,
            }
            _change(row, again)


@contextmanager
def _lease_kept(row: Work) -> Iterator[None]:
    """Renew the lease from a thread with a connection of its own: one statement may outlast it.

    A step without end is not kept alive for ever.
    """
    over = threading.Event()

    def keep() -> None:
        try:
            while not over.wait(LEASE.total_seconds() / 4):
                now = timezone.now()
                if row.heartbeat_at is None or now - row.heartbeat_at > LONGEST_STEP:
                    return
                _keep(row, now)
        finally:
            connection.close()

    thread = threading.Thread(target=keep, name=f"lease of {type(row).__name__} {row.pk}")
    thread.daemon = True
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep(row: Work, now: datetime) -> None:
    ours = rows_of(type(row)).filter(pk=row.pk, fence=row.fence, status=Work.Status.RUNNING)
    try:
        ours.exclude(lease_expires_at=None).update(lease_expires_at=now + LEASE)
    except DatabaseError as error:  # the next beat may reach it; a lost lease is noticed anyway
        logger.warning("lease not renewed %s=%s: %s", type(row).__name__, row.pk, error)


def perform(kind: type[Row], pk: int, do: Callable[[Row], None]) -> bool:
    """Claim the row and do the work on it; False when there was nothing to claim."""
    row = claim(kind, pk)
    if row is None:
        return False
    with attempt(row):
        do(row)
    return True


def due(
    kind: type[Row], *, unheard: timedelta, quiet: bool, but: models.Q | None = None
) -> list[int]:
    """Rows to ring for again: their holder is gone, or, the queue being quiet, nobody heard the
    bell in that time. Not those that `but` describes."""
    rows = rows_of(kind).exclude(but) if but is not None else rows_of(kind).all()
    held = rows.filter(status=Work.Status.RUNNING, lease_expires_at__isnull=False)
    lost = [row.pk for row in held.only("pk", "lease_expires_at", "holder") if is_free(row)]
    if not quiet:
        return lost
    since = timezone.now() - unheard
    waiting = rows.filter(status=Work.Status.QUEUED, queued_at__lt=since)
    return [*lost, *waiting.order_by("pk").values_list("pk", flat=True)[:MOST_RUNG]]


def _end(row: Work, status: str, problem: str) -> None:
    now = timezone.now()
    _change(
        row,
        {
            "status": status,
            "problem": problem,
            "finished_at": now,
            "lease_expires_at": None,
            "holder": "",
        },
    )


def _change(row: Work, changes: dict[str, Any]) -> bool:
    """Change the row if it is as we last knew it: same fence, and still open."""
    rows = rows_of(type(row)).filter(pk=row.pk, fence=row.fence, status__in=OPEN)
    if not rows.update(**changes):
        return False
    for name, value in changes.items():
        setattr(row, name, value)
    return True


def _must_change(row: Work, changes: dict[str, Any]) -> None:
    if not _change(row, changes):
        raise LeaseLost(f"{type(row).__name__} {row.pk}")
