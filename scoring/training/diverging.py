"""When a training has gone wrong beyond repair, and how that is said."""

import math

from curator.lib.refusals import Refusal

HARDEST_RISE = 10.0  # of the loss over what it was at the start, or over 1 where that was less


class Diverged(Refusal):
    """A training that no further step can save. The message names where and why."""


def check_loss(loss: float, start: float, *, where: str) -> None:
    """Raises Diverged where a loss is no number, or far above what it was at the start."""
    if not math.isfinite(loss):
        raise Diverged(
            f"The training diverged: its loss is no finite number {where}. A lower learning rate "
            f"keeps it in bounds."
        )
    if loss > HARDEST_RISE * max(start, 1.0):
        raise Diverged(
            f"The training diverged: its loss rose from {start:.3g} to {loss:.3g} {where}. A lower "
            f"learning rate keeps it in bounds."
        )
