"""What every command of ours shares: `--json`, one clear sentence on refusal, progress on stderr,
workers at hand.

With `--json` the last line on stdout is one JSON object. Bad input never prints a traceback.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError, connection
from django.db.migrations.executor import MigrationExecutor

from curator import presence
from curator.lib.faults import system_fault
from curator.lib.refusals import Refusal
from curator.lib.work import Work
from curator.supervisor import Supervisor

Row = TypeVar("Row", bound=Work)

POLL = 0.25
BAR = 30


class Refused(CommandError):
    """Printed on stderr as `Refused: …`, with exit status 1."""


class CuratorCommand(BaseCommand):
    """A command that does one thing in `perform` and returns what it found as plain JSON values."""

    requires_system_checks = ()
    needs_database = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object as the last line on stdout"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if self.needs_database:
                _set_up_database()
            found = self.perform(**options)
            if options["json"]:
                self.stdout.write(json.dumps(found, ensure_ascii=False))
            else:
                self.report(found)
            self.conclude(found)
        except Refusal as refusal:
            raise Refused(str(refusal)) from refusal
        except (OSError, OperationalError, ProgrammingError) as error:
            known = system_fault(error)
            if known is None:
                raise
            raise Refused(known) from error

    def perform(self, *args: Any, **options: Any) -> Mapping[str, Any]:
        """Do the work; a command names the options it takes. Raises Refusal for the user."""
        raise NotImplementedError

    def report(self, found: Mapping[str, Any]) -> None:
        """Tell a person what came out; a command with more to say overrides it."""
        for name, value in found.items():
            self.stdout.write(f"{name.replace('_', ' ')}: {value}")

    def conclude(self, found: Mapping[str, Any]) -> None:
        """Raise Refusal where what was found, though reported, must end the command with a
        failure."""

    def say(self, text: str) -> None:
        """Tell the person at the terminal what is going on."""
        self.stderr.write(text)

    @contextmanager
    def workers(self, *queues: str) -> Iterator[None]:
        """Make sure that each queue has a worker: on a laptop start what is missing, elsewhere
        refuse."""
        missing = tuple(queue for queue in queues if not presence.alive(queue))
        if not missing:
            yield
            return
        if not settings.IS_EMBEDDED:
            raise Refusal(
                f"No worker is alive on queue {missing[0]}: start one with "
                f"`celery -A curator worker -Q {missing[0]} --concurrency 1`, then try again."
            )
        self.say(f"No worker is running: starting one for this command ({', '.join(queues)}).")
        with Supervisor(queues=queues) as supervisor:
            supervisor.wait_until_ready()
            yield

    def follow(self, row: Row, describe: Callable[[Row], tuple[float, str]]) -> Row:
        """Wait until the row's work is over, drawing a progress bar from what `describe` says of
        it.

        `describe` returns the share done, between 0 and 1, and a few words. Raises Refusal with the
        row's own problem when the work failed or was cancelled.
        """
        with _progress(self) as draw:
            while True:
                row.refresh_from_db()
                draw(*describe(row))
                if row.is_over:
                    break
                time.sleep(POLL)
        if row.status == Work.Status.DONE:
            return row
        raise Refusal(row.problem or f"It was {row.get_status_display()}.")


def _set_up_database() -> None:
    """Create the tables of a laptop's brand-new database; refuse an old or unreachable one with
    a sentence."""
    try:
        executor = MigrationExecutor(connection)
    except OperationalError as error:
        first = str(error).strip().partition("\n")[0]
        raise Refusal(f"The database cannot be reached: {first}") from error
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return
    if executor.loader.applied_migrations or not settings.IS_EMBEDDED:
        raise Refusal(
            "The database is not up to date: run `python manage.py migrate`, then try again."
        )
    call_command("migrate", verbosity=0)


@contextmanager
def _progress(command: CuratorCommand) -> Iterator[Callable[[float, str], None]]:
    """A bar that redraws itself on a terminal, and lines at each tenth elsewhere."""
    on_terminal = sys.stderr.isatty()
    last = ""

    def draw(share: float, words: str) -> None:
        nonlocal last
        share = min(max(share, 0.0), 1.0)
        filled = round(share * BAR)
        line = f"[{'#' * filled}{'.' * (BAR - filled)}] {share:4.0%} {words}"
        if on_terminal:
            sys.stderr.write(f"\r{line:<{BAR + 60}}")
            sys.stderr.flush()
        elif (mark := f"{int(share * 10)} {words.split()[0] if words else ''}") != last:
            command.say(line)
            last = mark

    yield draw
    if on_terminal:
        sys.stderr.write("\n")
