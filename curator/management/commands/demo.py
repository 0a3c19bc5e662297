"""`manage.py demo`: real preference pairs flagged by a real ensemble on a real worker, and a
browser page to review them."""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command

from curator import demo, sign_in_links
from curator.command import CuratorCommand
from curator.lib.ports import check_free, first_free
from curator.lib.refusals import Refusal
from curator.lib.signals import wait_for_stop
from curator.supervisor import Supervisor, web_command

FIRST_PORT = 8000


class Command(CuratorCommand):
    help = (
        "Load the demo pairs, train and score on a worker, audit the flags, and serve on loopback."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--no-serve", action="store_true", help="stop before serving")
        parser.add_argument(
            "--port", type=int, help=f"the first free one from {FIRST_PORT} if not given"
        )

    def perform(self, *, no_serve: bool, port: int | None, **options: Any) -> Mapping[str, Any]:
        if not settings.IS_EMBEDDED:
            raise Refusal(
                "REDIS_URL is set: the demo is for a laptop, with its own broker and workers. "
                "Unset it."
            )
        started = time.monotonic()
        if port is not None:
            check_free(port)
        self.say("Starting a broker and two Celery workers.")
        call_command("collectstatic", interactive=False, verbosity=0)
        with Supervisor() as supervisor:
            people = demo.make_people()
            supervisor.wait_until_ready()
            found = {
                "datasets": [self._prepare(example) for example in demo.EXAMPLES],
                "people": [
                    {
                        "username": person.user.username,
                        "role": person.role,
                        "sign_in": sign_in_links.path_for(person.user),
                    }
                    for person in people
                ],
            }
            self._tell(found)
            if no_serve:
                self.say(
                    f"Ready after {time.monotonic() - started:.0f} s. Serve it with: make demo"
                )
                return found
            port = port or first_free(FIRST_PORT)
            supervisor.add("web", web_command(port))
            self._invite(port, people, time.monotonic() - started)
            wait_for_stop()
            self.say("Stopping.")
        return found

    def report(self, found: Mapping[str, Any]) -> None:
        """Everything was told while it happened."""

    def _prepare(self, example: demo.Example) -> dict[str, Any]:
        """One dataset, imported, trained, scored and audited; what an earlier demo did is not
        done again."""
        self.say(f"{example.name}:")
        with tempfile.TemporaryDirectory() as folder:
            steps = demo.steps(example, Path(folder))
            for step in steps:
                row = step.start()
                if row is not None:
                    self.follow(row, step.describe)
                self.say(f"  {step.outcome()}")
        return demo.figures(example)

    def _tell(self, found: Mapping[str, Any]) -> None:
        planted = next(figures for figures in found["datasets"] if figures["audit"])
        audit = planted["audit"]
        at = {point["reviewed"]: point["found"] for point in audit["curve"]}
        self.say(
            f"The honest check: in “{planted['name']}” {audit['wrong']} labels are wrong on "
            f"purpose.\n"
            f"  The flags name {audit['flagged']} labels: precision {audit['precision']:.0%}, "
            f"recall {audit['recall']:.0%}"
            f" (chance: {audit['wrong'] / audit['pairs']:.0%}). AUROC {audit['auroc']:.3f}.\n"
            f"  Reviewing the weakest 10 % finds {at[0.1]:.0%} of the wrong labels, the weakest "
            f"20 % finds {at[0.2]:.0%}."
        )

    def _invite(self, port: int, people: list[demo.Person], seconds: float) -> None:
        base = f"http://127.0.0.1:{port}"
        self.say(f"\nOpen your browser (ready after {seconds:.0f} s). One-time sign-in links:")
        for person in people:
            self.say(
                f"  {person.role:<9} {base}{sign_in_links.path_for(person.user)}{person.goes_to}"
            )
        self.say("Ctrl-C stops everything; `make demo` starts it again.\n")
