"""Run a model over padded batches, by its own forward pass: encoders, and decoders whose layers we
do not know."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scoring.engine.checkpoints import Checkpoint
from scoring.engine.conversations import Text

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Laid:
    """Texts side by side, each padded to the longest: (texts, longest)."""

    tokens: Indices
    mask: Indices  # 1 where there is a token of the text
    types: Indices  # 1 in an encoder's second segment

    @classmethod
    def out(cls, texts: Sequence[Text], *, pad: int, left: bool = False) -> "Laid":
        longest = max(len(text.ids) for text in texts)
        tokens = np.full((len(texts), longest), pad, dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=np.int64)
        types = np.zeros((len(texts), longest), dtype=np.int64)
        for row, text in enumerate(texts):
            start = longest - len(text.ids) if left else 0
            own = slice(start, start + len(text.ids))
            tokens[row, own], mask[row, own] = text.ids, 1
            types[row, start + text.second : own.stop] = 1
        return cls(tokens, mask, types)

    @property
    def positions(self) -> Indices:
        """Of each token in its own text."""
        return np.asarray(np.maximum(self.mask.cumsum(1) - 1, 0))

    @property
    def last(self) -> Indices:
        """(texts,): where each text's last token is."""
        return np.asarray(self.mask.shape[1] - 1 - self.mask[:, ::-1].argmax(1))


class PaddedModel:
    """One model; the token whose score counts is told by the mask, never by the pad token's id."""

    path = "padded"

    def __init__(self, member: Checkpoint) -> None:
        self.member = member
        config = member.model.config
        several = (getattr(config, "type_vocab_size", 0) or 0) > 1
        self.reads_types = several and not member.identity.is_decoder
        self.pad = member.tokenizer.pad_token_id or 0

    def rewards(self, texts: list[Text], *, left: bool = False) -> Tensor:
        """Rewards (texts, 1) in fp32. `left` pads on the left, which models that count
        positions from the left of the batch read differently."""
        laid = Laid.out(texts, pad=self.pad, left=left)
        given = {"input_ids": self._sent(laid.tokens), "attention_mask": self._sent(laid.mask)}
        if self.reads_types:
            given["token_type_ids"] = self._sent(laid.types)
        self.member.select()
        with torch.inference_mode():
            if not self.member.identity.is_decoder:
                return self.member.model(**given).logits[:, :1].float()
            given["position_ids"] = self._sent(laid.positions)
            states = self.member.body(**given, use_cache=False).last_hidden_state
            scored = states[torch.arange(len(texts)), self._sent(laid.last)]
            return self.member.model.score(scored.float())[:, :1].float()

    def _sent(self, values: Indices) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.member.device)
