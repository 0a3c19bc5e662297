"""What some members say of some pairs, before it is known what a margin is for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Towards:
    """Margins towards A of n pairs by m members, NaN where a member could not say."""

    margins: npt.NDArray[np.float32]  # (n, m)
    refused: list[tuple[int, int, str]]  # which pair, which member's position, and why
    truncated: list[int]  # which pairs were too long to be read whole
    tokens: int  # that went through models
    environment: dict[str, Any]
