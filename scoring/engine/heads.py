"""Heads: small reward models on the features of a response, linear or with a hidden layer, stored
as safetensors with a JSON card beside. The linear ones:

    reward(prompt, response) = (w + sum_s c_s w_s) . scaled features + effect of this very response

`w_s` is the weight block of a slice of the data (one task of a mixed dataset) and `c` the slice's
centred code; a pair of no known slice gets `w` alone. The effect of a response is what its other
comparisons say of it; 0 where there are none.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from curator.lib import digests
from curator.lib.refusals import Refusal
from scoring.engine.features import Scaling

Floats = npt.NDArray[np.float32]
Keys = npt.NDArray[np.int64]

WITH_HIDDEN_LAYER = "hidden layer"  # what a file says of itself
AT_ONCE = 1 << 24  # hidden units that are held at a time


class BadHead(Refusal):
    """A stored head is not what its row says it is."""


@dataclass(frozen=True)
class Slices:
    """The slices that have weights of their own; `codes` are centred over the training set, (k,
    k)."""

    names: tuple[str, ...]
    codes: Floats

    @classmethod
    def none(cls) -> "Slices":
        return cls((), np.zeros((0, 0), dtype=np.float32))

    def codes_of(self, names: Sequence[str]) -> Floats:
        """(n, k): the code of each pair's slice, zeros for an unknown one."""
        rows = {name: self.codes[i] for i, name in enumerate(self.names)}
        nothing = np.zeros(len(self.names), dtype=np.float32)
        return np.array([rows.get(name, nothing) for name in names], dtype=np.float32).reshape(
            len(names), len(self.names)
        )


@dataclass(frozen=True)
class Effects:
    """What is known of single responses; `keys` (r,) sorted, `values` (r,)."""

    keys: Keys
    values: Floats

    def of(self, keys: Keys) -> Floats:
        """The effects (n,) of the responses with these keys; 0 for one that is not known."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.float32)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.values[place], 0.0).astype(np.float32)


@dataclass(frozen=True)
class Head:
    """One member: weights (1 + slices, width) on scaled features, and effects of single
    responses."""

    scaling: Scaling
    weights: Floats
    slices: Slices
    effects: Effects

    def to_bytes(self) -> bytes:
        tensors = {
            "mean": self.scaling.mean,
            "deviation": self.scaling.deviation,
            "weights": self.weights,
            "slice_codes": self.slices.codes,
            "response_keys": self.effects.keys,
            "response_effects": self.effects.values,
        }
        contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        return save(contiguous, metadata={"slices": json.dumps(self.slices.names)})

    @classmethod
    def from_bytes(cls, data: bytes, *, digest: str) -> "Head":
        """Read a stored head. Raises BadHead when the bytes are not those that the digest names."""
        tensors, said = _opened(data, digest)
        with _as_bad_head():
            return cls(
                scaling=Scaling(tensors["mean"], tensors["deviation"]),
                weights=tensors["weights"],
                slices=Slices(tuple(json.loads(said.get("slices", "[]"))), tensors["slice_codes"]),
                effects=Effects(tensors["response_keys"], tensors["response_effects"]),
            )


@dataclass(frozen=True)
class HiddenHead:
    """One member with a hidden layer:

    reward(prompt, response) = v . relu(W x + b) + u . x, x = scaled features
    """

    scaling: Scaling
    weights: Floats  # W, (hidden, width)
    bias: Floats  # b, (hidden,)
    outputs: Floats  # v, (hidden,)
    straight: Floats  # u, (width,)

    @property
    def slices(self) -> Slices:
        """None: what a slice has of its own, the hidden layer finds in the features."""
        return Slices.none()

    def units(self, rows: Floats) -> Floats:
        """The hidden units (n, hidden) of n responses' features (n, width): what the layer has
        learnt to see."""
        return np.asarray(np.maximum(self.scaling.apply(rows) @ self.weights.T + self.bias, 0.0))

    def to_bytes(self) -> bytes:
        tensors = {
            "mean": self.scaling.mean,
            "deviation": self.scaling.deviation,
            "hidden_weights": self.weights,
            "hidden_bias": self.bias,
            "outputs": self.outputs,
            "straight": self.straight,
        }
        contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        return save(contiguous, metadata={"kind": WITH_HIDDEN_LAYER})

    @classmethod
    def from_bytes(cls, data: bytes, *, digest: str) -> "HiddenHead":
        """Read a stored head. Raises BadHead when the bytes are not those that the digest names."""
        tensors, _ = _opened(data, digest)
        with _as_bad_head():
            return cls(
                scaling=Scaling(tensors["mean"], tensors["deviation"]),
                weights=tensors["hidden_weights"],
                bias=tensors["hidden_bias"],
                outputs=tensors["outputs"],
                straight=tensors["straight"],
            )


AnyHead = Head | HiddenHead


def read(data: bytes, *, digest: str) -> AnyHead:
    """A stored head of either kind. Raises BadHead when the bytes are not those that the digest
    names."""
    _, said = _opened(data, digest)
    kind = HiddenHead if said.get("kind") == WITH_HIDDEN_LAYER else Head
    return kind.from_bytes(data, digest=digest)


def rewards(heads: Sequence[AnyHead], rows: Floats, codes: Floats, keys: Keys) -> Floats:
    """Rewards (n, members) of n responses: features `rows` (n, width), slice codes (n, k), response
    keys (n,).

    All heads are of one training, and so of one kind: the features are scaled once and all members
    are one matrix product.
    """
    scaled = heads[0].scaling.apply(rows)
    linear = [head for head in heads if isinstance(head, Head)]
    if linear:
        return _linear_rewards(linear, scaled, codes, keys)
    return _hidden_rewards([head for head in heads if isinstance(head, HiddenHead)], scaled)


def _linear_rewards(heads: list[Head], scaled: Floats, codes: Floats, keys: Keys) -> Floats:
    blocks = heads[0].weights.shape[0]
    weights = np.concatenate([head.weights for head in heads], axis=0)  # (members * blocks, width)
    products = (scaled @ weights.T).reshape(len(scaled), len(heads), blocks)
    shared, own = products[:, :, 0], products[:, :, 1:]
    by_slice = np.einsum("nmk,nk->nm", own, codes) if blocks > 1 else np.zeros_like(shared)
    effects = np.stack([head.effects.of(keys) for head in heads], axis=1)
    return np.asarray(shared + by_slice + effects, dtype=np.float32)


def _hidden_rewards(heads: list[HiddenHead], scaled: Floats) -> Floats:
    hidden = len(heads[0].bias)
    weights = np.concatenate([head.weights for head in heads], axis=0)  # (members * hidden, width)
    bias = np.concatenate([head.bias for head in heads])
    outputs, straight = (
        np.stack([getattr(head, name) for head in heads]) for name in ("outputs", "straight")
    )
    found = scaled @ straight.T
    at_once = max(1, AT_ONCE // len(weights))
    for start in range(0, len(scaled), at_once):
        units = np.maximum(scaled[start : start + at_once] @ weights.T + bias, 0.0)
        by_member = units.reshape(len(units), len(heads), hidden)
        found[start : start + at_once] += np.einsum("nmh,mh->nm", by_member, outputs)
    return np.asarray(found, dtype=np.float32)


def response_key(prompt: str, response: str) -> int:
    """A number that names a response to a prompt, the same on every machine."""
    return int(digests.of_text(f"{len(prompt)}:{prompt}{response}")[:15], 16)


def _opened(data: bytes, digest: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors of a stored head, and what is said beside them. Raises BadHead."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise BadHead("A member's file has changed since it was trained: train the ensemble again.")
    with _as_bad_head():
        header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return load(data), header.get("__metadata__", {})


@contextmanager
def _as_bad_head() -> Iterator[None]:
    """What is wrong with a file is said as BadHead."""
    try:
        yield
    except (SafetensorError, KeyError, ValueError) as error:
        raise BadHead(f"A member's file cannot be read: {error}.") from error
