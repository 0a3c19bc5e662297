"""TRL's preference layouts: `chosen` and `rejected` with or without `prompt`, as plain text or as
chat messages.

https://huggingface.co/docs/trl/dataset_formats. With an implicit prompt, what both sides begin with
is the prompt: by messages in chats, by words in plain text.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from annotations.formats import hh
from annotations.formats.parsed import (
    Message,
    ParsedPair,
    RowError,
    kind_of,
    messages_of,
    meta_of,
    pair_of_chosen_and_rejected,
    source_id_of,
    text_of,
)


def matches(row: Mapping[str, Any]) -> bool:
    return "chosen" in row and "rejected" in row


def parse(row: Mapping[str, Any]) -> ParsedPair:
    columns = {
        name: column_of(row.get(name), name=name) for name in ("prompt", "chosen", "rejected")
    }
    prompt, chosen, rejected = split(columns["prompt"], columns["chosen"], columns["rejected"])
    return pair_of_chosen_and_rejected(
        source_id=source_id_of(row),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        meta=meta_of(row, without=("id", "prompt", "chosen", "rejected")),
    )


def column_of(value: object, *, name: str) -> str | list[Message] | None:
    """A column's text or messages; None where the row lacks it."""
    if value is None:
        return None
    return text_of(value, name=name) if isinstance(value, str) else messages_of(value, name=name)


def split(
    prompt: str | list[Message] | None,
    chosen: str | list[Message] | None,
    rejected: str | list[Message] | None,
) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt and responses as messages, for each of the layouts."""
    if isinstance(chosen, list) and isinstance(rejected, list):
        history = [_user(prompt)] if isinstance(prompt, str) else prompt or []
        return _split_messages(history, chosen, rejected)
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _split_texts(prompt, chosen, rejected)
    missing = [
        name for name, value in (("chosen", chosen), ("rejected", rejected)) if value is None
    ]
    if missing:
        raise RowError(f"`{missing[0]}` is missing")
    raise RowError(
        f"`chosen` is {kind_of(chosen)} but `rejected` is {kind_of(rejected)}: both must be alike"
    )


def _split_messages(
    history: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    length = len(history)
    if history and not (chosen[:length] == history and rejected[:length] == history):
        return history, chosen, rejected
    shared = hh.shared_turns(chosen, rejected)
    if not shared:
        raise RowError(
            "there is no prompt: the two conversations do not begin with the same user message"
        )
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _split_texts(
    prompt: str | list[Message] | None, chosen: str, rejected: str
) -> tuple[list[Message], list[Message], list[Message]]:
    if isinstance(prompt, list):
        return prompt, [_assistant(chosen)], [_assistant(rejected)]
    if prompt is not None:
        return [_user(prompt)], [_assistant(chosen)], [_assistant(rejected)]
    if chosen == rejected:
        raise RowError("the two responses (chosen and rejected) are identical")
    end = shared_words(chosen, rejected)
    if not end:
        raise RowError("there is no prompt: the two texts do not begin with the same words")
    responses = (chosen[end:].strip(), rejected[end:].strip())
    return [_user(chosen[:end].strip())], [_assistant(responses[0])], [_assistant(responses[1])]


def shared_words(first: str, second: str) -> int:
    """Where the whole words that both texts begin with end, leaving at least a word on each side. 0
    if there are none.

    Cutting at the first character that differs would tear words apart, and leave nothing where one
    text begins with the other (huggingface/trl#6079).
    """
    alike = (one == other for one, other in zip(first, second, strict=False))
    end = sum(takewhile(bool, alike))
    while end > 0:
        at_word = first[end - 1].isspace() or (
            first[end : end + 1].isspace() and second[end : end + 1].isspace()
        )
        if at_word and first[end:].strip() and second[end:].strip():
            return end if first[:end].strip() else 0
        end -= 1
    return 0


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
