"""Who looks at which pair of a review just now. A hold keeps a pair from being handed to others; it
ends by itself, and keeps nobody from opening or deciding the pair."""

from collections.abc import Sequence
from datetime import timedelta

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
    """Let the user look at the pair from now; False where somebody else does."""
    now = timezone.now()
    free = Q(user=user) | Q(expires_at__lte=now)
    held = ReviewHold.objects.filter(pair=pair)
    if held.filter(free).update(user=user, expires_at=now + LENGTH):
        return True
    new = ReviewHold(pair=pair, dataset_id=pair.dataset_id, user=user, expires_at=now + LENGTH)
    ReviewHold.objects.bulk_create([new], ignore_conflicts=True)
    return held.filter(user=user).exists()


def release(pair: PreferencePair, user: User) -> None:
    """The user has left the pair. Holds of the dataset that have ended go with theirs."""
    over = Q(pair=pair, user=user) | Q(dataset=pair.dataset_id, expires_at__lte=timezone.now())
    ReviewHold.objects.filter(over).delete()
