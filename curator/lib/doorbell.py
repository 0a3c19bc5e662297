"""Tell the workers that a row is waiting. A message that cannot be sent is not an error: the
sweep sends it later."""

import logging
from functools import partial

from celery import current_app  # noqa: TID251 - this is the place that rings
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from curator.lib import broker

logger = logging.getLogger(__name__)


def ring_on_commit(task: str, **arguments: int) -> None:
    """Send the task, named by its module path, once the surrounding transaction has committed.

    By name, so that the web process can launch work without importing the modules that do it (and
    torch with them).
    """
    transaction.on_commit(partial(ring, task, **arguments))


def ring(task: str, **arguments: int) -> bool:
    try:
        current_app.send_task(task, kwargs=arguments)
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("broker away, left to the sweep task=%s %s: %s", task, arguments, error)
        return False
    return True


def is_quiet(queue: str) -> bool:
    """Whether no message waits in the queue: then a row that is still waiting has lost its
    message."""
    try:
        return broker.waiting(settings.CELERY_BROKER_URL, queue) == 0
    except (RedisError, OSError):
        return False
