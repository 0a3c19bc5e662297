"""Run a command with PostgreSQL and Redis: those that DATABASE_URL and REDIS_URL name, else servers
of our own, started from the installed binaries and gone afterwards.

    python -m tests.services COMMAND [ARGUMENT…]
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from curator.lib.ports import first_free

LONGEST_START = 30.0
DURABILITY_OFF = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]


class MissingService(SystemExit):
    """Neither a URL nor a binary is at hand."""


def main(command: list[str]) -> int:
    with ExitStack() as stack:
        environment = dict(os.environ)
        if not environment.get("DATABASE_URL"):
            environment["DATABASE_URL"] = stack.enter_context(postgresql())
        if not environment.get("REDIS_URL"):
            environment["REDIS_URL"] = stack.enter_context(redis())
        print("Running the tests on PostgreSQL and Redis.", flush=True)
        return subprocess.run(command, env=environment, check=False).returncode


@contextmanager
def postgresql(*, is_durable: bool = False) -> Iterator[str]:
    """A PostgreSQL server of our own on a free loopback port; its URL. Tests need no durability,
    which takes time; who measures does."""
    binaries = _postgresql_binaries()
    owner = _unprivileged_user()
    port = first_free(15432)
    with tempfile.TemporaryDirectory(prefix="curator-postgresql-") as name:
        folder = Path(name)
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data, user = folder / "data", owner.pw_name if owner else None
        _run([binaries / "initdb", "--auth=trust", "--username=curator", "-D", data], user=user)
        listen = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        options = [] if is_durable else DURABILITY_OFF
        server = _start([binaries / "postgres", "-D", data, *listen, *options], user=user)
        ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        with _stopped_afterwards(server):
            _wait("PostgreSQL", server, lambda: subprocess.run(ready, check=False).returncode == 0)
            yield f"postgres://curator@127.0.0.1:{port}/postgres"


@contextmanager
def redis() -> Iterator[str]:
    """A Redis server of our own on a free loopback port; its URL."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise MissingService("test-services needs REDIS_URL, or a redis-server to start.")
    port = first_free(16379)
    with tempfile.TemporaryDirectory(prefix="curator-redis-") as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = _start([Path(binary), *options, "--databases", "64"], user=None)
        ping = ["redis-cli", "-p", str(port), "ping"]
        with _stopped_afterwards(server):
            _wait("Redis", server, lambda: b"PONG" in _output(ping))
            yield f"redis://127.0.0.1:{port}/0"


def _postgresql_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise MissingService("test-services needs DATABASE_URL, or PostgreSQL's server binaries.")
    return found[-1].parent if found else Path(str(on_path)).parent


def _version(binary: Path) -> int:
    return int(binary.parent.parent.name)


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as when we are root, which it refuses."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _start(command: list[Path | str], *, user: str | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(part) for part in command],
        user=user,
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )


def _run(command: list[Path | str], *, user: str | None) -> None:
    process = _start(command, user=user)
    if process.wait():
        raise MissingService(f"{command[0]} failed with status {process.returncode}.")


def _output(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=False).stdout


def _wait(name: str, server: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_START
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            raise MissingService(f"{name} did not start.")
        time.sleep(0.1)


@contextmanager
def _stopped_afterwards(server: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
