"""Laptop mode's processes: a broker, workers and a web server, started together, restarted when
they die.

One supervisor per CURATOR_HOME, kept by a lock on a file. Everything it starts stops with it.
"""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from django.conf import settings

from curator import presence
from curator.lib import broker
from curator.lib.refusals import Refusal

logger = logging.getLogger(__name__)

POLL = 0.2
GRACE = 25.0  # seconds a process may take to stop
LONGEST_BACKOFF = 15.0
LONGEST_LOG = 5 * 1024 * 1024
# by its path: as a module it would load all of us
BOUND_CHILD = Path(__file__).parent / "lib" / "bound_child.py"


class AlreadySupervised(Refusal):
    """Another supervisor looks after this CURATOR_HOME."""


class DidNotStart(Refusal):
    """A process did not come up in time."""


def worker_command(queue: str) -> list[str]:
    """A worker of one queue. The ordinary one also carries the beat, which rings for what is
    due."""
    concurrency = {"default": 2, "scoring": 1}[queue]
    beat = ["--beat"] if queue == "default" else []
    identity = ["--queues", queue, "--hostname", f"{queue}@%h", "--concurrency", str(concurrency)]
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    return [sys.executable, "-m", "celery", "--app", "curator", "worker", *identity, *beat, *quiet]


def web_command(port: int, *, reload: bool = False) -> list[str]:
    options = [
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "1",
        "--threads",
        "8",
        "--timeout",
        "120",
    ]
    again = ["--reload"] if reload else []
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "curator.wsgi",
        *options,
        *again,
        "--log-level",
        "warning",
    ]


@dataclass
class Child:
    """One supervised process."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    next_start: float = 0.0

    def start(self) -> None:
        bound = [sys.executable, str(BOUND_CHILD), str(os.getpid()), *self.command]
        with _open_log(self.log) as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command lines, no shell
                bound,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=settings.BASE_DIR,
                env=os.environ | {"CURATOR_SUPERVISED": "1", "REMAP_SIGTERM": "SIGQUIT"},
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        self.started = time.monotonic()

    def mind(self) -> None:
        """Start the process again if it died, at growing intervals."""
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        if not self.next_start:
            self.failures = 0 if now - self.started > 60 else self.failures + 1
            self.next_start = now + min(0.2 * 2**self.failures, LONGEST_BACKOFF)
            logger.warning(
                "%s stopped with status %s, starting it again", self.name, self.process.returncode
            )
        if now >= self.next_start:
            self.next_start = 0.0
            self.start()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, deadline: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Supervisor:
    """Runs the broker, workers for the given queues, and a web server when a port is given."""

    queues: tuple[str, ...] = ("default", "scoring")
    children: list[Child] = field(default_factory=list)
    _lock: IO[str] | None = None
    _thread: threading.Thread | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return at once; `wait_until_ready` waits for it."""
        self._lock = _take_lock()
        if broker.answers(settings.CELERY_BROKER_URL):  # left over from a killed supervisor
            broker.shut_down(settings.CELERY_BROKER_URL)
        self.add("broker", broker.server_command(settings.CURATOR_HOME))
        self._wait(partial(broker.answers, settings.CELERY_BROKER_URL), "The broker", seconds=10)
        for queue in self.queues:
            self.add(f"worker-{queue}", worker_command(queue))
        self._thread = threading.Thread(target=self._mind, name="supervisor", daemon=True)
        self._thread.start()

    def add(self, name: str, command: list[str]) -> Child:
        child = Child(
            name=name, command=command, log=settings.CURATOR_HOME / "logs" / f"{name}.log"
        )
        child.start()
        self.children.append(child)
        return child

    def wait_until_ready(self, *, seconds: float = 90) -> None:
        """Wait until every queue has a worker that says it is alive."""
        for queue in self.queues:
            self._wait(partial(presence.alive, queue), f"The {queue} worker", seconds=seconds)

    def stop(self) -> None:
        """Stop everything, the broker last so that workers can hand back what they hold."""
        self._stopping.set()
        deadline = time.monotonic() + GRACE
        for group in (self.children[1:], self.children[:1]):
            for child in group:
                child.stop()
            for child in group:
                child.wait(deadline)
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self._lock is not None:
            self._lock.close()

    def _mind(self) -> None:
        while not self._stopping.wait(POLL):
            for child in list(self.children):
                child.mind()
        self._stopped.wait()  # a child dies with the thread that started it (bound_child.py)

    def _wait(self, ready: Callable[[], object], what: str, *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise DidNotStart(
                    f"{what} did not start within {seconds:.0f} s: see "
                    f"{settings.CURATOR_HOME / 'logs'}."
                )
            time.sleep(POLL / 4)


def _take_lock() -> IO[str]:
    file = (settings.CURATOR_HOME / "run" / "supervisor.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise AlreadySupervised(
            f"Another `demo`, `dev` or command of {settings.CURATOR_HOME} is starting or stopping "
            f"workers: try again shortly."
        ) from error
    file.write(str(os.getpid()))
    file.flush()
    return file


def _open_log(path: Path) -> IO[bytes]:
    mode = "ab" if not path.exists() or path.stat().st_size < LONGEST_LOG else "wb"
    return path.open(mode)
