"""What a reward model reads of a pair: the two conversations as token ids, treated alike.

A conversation goes through the tokenizer's chat template as a whole, without a generation prompt,
so that nothing depends on where prompt and response are joined. Where there is no template, one
question and its answer can still be read: side by side by an encoder, one after the other by a
decoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np

from scoring.engine.prefix import Tokens, common_prefix

Messages = Sequence[Mapping[str, str]]

TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, ValueError, LookupError)
# a template that prints today's date would give other scores every day; this is what Llama 3.2's
# prints where there is no clock
TODAY = "{%- macro strftime_now(form) -%}26 Jul 2024{%- endmacro -%}"
CLOSING = 2  # tokens that end a turn, kept when the middle of a response is cut out


@dataclass(frozen=True)
class Conversations:
    """A prompt, and the two ways in which it goes on."""

    prompt: Messages
    a: Messages
    b: Messages


@dataclass(frozen=True)
class Text:
    """One conversation as the model reads it; `second` is where an encoder's second segment
    begins."""

    ids: Tokens
    second: int

    @property
    def key(self) -> bytes:
        return self.second.to_bytes(4, "little") + self.ids.astype("<u4").tobytes()


@dataclass(frozen=True)
class ReadPair:
    """Both conversations of a pair; `truncated` when tokens of both were left out."""

    a: Text
    b: Text
    truncated: bool


@dataclass(frozen=True)
class Unreadable:
    """A pair that the model cannot read, and why."""

    reason: str


class Reader:
    """Turns pairs into tokens for one tokenizer."""

    def __init__(self, tokenizer: Any, *, is_decoder: bool, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.dropped_at_end: int | None = None  # a token that is not read where it ends a text
        self.is_decoder = is_decoder
        self.max_length = max_length
        own = getattr(tokenizer, "chat_template", None)
        self.has_template = bool(own)
        self.template = TODAY + own if own and "strftime_now" in own else own
        self.bos = tokenizer.bos_token_id
        begun = tokenizer("a")["input_ids"]
        self.adds_bos = self.bos is not None and bool(begun) and begun[0] == self.bos

    def read(self, pairs: Sequence[Conversations]) -> list[ReadPair | Unreadable]:
        """Tokens of all pairs, tokenised in one go. A pair that is too long loses the beginning
        of its prompt, on both sides alike."""
        rendered = [self._rendered(pair) for pair in pairs]
        wanted = [texts for texts in rendered if not isinstance(texts, Unreadable)]
        tokenised = iter(self._tokenise([text for texts in wanted for text in texts]))
        found: list[ReadPair | Unreadable] = []
        for pair, texts in zip(pairs, rendered, strict=True):
            if isinstance(texts, Unreadable):
                found.append(texts)
            else:
                found.append(self._fitted(pair, next(tokenised), next(tokenised)))
        return found

    def last_token_of(self, messages: Messages) -> int | None:
        """The token that ends a question and its answer, as the template or this reader ends it."""
        text: Any = tuple(turn["content"] for turn in messages)
        if self.has_template:
            text = self._by_template(messages)
        elif self.is_decoder:
            text = self.tokenizer.eos_token
        tokenised = self._tokenise([text]) if text else []
        return int(tokenised[0].ids[-1]) if tokenised and len(tokenised[0].ids) else None

    def _rendered(self, pair: Conversations) -> list[Any] | Unreadable:
        """Both conversations as text, or as (question, answer) for an encoder without a
        template."""
        if self.has_template:
            try:
                return [self._by_template([*pair.prompt, *turns]) for turns in (pair.a, pair.b)]
            except TEMPLATE_ERRORS as error:
                return Unreadable(f"The chat template refuses this conversation: {error}"[:300])
        if len(pair.prompt) != 1 or len(pair.a) != 1 or len(pair.b) != 1:
            return Unreadable(
                "The tokenizer has no chat template, so a conversation of several turns cannot be "
                "read."
            )
        question = pair.prompt[0]["content"]
        answers = [pair.a[0]["content"], pair.b[0]["content"]]
        if self.is_decoder:
            end = self.tokenizer.eos_token or ""
            return [question + answer + end for answer in answers]
        return [(question, answer) for answer in answers]

    def _by_template(self, messages: Messages) -> str:
        plain = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
        return str(
            self.tokenizer.apply_chat_template(
                plain,
                tokenize=False,
                add_generation_prompt=False,
                chat_template=self.template,
            )
        )

    def _tokenise(self, texts: list[Any]) -> list[Text]:
        if not texts:
            return []
        if isinstance(texts[0], tuple):
            encoded = self.tokenizer(texts, truncation=False, verbose=False)
            return [_segmented(encoded, i) for i in range(len(texts))]
        special = not self.has_template
        rows = self.tokenizer(texts, add_special_tokens=special, truncation=False, verbose=False)
        ids = [self._ended(self._with_one_bos(row)) for row in rows["input_ids"]]
        return [Text(row, len(row)) for row in ids]

    def _ended(self, ids: Tokens) -> Tokens:
        if self.dropped_at_end is None:
            return ids
        kept = np.flatnonzero(ids != self.dropped_at_end)
        return ids[: kept[-1] + 1] if len(kept) else ids

    def _with_one_bos(self, row: list[int]) -> Tokens:
        """A template that writes the first token itself and a tokenizer that adds it make two;
        neither makes none."""
        while len(row) > 1 and row[0] == row[1] == self.bos:
            row = row[1:]
        if self.adds_bos and (not row or row[0] != self.bos):
            row = [self.bos, *row]
        return np.array(row, dtype=np.int64)

    def _fitted(self, pair: Conversations, a: Text, b: Text) -> ReadPair | Unreadable:
        if not len(a.ids) or not len(b.ids):
            return Unreadable("The conversation is empty.")
        excess = max(len(a.ids), len(b.ids)) - self.max_length
        if excess <= 0:
            return ReadPair(a, b, truncated=False)
        lead = int(a.ids[0] in self._leading)
        cut = min(excess, max(self._prompt_tokens(pair, a, b) - lead, 0))
        return ReadPair(self._cut(a, lead, cut), self._cut(b, lead, cut), truncated=True)

    @property
    def _leading(self) -> set[int | None]:
        return {self.bos, self.tokenizer.cls_token_id} - {None}

    def _prompt_tokens(self, pair: Conversations, a: Text, b: Text) -> int:
        """How many tokens both begin with that belong to the prompt."""
        shared = common_prefix(a.ids, b.ids)
        if not self.has_template:
            return min(shared, a.second - 1) if a.second < len(a.ids) else shared
        try:
            prompt = self._by_template(pair.prompt)
        except TEMPLATE_ERRORS:
            return shared
        return min(shared, common_prefix(self._tokenise([prompt])[0].ids, a.ids))

    def _cut(self, text: Text, lead: int, cut: int) -> Text:
        """Without `cut` tokens after the leading one; what is still too long loses the middle of
        its response."""
        ids = np.concatenate([text.ids[:lead], text.ids[lead + cut :]])
        if len(ids) > self.max_length:
            ids = np.concatenate([ids[: self.max_length - CLOSING], ids[-CLOSING:]])
        return Text(ids, min(text.second - cut, len(ids)))


def _segmented(encoded: Any, i: int) -> Text:
    ids = np.array(encoded["input_ids"][i], dtype=np.int64)
    encoding = encoded.encodings[i]
    # an empty answer has no token of its own, but the one that closes it
    segments = zip(encoding.sequence_ids, encoding.type_ids, strict=True)
    second = next((place for place, both in enumerate(segments) if 1 in both), len(ids))
    return Text(ids, second)
