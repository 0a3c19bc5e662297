"""API tokens: made and revoked by an operator, shown by programs, and looked up for each request.

Only the SHA-256 digest of a secret is kept. A secret is 32 random bytes, so its digest needs
neither salt nor stretching, and a lookup by digest compares no part of the secret: how long it
takes tells nothing of it.
"""

import logging
import secrets
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from curator.lib import digests
from curator.lib.refusals import Conflict, Refusal
from curator.models import ApiToken, User

logger = logging.getLogger(__name__)

PREFIX = "cur_"  # so that scanners of secrets know one when they see it
SECRET_BYTES = 32
NOTED_EVERY = timedelta(minutes=1)


@transaction.atomic
def issue(*, user: User, name: str) -> str:
    """The secret of a fresh token, which cannot be had again."""
    if not user.is_active:
        raise Refusal(f"{user.username} is locked out: a token of theirs would open nothing.")
    if user.api_tokens.filter(name=name, revoked_at__isnull=True).exists():
        raise Conflict(
            f"{user.username} has a token called {name!r} already: revoke it first, or choose "
            f"another name."
        )
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    token = ApiToken(user=user, name=name, digest=digests.of_text(secret))
    try:
        token.full_clean()
    except ValidationError as error:
        raise Refusal(f"{name!r} cannot be a token: {' '.join(error.messages)}") from error
    token.save()
    return secret


def revoke(*, user: User, name: str) -> None:
    """From now on the token opens nothing; its row stays. Raises Refusal when there is none."""
    valid = user.api_tokens.filter(revoked_at__isnull=True)
    if not valid.filter(name=name).update(revoked_at=timezone.now()):
        known = ", ".join(valid.values_list("name", flat=True)) or "none"
        raise Refusal(f"{user.username} has no token called {name!r}; there are: {known}.")


def user_of(secret: str) -> User | None:
    """Whose token it is; None when it is wrong or revoked, or the user is locked out."""
    tokens = ApiToken.objects.select_related("user")
    token = tokens.filter(
        digest=digests.of_text(secret), revoked_at__isnull=True, user__is_active=True
    ).first()
    if token is None:
        return None
    _note_use(token)
    return token.user


def _note_use(token: ApiToken) -> None:
    now = timezone.now()
    noted_before = now - NOTED_EVERY
    if token.last_used_at is not None and token.last_used_at > noted_before:
        return
    stale = ApiToken.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=noted_before))
    try:
        stale.filter(pk=token.pk).update(last_used_at=now)
    except OperationalError as error:  # a busy database is no reason to refuse to read from it
        logger.warning("use of token not noted token=%s: %s", token.pk, error)
