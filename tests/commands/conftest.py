"""The commands as a person runs them: processes of their own, in an installation of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from curator.lib.ports import first_free

LONGEST = 240


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def found(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        assert self.status == 0, self.err
        parsed: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return parsed

    @property
    def refusal(self) -> str:
        """The one sentence on stderr; no traceback goes with it."""
        assert self.status == 1, (self.out, self.err)
        assert "Traceback" not in self.err
        return self.err.strip().splitlines()[-1]


@dataclass(frozen=True)
class Installation:
    """A laptop's installation: SQLite, the embedded broker, and whatever the environment adds."""

    home: Path
    environment: dict[str, str]

    def run(self, *arguments: str, **environment: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=self.environment | environment,
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str) -> dict[str, Any]:
        return self.run(*arguments, "--json").found


def install(home: Path) -> Installation:
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    return Installation(home, kept | {"CURATOR_HOME": str(home)})


_OURS = ("DATABASE_URL", "REDIS_URL", "LOG_LEVEL", "DJANGO_ALLOW_ASYNC_UNSAFE")


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation without workers."""
    found = install(tmp_path_factory.mktemp("installation"))
    assert found.run("migrate").status == 0
    return found


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    """An installation that `manage.py dev` keeps running, and where its pages are."""
    found = install(tmp_path_factory.mktemp("served"))
    port = first_free(8700 + os.getpid() % 2000)  # not that of a run beside this one
    log = found.home / "dev.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "dev", "--port", str(port)],
            env=found.environment,
            cwd=settings.BASE_DIR,
            stdout=file,
            stderr=file,
        )
    deadline = time.monotonic() + LONGEST
    while "Curator serves on" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    yield found, f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
