"""`manage.py dev`: the web server and the workers together, for work on a laptop."""

import argparse
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management import call_command

from curator.command import CuratorCommand
from curator.lib.ports import check_free
from curator.lib.refusals import Refusal
from curator.lib.signals import wait_for_stop
from curator.supervisor import Supervisor, web_command

DEFAULT_PORT = 8000


class Command(CuratorCommand):
    help = "Serve Curator on loopback with its own broker and workers; Ctrl-C stops everything."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--port", type=int, default=DEFAULT_PORT)
        parser.add_argument(
            "--reload", action="store_true", help="restart the web server when code changes"
        )

    def perform(self, *, port: int, reload: bool, **options: Any) -> Mapping[str, Any]:
        if not settings.IS_EMBEDDED:
            raise Refusal(
                "REDIS_URL is set: run gunicorn and the workers as services, as "
                "docs/operations.md shows."
            )
        check_free(port)
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        with Supervisor() as supervisor:
            supervisor.add("web", web_command(port, reload=reload))
            supervisor.wait_until_ready()
            self.say(
                f"Curator serves on http://127.0.0.1:{port}/ (logs in "
                f"{settings.CURATOR_HOME / 'logs'}). Ctrl-C stops it."
            )
            wait_for_stop()
            self.say("Stopping.")
        return {"port": port}
