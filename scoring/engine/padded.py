"""Run a model over padded batches, by its own forward pass: encoders, and decoders whose layers we
do not know."""

import numpy as np
import torch
from torch import Tensor

from scoring.engine.checkpoints import Checkpoint
from scoring.engine.conversations import Text


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
        longest = max(len(text.ids) for text in texts)
        tokens = np.full((len(texts), longest), self.pad, dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=np.int64)
        types = np.zeros((len(texts), longest), dtype=np.int64)
        for row, text in enumerate(texts):
            start = longest - len(text.ids) if left else 0
            own = slice(start, start + len(text.ids))
            tokens[row, own], mask[row, own] = text.ids, 1
            types[row, start + text.second : own.stop] = 1
        given = {"input_ids": self._sent(tokens), "attention_mask": self._sent(mask)}
        if self.reads_types:
            given["token_type_ids"] = self._sent(types)
        self.member.select()
        with torch.inference_mode():
            if not self.member.identity.is_decoder:
                return self.member.model(**given).logits[:, :1].float()
            positions = np.maximum(mask.cumsum(1) - 1, 0)
            given["position_ids"] = self._sent(positions)
            states = self.member.body(**given, use_cache=False).last_hidden_state
            last = longest - 1 - mask[:, ::-1].argmax(1)
            scored = states[torch.arange(len(texts)), self._sent(last)]
            return self.member.model.score(scored.float())[:, :1].float()

    def _sent(self, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.member.device)
