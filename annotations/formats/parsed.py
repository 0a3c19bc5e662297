"""What a source row becomes: a checked pair with the labels it came with, or the reason why it
cannot be one."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, cast

from curator.lib import digests

ROLES = ("system", "user", "assistant")
DEEPEST = 64
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
LONGEST_ID = LONGEST_NAME = 200

Side: TypeAlias = Literal["a", "b", "tie", ""]
Judgement: TypeAlias = Literal["a", "b", "tie", "both_bad", "skip"]
OTHER_SIDE: dict[Judgement, Judgement] = {"a": "b", "b": "a"}


class Message(TypedDict):
    role: str
    content: str


class Turn(TypedDict):
    """A message as sources spell it."""

    role: NotRequired[object]
    content: NotRequired[object]


class RowError(ValueError):
    """Why a row is refused, in words that the user reads in the report."""


@dataclass(frozen=True)
class ParsedLabel:
    """One annotator's judgement as the source has it."""

    annotator: str
    kind: Literal["human", "ai", "gold", "source"]
    preference: Judgement
    meta: Mapping[str, Any] = field(default_factory=dict)
    strength: int | None = None
    aspects: Mapping[str, Judgement] = field(default_factory=dict)
    rationale: str = ""


@dataclass(frozen=True)
class ParsedPair:
    """A preference pair that is fit to be stored."""

    source_id: str
    prompt: list[Message]
    response_a: list[Message]
    response_b: list[Message]
    labels: tuple[ParsedLabel, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Of prompt and responses, whichever way round the responses stand."""
        first, second = (
            (self.response_a, self.response_b)
            if self.is_in_order
            else (self.response_b, self.response_a)
        )
        return digests.of_value([self.prompt, first, second])

    @property
    def group(self) -> str:
        return digests.of_value(self.prompt)

    @cached_property
    def is_in_order(self) -> bool:
        """Whether response A is the first of the two by digest, a side that says nothing of
        quality."""
        return digests.of_value(self.response_a) <= digests.of_value(self.response_b)

    @property
    def source_preference(self) -> Side:
        return source_preference(self.labels)

    @cached_property
    def search_text(self) -> str:
        messages = [*self.prompt, *self.response_a, *self.response_b]
        return "\n".join(message["content"] for message in messages)


def other_way_round(label: ParsedLabel) -> ParsedLabel:
    """The same judgement of the pair with its responses exchanged."""
    aspects = {name: OTHER_SIDE.get(answer, answer) for name, answer in label.aspects.items()}
    preference = OTHER_SIDE.get(label.preference, label.preference)
    return replace(label, preference=preference, aspects=aspects)


def source_preference(labels: Iterable[ParsedLabel]) -> Side:
    """What the source says: gold's word, else the majority of people, else of AI judges; a tie when
    balanced.

    Only votes for A or B weigh; where there are none of them but some for a tie, it is a tie. Empty
    when nobody said.
    """
    votes: dict[str, Counter[str]] = {}
    for label in labels:
        if label.preference in ("a", "b", "tie"):
            votes.setdefault(label.kind, Counter())[label.preference] += 1
    for kind in ("source", "gold", "human", "ai"):
        if kind in votes:
            a, b = votes[kind]["a"], votes[kind]["b"]
            return "tie" if a == b else "a" if a > b else "b"
    return ""


def pair_of_chosen_and_rejected(
    *,
    source_id: str,
    prompt: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    meta: Mapping[str, Any],
) -> ParsedPair:
    """A pair of which the source says only which response it chose.

    Which of them becomes A follows from their digests, so that the preferred one does not always
    stand on one side.
    """
    chosen_first = digests.of_value(chosen) <= digests.of_value(rejected)
    label = ParsedLabel(annotator="source", kind="source", preference="a" if chosen_first else "b")
    a, b = (chosen, rejected) if chosen_first else (rejected, chosen)
    return checked(
        ParsedPair(source_id, prompt, a, b, (label,), meta), names=("chosen", "rejected")
    )


def checked(
    pair: ParsedPair, *, names: tuple[str, str] = ("response_a", "response_b")
) -> ParsedPair:
    """The pair, or a RowError when a trainer could not learn from it or a template could not
    render it."""
    check_prompt(pair.prompt)
    for response in (pair.response_a, pair.response_b):
        check_response(response, after=pair.prompt)
    if pair.response_a == pair.response_b:
        raise RowError(f"the two responses ({names[0]} and {names[1]}) are identical")
    return pair


def check_prompt(messages: Sequence[Message]) -> None:
    if not messages:
        raise RowError("there is no prompt")
    start = 1 if messages[0]["role"] == "system" else 0
    if start == len(messages):
        raise RowError("the prompt has a system message but no user message")
    _check_alternating(messages[start:], first="user", where="prompt")
    if messages[-1]["role"] != "user":
        raise RowError("the prompt must end with a user message")
    if not messages[-1]["content"].strip():
        raise RowError("the prompt's last message is empty")


def check_response(messages: Sequence[Message], *, after: Sequence[Message]) -> None:
    if not messages or not any(message["content"].strip() for message in messages):
        raise RowError("a response is empty")
    _check_alternating(messages, first="assistant", where="response")
    if messages[-1]["role"] != "assistant":
        raise RowError("a response must end with an assistant message")
    if not messages[-1]["content"].strip():
        raise RowError("a response is empty")


def _check_alternating(messages: Sequence[Message], *, first: str, where: str) -> None:
    expected = first
    for number, message in enumerate(messages, start=1):
        if message["role"] != expected:
            raise RowError(
                f"roles do not alternate: message {number} of the {where} is {message['role']}, "
                f"not {expected}"
            )
        expected = "assistant" if expected == "user" else "user"


def messages_of(value: object, *, name: str) -> list[Message]:
    """The list of chat messages in a source column."""
    if not isinstance(value, list):
        raise RowError(f"`{name}` must be a list of messages, not {kind_of(value)}")
    return [_message_of(item, name=name) for item in value]


def _message_of(item: object, *, name: str) -> Message:
    if not isinstance(item, dict):
        raise RowError(
            f"each message of `{name}` must be an object with `role` and `content`, not "
            f"{kind_of(item)}"
        )
    turn = cast("Turn", item)
    role = turn.get("role")
    if role not in ROLES:
        raise RowError(f"a message of `{name}` has the role {role!r}; known are {', '.join(ROLES)}")
    return {"role": str(role), "content": text_of(turn.get("content"), name=f"{name}'s content")}


def text_of(value: object, *, name: str) -> str:
    """The text in a source column, fit for both databases and for UTF-8."""
    if not isinstance(value, str):
        raise RowError(f"`{name}` must be text, not {kind_of(value)}")
    check_text(value, name=name)
    return value


def check_text(text: str, *, name: str) -> None:
    if "\x00" in text:
        raise RowError(f"`{name}` contains a NUL character")
    if not text.isascii() and LONE_SURROGATE.search(text):
        raise RowError(
            f"`{name}` is not valid Unicode (a lone surrogate, or bytes that are not UTF-8)"
        )


def source_id_of(row: Mapping[str, Any]) -> str:
    """The row's own id, as text; empty when it has none."""
    value = row.get("id")
    if value is None or value == "":
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"`id` must be text or a whole number, not {kind_of(value)}")
    text = text_of(str(value), name="id")
    if len(text) > LONGEST_ID:
        raise RowError(f"`id` is longer than {LONGEST_ID} characters")
    return text


def meta_of(row: Mapping[str, Any], *, without: Iterable[str]) -> dict[str, Any]:
    """Everything else the row holds, kept beside the pair. Refuses what cannot be stored as JSON
    text."""
    known = set(without)
    meta = {name: value for name, value in row.items() if name not in known and value is not None}
    check_storable(meta, name="meta")
    return meta


def check_storable(value: object, *, name: str) -> None:
    """Walk a JSON value without recursion: every text is storable, and it is not nested too
    deeply."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > DEEPEST:
            raise RowError(f"`{name}` is nested deeper than {DEEPEST} levels")
        if isinstance(current, str):
            check_text(current, name=name)
        elif isinstance(current, dict):
            for key, inner in current.items():
                check_text(str(key), name=name)
                waiting.append((inner, depth + 1))
        elif isinstance(current, list | tuple):
            waiting.extend((inner, depth + 1) for inner in current)
        elif isinstance(current, float) and not math.isfinite(current):
            raise RowError(f"`{name}` holds a number that is not finite")


def kind_of(value: object) -> str:
    """What a value is, in a user's words."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "missing",
    }
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return names.get(type(value), type(value).__name__)
