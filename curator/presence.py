"""Which workers are alive: each says so in the database every few seconds, and anyone may read
it there."""

import logging
import os
import signal
import threading

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from curator.lib.processes import is_dead
from curator.models import WorkerProcess

logger = logging.getLogger(__name__)

PERIOD = 5.0


def announce(*, name: str, queues: list[str]) -> None:
    """Write that this worker is there, and go on doing so from a thread for as long as the
    process lives."""
    now = timezone.now()
    facts = {"queues": queues, "process": os.getpid(), "started_at": now, "heartbeat_at": now}
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
        close_old_connections()
        try:
            WorkerProcess.objects.filter(name=name, process=os.getpid()).update(
                heartbeat_at=timezone.now()
            )
        except DatabaseError as error:  # being silent is what we would report anyway
            logger.warning("presence not written worker=%s: %s", name, error)
            connection.close()
