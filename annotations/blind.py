"""What an annotator sees of a pair before they answer: its texts, in the order of their side, and
nothing that anybody has said of it.

This is the one place that says so. Pages and the API show an annotator what is built here and ask
the pair itself for nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from annotations.models import GoldPair, Judgement, Lease, Occasion

Message = dict[str, str]

FIRST, SECOND = "first", "second"
SIDES = (FIRST, SECOND)


@dataclass(frozen=True)
class BlindPair:
    """A prompt and two responses, each a list of messages with `role` and `content`."""

    prompt: list[Message]
    first: list[Message]
    second: list[Message]

    def response(self, side: str) -> list[Message]:
        """The response on the side, `first` or `second`."""
        return self.first if side == FIRST else self.second


@dataclass(frozen=True)
class Feedback:
    """What a practice pair teaches once it is answered; `right` is the answer to it: `first`,
    `second`, `tie` or `both_bad`."""

    is_right: bool
    right: str
    explanation: str


def shown(lease: Lease) -> BlindPair:
    """The leased pair as its annotator sees it."""
    pair = lease.pair
    responses = {Judgement.A: pair.response_a, Judgement.B: pair.response_b}
    return BlindPair(
        prompt=_messages(pair.prompt),
        first=_messages(responses[Judgement(preference_of(lease, FIRST))]),
        second=_messages(responses[Judgement(preference_of(lease, SECOND))]),
    )


def feedback(lease: Lease) -> Feedback | None:
    """How the practice answer compares with the known one; None for anything but an answered
    practice pair."""
    if lease.occasion != Occasion.PRACTICE or lease.state != Lease.State.ANSWERED:
        return None
    gold = GoldPair.objects.filter(pair=lease.pair_id).first()
    if gold is None or lease.label is None:
        return None
    return Feedback(
        is_right=lease.label.preference == gold.preference,
        right=choice_of(lease, gold.preference),
        explanation=gold.explanation,
    )


def preference_of(lease: Lease, choice: str) -> str:
    """What the choice says of A and B: `first` and `second` are un-mapped, the rest stands."""
    if choice not in SIDES:
        return choice
    is_a = (choice == FIRST) == (lease.shown_first == Judgement.A)
    return str(Judgement.A if is_a else Judgement.B)


def choice_of(lease: Lease, preference: str) -> str:
    """How the lease's annotator would say the preference: A and B by the side they stand on."""
    if preference not in (Judgement.A, Judgement.B):
        return preference
    return FIRST if preference == lease.shown_first else SECOND


def length_of(messages: Iterable[Message]) -> int:
    """How many characters a response has, its messages one after the other: what marks count."""
    return sum(len(message["content"]) for message in messages)


def _messages(stored: Iterable[Mapping[str, Any]]) -> list[Message]:
    return [{"role": str(one["role"]), "content": str(one["content"])} for one in stored]
