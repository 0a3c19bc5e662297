"""What plain transformers makes of the same conversations, one text at a time: what the engine is
held to. And tiny models, each made and loaded once for all tests of a process."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from scoring.core.options import EngineOptions
from scoring.engine import checkpoints
from scoring.engine.checkpoints import Checkpoint, Setup
from scoring.engine.conversations import Conversations, Messages, ReadPair, Text
from scoring.engine.scorer import Scored, Scorer
from tests import tiny_models

Floats = npt.NDArray[np.float64]
Build = Callable[..., Path]

FP32 = 1e-4  # of a score, in whatever batch
BF16 = 8e-2  # of the root mean square score: 8 significant bits, through layers of random weights

WORDS = ["the", "cat", "why", "so", "in", "other", "houses?", "because", "they", "sort", "it", "i,"]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def asked(question: str, a: str, b: str) -> Conversations:
    """One question and two answers."""
    return Conversations([user(question)], [assistant(a)], [assistant(b)])


def some_pairs(count: int = 10, *, seed: int = 0, longest: int = 12) -> list[Conversations]:
    """Questions and answers of up to `longest` words; every other question is asked twice."""
    rng = random.Random(seed)

    def words(fewest: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(fewest, longest)))

    questions = [words(1) for _ in range(count)]
    return [asked(questions[i // 4 * 2 + i % 2], words(0), words(1)) for i in range(count)]


PAIRS = [
    *some_pairs(),
    asked("Why?", "", "So."),
    asked("the", "the same", "the same"),
    asked("日本語で?", "はい。", "🙂 " * 4),
]
TURNS = [
    Conversations(
        [user("Hi."), assistant("Hello, what is it?"), user("Why is the sky blue?")],
        [assistant("Rayleigh.")],
        [assistant("Who knows"), user("You do."), assistant("So I do.")],
    ),
    Conversations(
        [{"role": "system", "content": "Be short."}, user("Hi.")],
        [assistant("Hi.")],
        [assistant("")],
    ),
    Conversations([], [user("in"), assistant("the")], [user("in"), assistant("other")]),
]


@dataclass(frozen=True)
class Case:
    """A kind of reward model, and how it is registered."""

    build: Build
    options: dict[str, Any] = field(default_factory=dict)
    setup: Setup = field(default_factory=Setup)

    @property
    def pairs(self) -> list[Conversations]:
        several_turns = "template" not in self.options and self.build is tiny_models.decoder
        return PAIRS + TURNS if several_turns else PAIRS


PAD_IS_EOS = {"pad": tiny_models.EOS}
DECODERS = {
    "llama": Case(tiny_models.decoder),
    "llama, pad is EOS, read": Case(tiny_models.decoder, PAD_IS_EOS, Setup(score_at="last")),
    "llama, pad is EOS, skipped": Case(
        tiny_models.decoder, PAD_IS_EOS, Setup(score_at="before-padding")
    ),
    "llama, no template": Case(tiny_models.decoder, {"template": None}),
    "gemma2": Case(tiny_models.decoder, {"architecture": "gemma2"}),
    "gemma2, pad is EOS, skipped": Case(
        tiny_models.decoder,
        {"architecture": "gemma2", **PAD_IS_EOS},
        Setup(score_at="before-padding"),
    ),
}
CASES = {**DECODERS, "bert": Case(tiny_models.encoder)}


class Shelf:
    """Tiny models, each made and loaded once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, Path] = {}
        self._loaded: dict[str, Checkpoint] = {}
        self._scores: dict[str, Floats] = {}

    def folder(self, build: Build = tiny_models.decoder, *given: Path, **options: Any) -> Path:
        key = repr((build.__name__, given, sorted(options.items())))
        if key not in self._folders:
            path = self.root / f"model-{len(self._folders)}"
            self._folders[key] = build(path, *given, **options)
        return self._folders[key]

    def loaded(
        self, build: Build = tiny_models.decoder, *, setup: Setup | None = None, **options: Any
    ) -> Checkpoint:
        folder, setup = self.folder(build, **options), setup or Setup()
        key = repr((folder, setup))
        if key not in self._loaded:
            self._loaded[key] = checkpoints.load(str(folder), setup=setup, with_layer_digests=True)
        return self._loaded[key]

    def checkpoint(self, case: Case) -> Checkpoint:
        return self.loaded(case.build, setup=case.setup, **case.options)

    def scores(self, case: Case) -> Floats:
        """Transformers' own scores of the case's pairs, (2 * pairs,): A, B, A, B, …"""
        key = repr(case)
        if key not in self._scores:
            folder = self.folder(case.build, **case.options)
            self._scores[key] = by_transformers(
                folder, case.pairs, reads_last=case.setup.score_at == "last"
            )
        return self._scores[key]


def by_transformers(
    folder: Path,
    pairs: Sequence[Conversations],
    *,
    reads_last: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Floats:
    """Scores (2 * pairs,) by the model of a folder, one text at a time and without anything of
    ours; `reads_last` where the last token is read though it is the pad token."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=dtype
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if reads_last:
        model.config.pad_token_id = None  # for one text, transformers reads the last token then
    found = []
    with torch.inference_mode():
        for pair in pairs:
            for turns in (pair.a, pair.b):
                given = _encoded(tokenizer, [*pair.prompt, *turns])
                found.append(float(model(**given).logits[0, 0]))
    return np.array(found)


def _encoded(tokenizer: Any, messages: Messages) -> Any:
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(
            [dict(turn) for turn in messages], tokenize=True, return_dict=True, return_tensors="pt"
        )
    question, answer = (turn["content"] for turn in messages)
    if tokenizer.eos_token:
        return tokenizer(question + answer + tokenizer.eos_token, return_tensors="pt")
    return tokenizer([(question, answer)], return_tensors="pt")


def groups_of(checkpoint: Checkpoint, pairs: Sequence[Conversations]) -> list[list[Text]]:
    """The texts of all pairs, each pair a group; none may be refused."""
    groups = []
    for read in checkpoint.reader.read(pairs):
        assert isinstance(read, ReadPair), read
        groups.append([read.a, read.b])
    return groups


def scored(
    members: Checkpoint | Sequence[Checkpoint],
    pairs: Sequence[Conversations],
    *,
    shared: int = 0,
    **options: Any,
) -> Scored:
    """By the engine."""
    own = [members] if isinstance(members, Checkpoint) else list(members)
    scorer = Scorer(own, shared=shared, options=EngineOptions(**options))
    return scorer.rewards(groups_of(own[0], pairs))


def rewards(checkpoint: Checkpoint, pairs: Sequence[Conversations], **options: Any) -> Floats:
    """By the engine, one member, nothing refused."""
    found = scored(checkpoint, pairs, **options)
    assert not found.refused, set(found.refused.values())
    return np.asarray(found.rewards[:, 0], dtype=np.float64)


def margins(scores: Floats) -> Floats:
    """Of A over B, (2 * pairs, …) -> (pairs, …)."""
    return np.asarray(scores[::2] - scores[1::2])


def largest(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """The largest difference."""
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max())
