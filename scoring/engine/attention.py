"""Attention over packed trees: a token sees its own text's earlier tokens and nothing else.

Registered with transformers under the names below, so that every architecture's own modelling code
is used as it is; only the attention itself is ours. The model is called with `layout=` and hands it
through to here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from scoring.engine.prefix import Pack

SDPA, FLEX = "curator_sdpa", "curator_flex"
Indices = npt.NDArray[np.int64]

# queries a call of SDPA: keys after the last of them are left out, a third of the work on HH
CHUNK = 128


@dataclass
class Layout:
    """Which token of a pack may see which.

    `queries` (q,), ascending, are the tokens that ask: all of them or, in the last layer, the
    scored ones alone.
    """

    pack: Pack
    queries: Indices
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, pack: Pack, device: torch.device, dtype: torch.dtype) -> "Layout":
        return cls(pack, np.arange(len(pack.tokens)), device, dtype)

    def of_scored(self) -> "Layout":
        """The same pack, asked for by the last token of each text only."""
        return Layout(self.pack, np.unique(self.pack.leaves), self.device, self.dtype)

    @cached_property
    def parts(self) -> list[tuple[slice, slice]]:
        """Some queries of one tree, and the keys up to the last of them: each query is in one
        part."""
        starts = [*self.pack.starts.tolist(), len(self.pack.tokens)]
        places = np.searchsorted(self.queries, starts).tolist()
        parts = []
        for tree in range(len(self.pack.trees)):
            for first in range(places[tree], places[tree + 1], CHUNK):
                last = min(first + CHUNK, places[tree + 1])
                parts.append((slice(first, last), slice(starts[tree], self.queries[last - 1] + 1)))
        return parts

    @cached_property
    def _biases(self) -> dict[int | None, list[Tensor]]:
        return {}

    def biases(self, window: int | None) -> list[Tensor]:
        """For each part (queries, keys): 0 where the query sees the key, minus infinity
        elsewhere."""
        if window not in self._biases:
            self._biases[window] = [self._bias(*part, window) for part in self.parts]
        return self._biases[window]

    def _bias(self, asking: slice, own: slice, window: int | None) -> Tensor:
        queries, keys = self.queries[asking, None], np.arange(own.start, own.stop)[None, :]
        seen = (keys <= queries) & (queries < self.pack.ends[None, own])
        if window is not None:
            positions = self.pack.positions
            seen &= positions[queries] - positions[keys] < window
        bias = torch.zeros(seen.shape, dtype=self.dtype)
        bias.masked_fill_(torch.from_numpy(~seen), float("-inf"))
        return bias.to(self.device)

    @cached_property
    def _blocks(self) -> dict[int | None, BlockMask]:
        return {}

    def blocks(self, window: int | None) -> BlockMask:
        """The same as a mask of blocks for FlexAttention."""
        if window not in self._blocks:
            asked, ends, positions = (
                torch.from_numpy(values).to(self.device)
                for values in (self.queries, self.pack.ends, self.pack.positions)
            )

            def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                asking = asked[query]
                seen = (key <= asking) & (asking < ends[key])
                return (
                    seen if window is None else seen & (positions[asking] - positions[key] < window)
                )

            self._blocks[window] = create_block_mask(
                sees, None, None, len(asked), len(ends), device=str(self.device)
            )
        return self._blocks[window]


def sdpa_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one pack, a part of a tree at a time.

    query (1, heads, q, d), key and value (1, groups, t, d) -> (1, q, heads, d)
    """
    attend = _plain if softcap is None else _softcapped(softcap)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    biases = layout.biases(sliding_window)
    out = [
        attend(query[:, :, asking], key[:, :, own], value[:, :, own], bias, scale)
        for (asking, own), bias in zip(layout.parts, biases, strict=True)
    ]
    return torch.cat([part.transpose(1, 2) for part in out], dim=1), None


def _plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    grouped = q.shape[1] != k.shape[1]
    return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale, enable_gqa=grouped)


def _softcapped(cap: float) -> Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]:
    """Attention whose scores are squeezed by tanh first, which SDPA cannot do (Gemma 2)."""

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scores = torch.tanh((q @ k.transpose(2, 3)) * scale / cap) * cap + bias
        return scores.float().softmax(-1).to(v.dtype) @ v

    return attend


def flex_attention_of_pack(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The same by FlexAttention: one fused kernel for the whole pack, on devices that have it."""
    out = _flex(query.device.type)(
        query,
        key,
        value,
        score_mod=None if softcap is None else partial(_squeezed, softcap),
        block_mask=layout.blocks(sliding_window),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).contiguous(), None


def _squeezed(cap: float, score: Tensor, *_: Tensor) -> Tensor:
    return torch.tanh(score / cap) * cap


@lru_cache
def _flex(device: str) -> Callable[..., Tensor]:
    """Compiled where there is a kernel; elsewhere as it is, slow and good for tests only."""
    compiled: Callable[..., Tensor] = flex_attention
    if device == "cuda":
        compiled = torch.compile(flex_attention, dynamic=True)
    return compiled


AttentionInterface.register(SDPA, sdpa_attention)
AttentionInterface.register(FLEX, flex_attention_of_pack)
