"""Many things at once, without holding them all."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def batches(
    items: Iterable[Item],
    size: int,
    *,
    weight: Callable[[Item], int] | None = None,
    heaviest: int = 0,
) -> Iterator[list[Item]]:
    """The items in lists of at most `size`, without holding more than one list.

    With `weight`, a list also ends once its items weigh `heaviest` or more together.
    """
    batch: list[Item] = []
    weighs = 0
    for item in items:
        batch.append(item)
        weighs += weight(item) if weight else 0
        if len(batch) == size or (weight and weighs >= heaviest):
            yield batch
            batch, weighs = [], 0
    if batch:
        yield batch
