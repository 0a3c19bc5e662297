"""Who looks at which pair of a review just now. A hold keeps a pair from being handed to others; it
ends by itself, and keeps nobody from opening or deciding the pair."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from django.db import OperationalError, connection
from django.db.models import Q
from django.utils import timezone

from annotations.models import Dataset, PreferencePair, ReviewHold
from curator.models import User

LENGTH = timedelta(minutes=3)
MOST = 1000  # of others; each holds one or two


def by_others(dataset: Dataset, user: User) -> Sequence[int]:
    """The ids of the pairs that others look at."""
    running = ReviewHold.objects.filter(dataset=dataset, expires_at__gt=timezone.now())
    return list(running.exclude(user=user).values_list("pair", flat=True)[:MOST])


def take(pair: PreferencePair, user: User) -> bool:
    """Let the user look at the pair from now; False where somebody else does. Nobody waits to look
    at a pair: on SQLite, while others write, they look at it without a hold."""
    try:
        with _without_waiting():
            return _take(pair, user)
    except OperationalError:
        return True


def _take(pair: PreferencePair, user: User) -> bool:
    now = timezone.now()
    free = Q(user=user) | Q(expires_at__lte=now)
    held = ReviewHold.objects.filter(pair=pair)
    if held.filter(free).update(user=user, expires_at=now + LENGTH):
        return True
    new = ReviewHold(pair=pair, dataset_id=pair.dataset_id, user=user, expires_at=now + LENGTH)
    ReviewHold.objects.bulk_create([new], ignore_conflicts=True)
    return held.filter(user=user).exists()


@contextmanager
def _without_waiting() -> Iterator[None]:
    """On SQLite, raises OperationalError at once where somebody else writes. Elsewhere nobody keeps
    the rows of holds."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        (usual,) = cursor.fetchone()
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {usual:d}")


def release(pair: PreferencePair, user: User) -> None:
    """The user has left the pair. Holds of the dataset that have ended go with theirs."""
    over = Q(pair=pair, user=user) | Q(dataset=pair.dataset_id, expires_at__lte=timezone.now())
    ReviewHold.objects.filter(over).delete()
