"""What the backbone reads of a pair: one text for the prompt, one for each response."""

from collections.abc import Mapping, Sequence

Messages = Sequence[Mapping[str, str]]


def prompt_text(messages: Messages) -> str:
    """The whole conversation up to the responses, each turn after the speaker's name."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def response_text(messages: Messages) -> str:
    """A response; where the pair diverged early, its later turns after the speaker's name."""
    first, *later = messages
    return "\n\n".join(
        [first["content"], *(f"{message['role']}: {message['content']}" for message in later)]
    )
