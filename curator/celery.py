"""The Celery app, and what a worker process does about itself: load its tasks, refuse a bad set-up,
say it is alive.

Queue `scoring` is for processes that own a device and load torch; queue `default` is for all else.
A worker imports only the task modules of its queues, so that the ordinary worker stays small.
"""

import importlib
import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, worker_ready, worker_shutdown
from django.conf import settings

from curator.lib.processes import give_way

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "curator.settings")
# torch's threads sleep while they wait: spinning for each other on a busy machine of two cores
# made small models ten to twenty times slower. Read when torch is loaded, so set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = Celery("curator")
app.config_from_object("django.conf:settings", namespace="CELERY")

TASK_MODULES = {
    "default": ["annotations.tasks", "scoring.tasks"],
    "scoring": ["scoring.device_tasks"],
}


class BadWorkerSetup(SystemExit):
    """The worker was started in a way that would hold shards without working on them."""


@celeryd_init.connect
def load_tasks(sender: str, options: dict[str, Any], **_: Any) -> None:
    """Import the task modules of the worker's queues; refuse several processes on one device. And
    leave the processors to the web server where both want them."""
    queues = _names(options.get("queues")) or ["default"]
    unknown = sorted(set(queues) - set(TASK_MODULES))
    if unknown:
        raise BadWorkerSetup(
            f"Unknown queue {', '.join(unknown)}: a worker serves `default`, `scoring` or both."
        )
    if "scoring" in queues and options.get("concurrency") != 1:
        raise BadWorkerSetup(
            "A scoring worker owns one process per device: start it with --concurrency 1."
        )
    give_way(settings.WORKER_NICENESS)
    # by now Celery has set Django up, and the worker has taken no message yet
    for queue in queues:
        for module in TASK_MODULES[queue]:
            importlib.import_module(module)


@worker_ready.connect
def say_alive(sender: Any, **_: Any) -> None:
    presence = importlib.import_module("curator.presence")  # models: Django is set up only by now
    presence.announce(name=sender.hostname, queues=sorted(sender.app.amqp.queues.consume_from))


@worker_shutdown.connect
def say_gone(sender: Any, **_: Any) -> None:
    presence = importlib.import_module("curator.presence")
    presence.withdraw(name=sender.hostname)


def _names(queues: Any) -> list[str]:
    if isinstance(queues, str):
        return [name.strip() for name in queues.split(",") if name.strip()]
    return list(queues or [])
