"""Which half of the pairs each member is trained on, so that the other half is scored without
having been seen.

Members come in couples: a split sends each pair to one of two halves by hash, and the two members
of the couple take one half each. So every pair is scored out-of-bag by exactly half of an even
number of members. The unit is the pair's content digest (equal pairs stay together), or its prompt
group where accuracy is to speak of new prompts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Unit = Literal["pair", "prompt"]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bag:
    """One member's half."""

    seed: int
    split: int
    half: int
    unit: Unit = "pair"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def bags(members: int, *, seed: int, unit: Unit = "pair") -> list[Bag]:
    """The bags of an ensemble. Raises ValueError for an odd or too small number of members."""
    if members < 2 or members % 2:
        raise ValueError("an ensemble needs an even number of members, at least 2")
    return [Bag(seed, split, half, unit) for split in range(members // 2) for half in (0, 1)]


def in_bag(digests: Sequence[str], of: Sequence[Bag]) -> Booleans:
    """Which pairs each member was trained on, (n_pairs, n_members); the digests are of each
    bag's unit."""
    columns: dict[tuple[int, int], Booleans] = {}
    for bag in of:
        if (bag.seed, bag.split) not in columns:
            halves = [half_of(digest, seed=bag.seed, split=bag.split) for digest in digests]
            columns[bag.seed, bag.split] = np.array(halves, dtype=np.int8)
    held = [columns[bag.seed, bag.split] == bag.half for bag in of]
    return np.stack(held, axis=1)


def half_of(digest: str, *, seed: int, split: int) -> int:
    """The half, 0 or 1, that a split sends the digest to."""
    return hashlib.sha256(f"{seed}:{split}:{digest}".encode()).digest()[0] & 1
