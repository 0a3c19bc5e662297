"""What a response looks like: length, lists, questions, refusals. Cheap, and often what a label
follows.

An embedding blurs these; beside it they add to every ensemble's eye for wrong labels
(docs/method.md).
"""

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

REFUSAL = re.compile(
    r"\b(sorry|can(?:no|')t|cannot|unable|won't|not able|as an ai|i don't "
    r"(?:know|think|have|understand)"
    r"|not sure|apologi[sz]e)\b",
    re.IGNORECASE,
)
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
SENTENCE_END = re.compile(r"[.!?]+(?:\s|$)")
DIGIT = re.compile(r"\d")
OPENING = re.compile(r"\s*(yes|no|sure|ok|well|i )", re.IGNORECASE)
ENDINGS = tuple(".!?\"')}`")
REFUSAL_WITHIN = 120
LONGEST_WORD = 20.0
COUNT = 21


def surface(prompts: Sequence[str], responses: Sequence[str]) -> Floats:
    """Features (n, COUNT) of each response to its prompt."""
    rows = [_of(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
    return np.array(rows, dtype=np.float32).reshape(len(rows), COUNT)


def _of(prompt: str, response: str) -> list[float]:
    words = [word.lower() for word in response.split()]
    asked = set(prompt.lower().split())
    characters, count = len(response), max(len(words), 1)
    ending = response.rstrip()
    return [
        math.log1p(characters),
        math.log1p(len(words)),
        math.log1p(response.count("\n")),
        math.log1p(len(LIST_ITEM.findall(response))),
        math.log1p(response.count("`")),
        math.log1p(response.count("?")),
        math.log1p(response.count("!")),
        math.log1p(response.count(",")),
        math.log1p(response.count("**")),
        math.log1p(len(DIGIT.findall(response))),
        float(ending.endswith("?")),
        float(ending.endswith(ENDINGS)),
        float(REFUSAL.search(response) is not None),
        float(REFUSAL.search(response[:REFUSAL_WITHIN]) is not None),
        float(OPENING.match(response) is not None),
        min(characters / count, LONGEST_WORD),
        math.log1p(len(words) / max(len(SENTENCE_END.findall(response)), 1)),
        len(set(words)) / count,
        sum(word in asked for word in words) / count,
        sum(character.isupper() for character in response) / max(characters, 1),
        float(not words),
    ]
