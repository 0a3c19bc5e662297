"""Which texts go through the backbone together: of similar length, and never more tokens than a
budget."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]


def by_length(lengths: npt.NDArray[np.integer], *, token_budget: int) -> Iterator[Indices]:
    """Batches of indices into `lengths` (n,), the longest first so that too large a batch shows at
    once.

    A batch padded to its longest text holds at most `token_budget` tokens; a text longer than the
    budget goes alone. Every index comes exactly once, and the same lengths always give the same
    batches.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = max(token_budget // longest, 1)
        yield order[start : start + size]
        start += size
