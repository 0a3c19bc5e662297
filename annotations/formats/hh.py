"""HH-RLHF transcripts: `chosen` and `rejected` are whole conversations written as one text each.

    \\n\\nHuman: …\\n\\nAssistant: …\\n\\nHuman: …\\n\\nAssistant: …

The prompt is what both have in common *by turns*, up to a user turn; some pairs diverge before the
last turn, and then the responses hold several turns each.
"""

import re
from collections.abc import Mapping
from typing import Any

from annotations.formats.parsed import (
    Message,
    ParsedPair,
    RowError,
    meta_of,
    pair_of_chosen_and_rejected,
    source_id_of,
    text_of,
)

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
ROLE = {"Human": "user", "Assistant": "assistant"}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row holds two transcripts."""
    return all(
        isinstance(row.get(name), str) and _begins_as_transcript(row[name])
        for name in ("chosen", "rejected")
    )


def parse(row: Mapping[str, Any]) -> ParsedPair:
    chosen = turns_of(text_of(row.get("chosen"), name="chosen"), name="chosen")
    rejected = turns_of(text_of(row.get("rejected"), name="rejected"), name="rejected")
    if chosen == rejected:
        raise RowError("the two responses (chosen and rejected) are identical")
    shared = shared_turns(chosen, rejected)
    if not shared:
        raise RowError("the two conversations do not begin with the same message")
    return pair_of_chosen_and_rejected(
        source_id=source_id_of(row),
        prompt=chosen[:shared],
        chosen=chosen[shared:],
        rejected=rejected[shared:],
        meta=meta_of(row, without=("id", "chosen", "rejected")),
    )


def turns_of(transcript: str, *, name: str) -> list[Message]:
    """The turns of one transcript. Raises RowError when it does not begin with a turn."""
    parts = TURN.split(transcript)
    if len(parts) == 1 or parts[0].strip():
        raise RowError(f"`{name}` does not begin with `Human:`")
    return [
        {"role": ROLE[speaker], "content": text.strip()}
        for speaker, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


def shared_turns(first: list[Message], second: list[Message]) -> int:
    """How many turns both begin with, so that what follows begins with the assistant in both. 0
    if there are none."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    count = min(count, len(first) - 1, len(second) - 1)
    while count > 0 and first[count - 1]["role"] != "user":
        count -= 1
    return max(count, 0)


def _begins_as_transcript(text: str) -> bool:
    return text.lstrip().startswith(("Human:", "Assistant:")) and TURN.search(text) is not None
