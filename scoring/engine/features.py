"""What a head reads of a response to a prompt: their embeddings, how they relate, and what the
response looks like.

A text's embedding is the mean-pooled states of three layers of the backbone, each of unit length,
side by side: (n, 3, d). Prompt and response are embedded apart, so that a prompt shared by many
responses is read once.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.engine import surface

Floats = npt.NDArray[np.float32]

LAYERS = 3
RELATED_LAYERS = (1, 2)  # whose states of prompt and response are multiplied
COMPARED_LAYER = 2  # whose states of prompt and response are subtracted
# what standardised surface features count beside each dimension of an embedding
SURFACE_WEIGHT = 4.0
SLICE = 1024  # rows
FARTHEST = 8.0  # standard deviations, beyond which a feature is clipped


def width(dimension: int) -> int:
    """How many features there are for a backbone of the given dimension."""
    return (LAYERS + len(RELATED_LAYERS) + 1) * dimension + surface.COUNT


def features(prompts: Floats, responses: Floats, looks: Floats) -> Floats:
    """Features (n, width) from embeddings (n, LAYERS, d) of prompts and responses and surface
    features (n, COUNT)."""
    related = [prompts[:, layer] * responses[:, layer] for layer in RELATED_LAYERS]
    compared = np.abs(prompts[:, COMPARED_LAYER] - responses[:, COMPARED_LAYER])
    return np.concatenate(
        [responses.reshape(len(responses), -1), *related, compared, looks], axis=1
    )


@dataclass(frozen=True)
class Scaling:
    """Brings features to one scale: standardised over the responses of the training set,
    clipped, and weighted."""

    mean: Floats  # (width,)
    deviation: Floats  # (width,)

    @classmethod
    def of(cls, rows: Floats) -> "Scaling":
        """The scaling that standardises `rows` (n, width)."""
        mean = rows.mean(axis=0)
        squares = np.zeros(len(mean), dtype=np.float64)
        for start in range(0, len(rows), SLICE):  # a copy of all rows would be large
            squares += np.square(rows[start : start + SLICE] - mean).sum(axis=0)
        deviation = np.sqrt(squares / len(rows)).astype(np.float32)
        return cls(mean, deviation + np.float32(1e-6))

    def apply(self, rows: Floats) -> Floats:
        """(n, width) -> (n, width)"""
        scaled = np.clip((rows - self.mean) / self.deviation, -FARTHEST, FARTHEST)
        scaled[:, -surface.COUNT :] *= SURFACE_WEIGHT
        return np.asarray(scaled, dtype=np.float32)
