"""A Curator of a benchmark's own: its commands run and timed, its pages requested, its processes'
memory watched.

Everything happens in a temporary CURATOR_HOME, on SQLite and the embedded broker, whatever the
environment says.
"""

import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.reporting import say
from curator.lib.ports import first_free

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CURATOR_BENCH_DATA", REPOSITORY.parent / "shared" / "data"))
PROC = Path("/proc")
FIRST_PORT = 18600
LONGEST_START = 120.0  # seconds until `dev` serves
LONGEST_STOP = 60.0
SAMPLE_EVERY = 0.25  # seconds between two looks at the memory of all processes
KINDS = {
    "scoring worker": "--queues scoring",
    "default worker": "--queues default",
    "web": "gunicorn",
}


class BenchmarkError(SystemExit):
    """Something that is measured did not work; ends the benchmark with a sentence and status 1."""


@dataclass(frozen=True)
class Finished:
    """A command that went well: the JSON it printed, and its seconds from start to exit."""

    found: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Installation:
    """A fresh CURATOR_HOME and the commands of this repository on it."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """Ours alone: not the database or the broker that the shell or a .env file names."""
        own = {
            "CURATOR_HOME": str(self.home),
            "DATABASE_URL": f"sqlite:///{self.home / 'curator.sqlite3'}",
            "REDIS_URL": "",
            "CURATOR_HTTPS": "false",
        }
        return os.environ | own

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "manage.py", *map(str, arguments)]

    def run(self, *arguments: object) -> Finished:
        """Run `manage.py ARGUMENTS --json` to its end. Raises BenchmarkError."""
        say(f"  {' '.join(map(str, arguments))}")
        started = time.perf_counter()
        done = subprocess.run(
            self.command(*arguments, "--json"),
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise BenchmarkError(f"{arguments[0]} failed:\n{done.stderr[-2000:]}")
        return Finished(json.loads(done.stdout.splitlines()[-1]), seconds)

    def seconds_until(self, line: str, *arguments: object) -> float:
        """Run `manage.py ARGUMENTS` to its end; seconds from its start until stderr had the
        line."""
        say(f"  {' '.join(map(str, arguments))}")
        started, seen, last = time.perf_counter(), None, ""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            for last in process.stderr or ():
                if seen is None and line in last:
                    seen = time.perf_counter() - started
        if process.returncode or seen is None:
            raise BenchmarkError(f"{arguments[0]} failed: {last}")
        return seen

    def ask(self, code: str) -> str:
        """What a line of Python prints inside the project, for what no command tells."""
        done = subprocess.run(
            self.command("shell", "--no-imports", "--command", code),
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(f"{code} failed:\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    @contextmanager
    def serving(self) -> Iterator["Served"]:
        """`manage.py dev` beside us: one broker, one set of workers and a web server for all
        commands."""
        port, log = first_free(FIRST_PORT), self.home / "logs" / "dev.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command("dev", "--port", port),
                cwd=REPOSITORY,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        try:
            _wait_for("Curator serves", log, process)
            with Memory(process.pid) as memory:
                yield Served(self, f"http://127.0.0.1:{port}", memory)
        finally:
            process.terminate()
            try:
                process.wait(LONGEST_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def installation() -> Iterator[Installation]:
    """A Curator in a temporary folder, gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="curator-benchmark-"))
    try:
        yield Installation(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(line: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LONGEST_START
    while line not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkError(f"`manage.py dev` did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Served:
    """A running `manage.py dev`: where it answers, and the memory of its processes."""

    installation: Installation
    base: str
    memory: "Memory"

    def sign_in(self, username: str) -> "Browser":
        """A browser signed in by a one-time link."""
        found = self.installation.run("sign_in_link", username, "--base", self.base).found
        browser = Browser(self.base)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(found["link"]))
        if token is None:
            raise BenchmarkError("The sign-in page has no form.")
        browser.post(found["link"], {"csrfmiddlewaretoken": token[1], "next": "/"})
        return browser


class Browser:
    """Just enough of a browser: cookies and redirects. An answer other than 2xx raises HTTPError,
    and a page that wants us signed in first BenchmarkError."""

    def __init__(self, base: str) -> None:
        self.base = base
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, path: str) -> str:
        return self._open(path, None)

    def post(self, path: str, fields: dict[str, str]) -> str:
        return self._open(path, urllib.parse.urlencode(fields).encode())

    def _open(self, path: str, data: bytes | None) -> str:
        with self._opener.open(urllib.parse.urljoin(self.base, path), data, timeout=60) as answer:
            if urllib.parse.urlsplit(answer.geturl()).path == "/sign-in/":
                raise BenchmarkError(f"{path} asks to sign in.")
            return str(answer.read().decode())


@dataclass
class Memory:
    """The most memory that the processes under a supervisor have held, by KINDS, in bytes.

    `together` is the peak of the kind's processes together, shared pages counted once (PSS, looked
    at every SAMPLE_EVERY seconds); `largest` that of its largest single process (VmHWM, which the
    kernel keeps, so no peak is missed). Linux only; empty elsewhere.
    """

    supervisor: int
    together: dict[str, int] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Take one sample."""
        children = _children()
        for top in children.get(self.supervisor, []):
            kind = _kind_of(top)
            if kind is None:
                continue
            processes = _tree(top, children)
            total = sum(_kilobytes(pid, "smaps_rollup", "Pss:") for pid in processes)
            highest = max(_kilobytes(pid, "status", "VmHWM:") for pid in processes)
            self.together[kind] = max(self.together.get(kind, 0), total * 1024)
            self.largest[kind] = max(self.largest.get(kind, 0), highest * 1024)

    def _watch(self) -> None:
        while not self._stopping.wait(SAMPLE_EVERY):
            self.look()


class Others:
    """How much of the processors programs other than ours have taken since this was made: what was
    measured meanwhile waited for them. Linux only; nothing elsewhere."""

    def __init__(self) -> None:
        self.began = _busy_and_all(), _own_ticks()

    def share(self) -> float | None:
        """Of all processors together, from 0 to 1."""
        (busy, total), own = self.began
        busy_now, total_now = _busy_and_all()
        if total_now <= total:
            return None
        others = (busy_now - busy) - (_own_ticks() - own)
        return min(max(others / (total_now - total), 0.0), 1.0)


def _busy_and_all() -> tuple[int, int]:
    """Ticks of all processors since the machine started: those spent working, and all."""
    line = _read(PROC / "stat").partition("\n")[0].split()[1:9]
    ticks = [int(one) for one in line]
    idle = sum(ticks[3:5])  # idle, and waiting for a disk
    return sum(ticks) - idle, sum(ticks)


def _own_ticks() -> int:
    """Ticks of this process and all that it has started, those that ended included."""
    found = 0
    for pid in _tree(os.getpid(), _children()):
        fields = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
        found += sum(int(one) for one in fields[11:15])
    return found


def _children() -> dict[int, list[int]]:
    """The processes of this machine by their parent."""
    found: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        after_name = _read(folder / "stat").rpartition(")")[2].split()
        if after_name:
            found.setdefault(int(after_name[1]), []).append(int(folder.name))
    return found


def _tree(top: int, children: dict[int, list[int]]) -> list[int]:
    return [top, *(pid for child in children.get(top, []) for pid in _tree(child, children))]


def _kind_of(pid: int) -> str | None:
    line = _read(PROC / str(pid) / "cmdline").replace("\0", " ")
    return next((kind for kind, mark in KINDS.items() if mark in line), None)


def _kilobytes(pid: int, file: str, name: str) -> int:
    lines = _read(PROC / str(pid) / file).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _read(path: Path) -> str:
    """What the kernel says of a process; nothing when it has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""
