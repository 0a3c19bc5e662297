"""People who sign in, the tokens their programs use, and the worker processes that are there: the
project's own rows, without domain words."""

from datetime import timedelta

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.utils import timezone

SILENCE = timedelta(seconds=20)


class User(AbstractUser):
    """A person with a login."""

    keys = models.JSONField(
        default=dict, blank=True, help_text="keys of their own for labelling: action to key"
    )

    @property
    def shown_name(self) -> str:
        return self.get_full_name() or self.username


class ApiToken(models.Model):
    """What a program shows to act as its user. The secret is shown once and kept nowhere."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60, help_text="what it is for")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret")
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(
        null=True, blank=True, help_text="to the minute, so that reading seldom writes"
    )
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "name"],
                condition=Q(revoked_at__isnull=True),
                name="one_valid_api_token_per_name",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="api_token_has_a_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.user_id}"


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
