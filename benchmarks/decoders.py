"""Reward models to measure with: decoders of a real architecture with random weights, in a folder
as people save them, and what is commonly done with such a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from curator.lib.batches import batches
from scoring.engine.conversations import Conversations
from scoring.engine.devices import PRECISIONS, this_device
from scoring.engine.folders import MINILM, folder_of

Floats = npt.NDArray[np.float32]

BATCH = 16
LONGEST = 4096
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = {
    "bos_token": "[CLS]",
    "eos_token": "<|end|>",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}"
)


@dataclass(frozen=True)
class Shape:
    """The size of a Llama-like decoder."""

    layers: int
    width: int
    inner: int
    heads: int
    groups: int = 0  # of heads that share keys and values; as many as heads where 0

    @property
    def parameters(self) -> int:
        """Those of the layers, which every token meets; embeddings are only looked up."""
        keys = self.width * (self.groups or self.heads) // self.heads
        attention = 2 * self.width * (self.width + keys)
        return self.layers * (attention + 3 * self.width * self.inner + 2 * self.width)

    def config(self, vocabulary: int, pad: int) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.groups or self.heads,
            max_position_embeddings=LONGEST,
            num_labels=1,
            pad_token_id=pad,
        )


MEASURED = Shape(layers=12, width=512, inner=1376, heads=8)
TINY = Shape(layers=2, width=64, inner=128, heads=4)
EIGHT_BILLION = Shape(layers=32, width=4096, inner=14336, heads=32, groups=8)


def save(folder: Path, shape: Shape, *, dtype: str = "float32", seed: int = 0) -> Path:
    """A checkpoint of that shape with random weights."""
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    device = this_device()
    with device:
        model = LlamaForSequenceClassification(
            shape.config(len(tokenizer), tokenizer.pad_token_id)
        ).to(PRECISIONS[dtype])
    # scores as far apart as a trained model's, on which rounding can be judged
    torch.nn.init.normal_(model.score.weight, std=shape.width**-0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_sibling(folder: Path, of: Path, *, seed: int, private_layers: int = 0) -> Path:
    """The checkpoint of another folder with a score head and topmost layers of its own."""
    model = AutoModelForSequenceClassification.from_pretrained(of)
    torch.manual_seed(seed)
    own = list(model.model.layers)[len(model.model.layers) - private_layers :]
    for part in (*own, model.score):
        for weights in part.parameters():
            if weights.dim() > 1:
                torch.nn.init.normal_(weights, std=weights.shape[1] ** -0.5)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """The word pieces of MiniLM with markers of turns, and a pad token that ends no text."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder_of(MINILM) / "tokenizer.json"),
        **SPECIAL,
        additional_special_tokens=list(ROLES),
        model_max_length=LONGEST,
    )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@dataclass(frozen=True)
class Common:
    """Transformers' sequence classifier, as it is commonly used: the texts of one side after those
    of the other, in the order of the data."""

    model: Any
    tokenizer: Any
    device: torch.device

    @classmethod
    def load(cls, folder: Path, dtype: str) -> "Common":
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=PRECISIONS[dtype], attn_implementation="sdpa"
        )
        device = this_device()
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        return cls(model.eval().to(device), tokenizer, device)

    def scores(self, pairs: Sequence[Conversations], *, batch: int = BATCH) -> Floats:
        """(pairs, 2), padded to the longest text of each batch."""
        sides = [self._side(texts, batch) for texts in self.texts(pairs)]
        return np.stack(sides, axis=1)

    def texts(self, pairs: Sequence[Conversations]) -> list[list[str]]:
        """The conversations as the model reads them, side by side."""
        render = partial(self.tokenizer.apply_chat_template, tokenize=False)
        return [
            [render([*pair.prompt, *turns]) for pair, turns in zip(pairs, side, strict=True)]
            for side in ([pair.a for pair in pairs], [pair.b for pair in pairs])
        ]

    def tokens(self, pairs: Sequence[Conversations], *, batch: int = BATCH) -> int:
        """How many tokens go through the model, padding included."""
        read = [self._read(some) for side in self.texts(pairs) for some in batches(side, batch)]
        return sum(batch["input_ids"].numel() for batch in read)

    def _side(self, texts: Sequence[str], batch: int) -> Floats:
        found = []
        with torch.inference_mode():
            for some in batches(texts, batch):
                logits = self.model(**self._read(some)).logits
                found.append(logits[:, 0].float().cpu().numpy())
        return np.concatenate(found)

    def _read(self, texts: list[str]) -> Any:
        return self.tokenizer(
            texts,
            padding=True,
            add_special_tokens=False,
            return_token_type_ids=False,
            return_tensors="pt",
        ).to(self.device)
