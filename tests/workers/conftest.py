"""Real Celery workers on a real broker, working on the test database."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from curator import presence
from curator.lib import broker
from curator.supervisor import worker_command

LONGEST = 120.0


def wait_until(what: Callable[[], object], words: str) -> None:
    """Poll until it holds; a test that waits longer than LONGEST seconds fails."""
    deadline = time.monotonic() + LONGEST
    while not what():
        assert time.monotonic() < deadline, f"waited in vain: {words}"
        time.sleep(0.05)


def database_url() -> str:
    """The test database's URL, for processes that do not know that they are in a test."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    password = f":{found['PASSWORD']}" if found["PASSWORD"] else ""
    where = f"{found['HOST'] or 'localhost'}:{found['PORT'] or 5432}"
    return f"postgres://{found['USER']}{password}@{where}/{found['NAME']}"


class Worker:
    """One worker process with its children, in a process group of its own."""

    def __init__(self, queue: str, log: Path) -> None:
        self.queue = queue
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "DATABASE_URL": database_url(), "LOG_LEVEL": "INFO"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                worker_command(self.queue),
                stdout=log,
                stderr=log,
                env=environment,
                cwd=settings.BASE_DIR,
                start_new_session=True,
            )
        wait_until(lambda: presence.alive(self.queue), f"the {self.queue} worker to be alive")

    def kill(self) -> None:
        """SIGKILL for the worker and its children: nobody cleans up."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_child(self) -> None:
        """SIGKILL for the process that works, if there is one just now; its parent starts
        another."""
        assert self.process is not None
        parent = self.process.pid
        while children := Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            parent = int(children[-1])
        if parent != self.process.pid:
            os.kill(parent, signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


@contextmanager
def running_broker() -> Iterator[None]:
    """The embedded broker, where REDIS_URL names none."""
    if not settings.IS_EMBEDDED:
        broker.client(settings.CELERY_BROKER_URL).flushdb()
        yield
        return
    server = subprocess.Popen(
        broker.server_command(settings.CURATOR_HOME), stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: broker.answers(settings.CELERY_BROKER_URL), "the broker to answer")
        yield
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def workers(transactional_db: Any, tmp_path: Path) -> Iterator[dict[str, Worker]]:
    """A broker that runs and a worker for each queue, to be started by the test."""
    found = {queue: Worker(queue, tmp_path / f"{queue}.log") for queue in ("default", "scoring")}
    with ExitStack() as stack:
        stack.enter_context(running_broker())
        for worker in found.values():
            stack.callback(worker.stop)
        yield found
