"""Texts for a made-up dataset of any size: real HH pairs over and over, each time with other words,
so that the search finds common words, rare ones and everything between.

Where HH is absent the words are made up, too.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from annotations.words import words_of

LONGEST = 1200  # characters of a pair that is taken: a million of them stay below some gigabytes
FEWEST, MOST = 4, 14  # words that are added to each response
MADE_UP = ("the", "of", "model", "water", "bread", "why", "because", "never", "good", "short")
# of so many pairs one holds such a word
PLANTED = {"marmalade": 1_000, "quokka": 5_000, "zeppelin": 20_000}

Message = dict[str, str]


@dataclass(frozen=True)
class Base:
    """A pair whose texts are taken up again and again."""

    prompt: list[Message]
    response_a: str
    response_b: str

    @cached_property
    def length(self) -> int:
        """Characters of the prompt."""
        return sum(len(message["content"]) for message in self.prompt)

    @cached_property
    def words(self) -> str:
        texts = [*(message["content"] for message in self.prompt), self.response_a, self.response_b]
        return words_of(" ".join(texts))


@dataclass(frozen=True)
class Texts:
    """One made-up pair."""

    prompt: str  # as JSON
    response_a: str  # as JSON
    response_b: str  # as JSON
    turns: int
    characters: int
    longer_a: int
    words: str  # as the search reads them


def bases(path: Path) -> list[Base]:
    """Short pairs of the file; made-up ones where it is absent."""
    if not path.exists():
        return _made_up()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = [Base(row["prompt"], row["response_a"], row["response_b"]) for row in rows]
    return [base for base in found if _characters(base) <= LONGEST]


def texts(found: list[Base], count: int, *, seed: int = 0) -> Iterator[Texts]:
    """So many pairs, no two alike; every third prompt stands in two pairs that follow each
    other."""
    random = Random(seed)  # noqa: S311 - made-up words
    vocabulary, weights = _vocabulary(found)
    base, question = found[0], ""
    for number in range(count):
        if number % 4 != 1:
            base = random.choice(found)
            question = _sentence(random, vocabulary, weights, 2, 5)
        added = [_sentence(random, vocabulary, weights, FEWEST, MOST) for _ in "ab"]
        for word, one_in in PLANTED.items():
            if random.randrange(one_in) == 0:
                added[0] += f" {word}"
        yield _pair(base, question, added, number)


def _pair(base: Base, question: str, added: list[str], number: int) -> Texts:
    *earlier, last = base.prompt
    asked = f"{last['content']} {question}?"
    a, b = f"{base.response_a} {added[0]}.", f"{base.response_b} {added[1]}, {number}."
    return Texts(
        prompt=json.dumps([*earlier, {**last, "content": asked}], ensure_ascii=False),
        response_a=_response(a),
        response_b=_response(b),
        turns=len(base.prompt),
        characters=base.length + len(question) + 2 + len(a) + len(b),
        longer_a=len(a) - len(b),
        words=f"{base.words} {question} {added[0]} {added[1]} {number}",
    )


def _response(text: str) -> str:
    return json.dumps([{"role": "assistant", "content": text}], ensure_ascii=False)


def _sentence(
    random: Random, vocabulary: list[str], weights: list[int], fewest: int, most: int
) -> str:
    words = random.choices(vocabulary, cum_weights=weights, k=random.randint(fewest, most))
    return " ".join(words)


def _vocabulary(found: list[Base]) -> tuple[list[str], list[int]]:
    """All words, and how often they and those before them occur."""
    counts: dict[str, int] = {}
    for base in found:
        for word in base.words.split():
            counts[word] = counts.get(word, 0) + 1
    words = sorted(counts)
    return words, list(accumulate(counts[word] for word in words))


def _characters(base: Base) -> int:
    return base.length + len(base.response_a) + len(base.response_b)


def _made_up() -> list[Base]:
    random = Random(1)  # noqa: S311 - made-up words
    known: list[Any] = [*MADE_UP, *(f"word{number}" for number in range(5_000))]

    def text(fewest: int, most: int) -> str:
        return " ".join(random.choices(known, k=random.randint(fewest, most)))

    return [
        Base([{"role": "user", "content": text(5, 40)}], text(20, 80), text(20, 80))
        for _ in range(2_000)
    ]
