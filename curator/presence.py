"""Which workers are alive: each says so in the database every few seconds, and anyone may read
it there."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection
from django.utils import timezone

from curator.lib.processes import is_dead
from curator.models import WorkerProcess

logger = logging.getLogger(__name__)

PERIOD = 5.0

_using_the_database = threading.Lock()
os.register_at_fork(
    before=_using_the_database.acquire,
    after_in_parent=_using_the_database.release,
    after_in_child=_using_the_database.release,
)


def announce(*, name: str, queues: list[str]) -> None:
    """Write that this worker is there, and go on doing so from a thread for as long as the
    process lives."""
    now = timezone.now()
    facts = {"queues": queues, "process": os.getpid(), "started_at": now, "heartbeat_at": now}
    with _no_connection_outlives():
        WorkerProcess.objects.update_or_create(name=name, defaults=facts)
    threading.Thread(
        target=_keep_saying, args=(name, os.getppid()), name="presence", daemon=True
    ).start()


def withdraw(*, name: str) -> None:
    WorkerProcess.objects.filter(name=name, process=os.getpid()).delete()


def alive(queue: str) -> list[WorkerProcess]:
    """The workers that serve the queue, were heard of lately and are not known to be dead."""
    heard_of = [
        worker
        for worker in WorkerProcess.objects.all()
        if worker.is_alive and queue in worker.queues
    ]
    return [
        worker
        for worker in heard_of
        if not is_dead(f"{worker.name.partition('@')[2]}/{worker.process}")
    ]


def _keep_saying(name: str, parent: int) -> None:
    supervised = "CURATOR_SUPERVISED" in os.environ
    while True:
        threading.Event().wait(PERIOD)
        if supervised and os.getppid() != parent:  # our supervisor was killed: do not outlive it
            os.kill(os.getpid(), signal.SIGTERM)
            return
        with _no_connection_outlives():
            try:
                WorkerProcess.objects.filter(name=name, process=os.getpid()).update(
                    heartbeat_at=timezone.now()
                )
            except DatabaseError as error:  # being silent is what we would report anyway
                logger.warning("presence not written worker=%s: %s", name, error)


@contextmanager
def _no_connection_outlives() -> Iterator[None]:
    """Use the database and close the connection again, with no fork in between.

    A worker's first process forks the one that works, again and again when that is killed. SQLite
    keeps a process's locks in its memory: a child that is forked while its parent writes, or with a
    connection open, believes for ever that somebody is writing ("database is locked").
    """
    with _using_the_database:
        try:
            yield
        finally:
            connection.close()
