"""Which values conditions leave possible for a field: whether there are any, and whether they all
lie within others.

Both answers are safe to act on: "empty" and "within" are said only where they are certain.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from math import ceil, floor, inf, isfinite

MOST_LISTED = 1000  # whole numbers that are gone through one by one


@dataclass(frozen=True)
class Numbers:
    """Numbers between two ends, of which some may be all that is left, some left out; and whether
    a pair of which the number is missing is in it. Whole numbers have closed ends."""

    low: float = -inf
    high: float = inf
    has_low: bool = True
    has_high: bool = True
    only: frozenset[float] | None = None
    but_not: frozenset[float] = frozenset()
    missing: bool = True
    whole: bool = False

    def __contains__(self, number: float) -> bool:
        return (
            (number > self.low or (number == self.low and self.has_low))
            and (number < self.high or (number == self.high and self.has_high))
            and (self.only is None or number in self.only)
            and number not in self.but_not
            and not (self.whole and number % 1)
        )

    def from_low(self, low: float, *, closed: bool) -> "Numbers":
        """Those at least as large, or larger where the end is not closed."""
        if self.whole:
            low, closed = (ceil(low) if closed else floor(low) + 1), True
        known = replace(self, missing=False)
        if low < self.low or (low == self.low and closed):
            return known
        return replace(known, low=low, has_low=closed)

    def to_high(self, high: float, *, closed: bool) -> "Numbers":
        """Those at most as large, or smaller where the end is not closed."""
        if self.whole:
            high, closed = (floor(high) if closed else ceil(high) - 1), True
        known = replace(self, missing=False)
        if high > self.high or (high == self.high and closed):
            return known
        return replace(known, high=high, has_high=closed)

    def within_only(self, numbers: frozenset[float], *, missing: bool) -> "Numbers":
        left = numbers if self.only is None else self.only & numbers
        return replace(self, only=left, missing=self.missing and missing)

    def without(self, numbers: frozenset[float]) -> "Numbers":
        """Those that are known and not among the numbers."""
        return replace(self, but_not=self.but_not | numbers, missing=False)

    @property
    def is_empty(self) -> bool:
        return not self.missing and self._has_no_number

    def is_within(self, other: "Numbers") -> bool:
        if self.missing and not other.missing:
            return False
        listed = self._listed()
        if listed is not None:
            return all(number in other for number in listed)
        return (
            other.only is None
            and (self.low > other.low or (self.low == other.low and self._starts_within(other)))
            and (self.high < other.high or (self.high == other.high and self._ends_within(other)))
            and not any(number in self for number in other.but_not)
        )

    @property
    def _has_no_number(self) -> bool:
        if self.low > self.high:
            return True
        listed = self._listed()
        return listed is not None and not listed

    def _listed(self) -> list[float] | None:
        """All numbers in it, where they are few."""
        if self.only is not None:
            return [number for number in self.only if number in self]
        if self.low == self.high:
            return [self.low] if self.low in self else []
        if self.low > self.high:
            return []
        if not self.whole or not isfinite(self.high - self.low):
            return None
        if self.high - self.low > MOST_LISTED:
            return None
        return [each for each in range(ceil(self.low), floor(self.high) + 1) if each in self]

    def _starts_within(self, other: "Numbers") -> bool:
        return other.has_low or not self.has_low

    def _ends_within(self, other: "Numbers") -> bool:
        return other.has_high or not self.has_high


@dataclass(frozen=True)
class Names:
    """Names, of which some may be all that is left, some left out."""

    only: frozenset[Hashable] | None = None
    but_not: frozenset[Hashable] = frozenset()

    def __contains__(self, name: Hashable) -> bool:
        return (self.only is None or name in self.only) and name not in self.but_not

    def within_only(self, names: frozenset[Hashable]) -> "Names":
        return replace(self, only=names if self.only is None else self.only & names)

    def without(self, names: frozenset[Hashable]) -> "Names":
        return replace(self, but_not=self.but_not | names)

    @property
    def is_empty(self) -> bool:
        return self.only is not None and not self.only - self.but_not

    def is_within(self, other: "Names") -> bool:
        if self.only is not None:
            return all(name in other for name in self.only - self.but_not)
        return other.only is None and other.but_not <= self.but_not


@dataclass(frozen=True)
class Bits:
    """Masks that have at least one bit of each group, and none of others."""

    any_of: frozenset[frozenset[str]] = frozenset()
    none_of: frozenset[str] = frozenset()

    def with_any(self, names: frozenset[str]) -> "Bits":
        return replace(self, any_of=self.any_of | {names})

    def without(self, names: frozenset[str]) -> "Bits":
        return replace(self, none_of=self.none_of | names)

    @property
    def is_empty(self) -> bool:
        return any(group <= self.none_of for group in self.any_of)

    def is_within(self, other: "Bits") -> bool:
        return other.none_of <= self.none_of and all(
            any(own - self.none_of <= group for own in self.any_of) for group in other.any_of
        )
