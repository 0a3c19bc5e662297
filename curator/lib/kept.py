"""Figures that take a while to compute are kept in memory until what they rest on has changed.

Where it changes all the time, as it does while people work, they are shown for a time in proportion
to what they cost: a page that takes two seconds to compute is computed at most every forty.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Generic, TypeVar

from django.core.cache import cache
from django.utils import timezone

Found = TypeVar("Found")

CHEAP = 0.3  # seconds; what costs less is computed anew whenever something has changed
SHOWN_FOR = 20.0  # times as long as it took
LONGEST = 3600  # seconds


@dataclass(frozen=True)
class Kept(Generic[Found]):
    """What was computed, when, and from what."""

    found: Found
    state: str
    made_at: datetime
    seconds: float  # that it took
    is_current: bool = True  # whether nothing has changed since

    def serves(self, state: str) -> bool:
        """Whether it need not be computed anew yet."""
        if self.state == state:
            return True
        age = (timezone.now() - self.made_at).total_seconds()
        return self.seconds > CHEAP and age < SHOWN_FOR * self.seconds


def kept(name: str, state: str, make: Callable[[], Found]) -> Kept[Found]:
    """What `make` finds, or has found of this `name` before, while `state` is what it was then or
    has changed only just now."""
    key = f"kept-{sha256(name.encode()).hexdigest()}"
    known: Kept[Found] | None = cache.get(key)
    if known is not None and known.serves(state):
        return Kept(known.found, known.state, known.made_at, known.seconds, known.state == state)
    started, made_at = time.perf_counter(), timezone.now()
    fresh = Kept(make(), state, made_at, time.perf_counter() - started)
    cache.set(key, fresh, timeout=LONGEST)
    return fresh
