"""People who sign in, and the worker processes that are there: the project's own rows, without
domain words."""

from datetime import timedelta

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

SILENCE = timedelta(seconds=20)


class User(AbstractUser):
    """A person with a login."""

    @property
    def shown_name(self) -> str:
        return self.get_full_name() or self.username


class WorkerProcess(models.Model):
    """A Celery worker that says every few seconds that it is there."""

    name = models.CharField(
        max_length=200, unique=True, help_text="as Celery calls it: scoring@host"
    )
    queues = models.JSONField(default=list)
    process = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "worker processes"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_alive(self) -> bool:
        return timezone.now() - self.heartbeat_at < SILENCE
