"""Does a checkpoint give the same scores however its texts are batched? Asked once, when it is
registered."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from curator.lib.refusals import Refusal
from scoring.core.options import EngineOptions
from scoring.engine.checkpoints import Checkpoint
from scoring.engine.conversations import Conversations, ReadPair, Text
from scoring.engine.padded import PaddedModel
from scoring.engine.scorer import Scorer

Floats = npt.NDArray[np.float64]

# of the root mean square score, or of 1 where that is smaller: bf16 keeps 8 significant bits
TOLERANCES = {"float32": 1e-4, "bfloat16": 4e-2}
QUESTION = "How do I keep bread fresh for longer? "
ANSWERS = [
    "Freeze it in slices.",
    "Keep it in a paper bag, not in the fridge, and toast what has gone hard.",
    "I don't know.",
    "Wrap it well. " * 12,
    "First, let it cool. Then slice it, wrap the slices, and freeze what you will not eat in two "
    "days; a toaster thaws a slice in a minute, and it tastes as on the first day.",
    "Why would you want to?",
    "Bread? Buy less of it. " * 6,
    "No.",
]


class NoScores(Refusal):
    """There is nothing to compare."""


@dataclass(frozen=True)
class Check:
    """One way of batching, and how far its scores are from those of each text alone."""

    name: str
    largest: float | None  # None where the model's code fails, or gives what is no number
    passed: bool


@dataclass(frozen=True)
class SelfTest:
    """What the self-test found; all scores are in the model's own units."""

    texts: int
    tolerance: float
    scores_mean: float
    scores_deviation: float
    packs: bool  # whether packed batches may be used
    tokens_per_second: float
    device: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether there is a path on which the scores can be trusted."""
        return all(check.passed for check in self.checks if check.name in NEEDED)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "checks": [asdict(check) for check in self.checks]}


NEEDED = ("right-padded, batches of 2", "right-padded, batches of 8", "shuffled")


def self_test(checkpoint: Checkpoint) -> SelfTest:
    """Scores the same texts alone and in every way of batching that the engine knows. Raises
    NoScores."""
    texts = _texts(checkpoint)
    padded = PaddedModel(checkpoint)
    alone = np.concatenate([_scores(padded, [text]) for text in texts])
    if not np.isfinite(alone).all():
        raise NoScores("The model gives no finite score to the simplest of texts.")
    tolerance = TOLERANCES[checkpoint.identity.dtype] * max(1.0, float(np.sqrt((alone**2).mean())))
    checks = []

    def check(name: str, score: Callable[[], Floats]) -> None:
        try:
            largest = float(np.abs(score() - alone).max())
        except Exception:  # noqa: BLE001 - whatever the model's code raises, this way is not usable
            largest = float("nan")
        known = largest if np.isfinite(largest) else None
        checks.append(Check(name, known, bool(largest <= tolerance)))

    order = np.random.default_rng(0).permutation(len(texts))
    for size in (2, 8):
        check(f"right-padded, batches of {size}", partial(_by, padded, texts, size))
    check("left-padded, batches of 8", lambda: _by(padded, texts, 8, left=True))
    check("shuffled", lambda: _by(padded, [texts[i] for i in order], 4)[np.argsort(order)])
    check("transformers' own scores", lambda: _own(checkpoint, texts))
    options = EngineOptions()
    seconds, tokens = 0.0, 0
    scorer = Scorer([checkpoint], options=options)
    if scorer.packed is not None:
        started = time.perf_counter()
        check("packed, prompt shared", lambda: _engine(checkpoint, texts, options))
        seconds = time.perf_counter() - started
        for name, changed in (
            ("packed, nothing shared", {"share_prefixes": False}),
            ("packed, small batches", {"token_budget": 64, "sort_by_length": False}),
            ("packed, last layer whole", {"prune_last_layer": False}),
        ):
            other = replace(options, **changed)
            check(name, partial(_engine, checkpoint, texts, other))
    else:
        started = time.perf_counter()
        _by(padded, texts, 8)
        seconds = time.perf_counter() - started
    tokens = sum(len(text.ids) for text in texts)
    return SelfTest(
        texts=len(texts),
        tolerance=tolerance,
        scores_mean=float(alone.mean()),
        scores_deviation=float(alone.std()),
        packs=scorer.packed is not None
        and all(each.passed for each in checks if each.name.startswith("packed")),
        tokens_per_second=tokens / max(seconds, 1e-6),
        device=str(checkpoint.device),
        checks=tuple(checks),
    )


def _texts(checkpoint: Checkpoint) -> list[Text]:
    """One question and several answers, and the question after some small talk."""
    asked = [{"role": "user", "content": QUESTION}]
    answers = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    pairs = [Conversations(asked, a, b) for a, b in zip(answers[::2], answers[1::2], strict=True)]
    if checkpoint.reader.has_template:
        talk = [
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hello, what can I do for you?"},
        ]
        pairs += [Conversations([*talk, *asked], pair.a, pair.b) for pair in pairs]
    read = checkpoint.reader.read(pairs)
    return [text for pair in read if isinstance(pair, ReadPair) for text in (pair.a, pair.b)]


def _scores(padded: PaddedModel, texts: list[Text], *, left: bool = False) -> Floats:
    return np.asarray(padded.rewards(texts, left=left)[:, 0].cpu().numpy(), dtype=np.float64)


def _by(padded: PaddedModel, texts: list[Text], size: int, *, left: bool = False) -> Floats:
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    return np.concatenate([_scores(padded, batch, left=left) for batch in batches])


def _engine(checkpoint: Checkpoint, texts: Sequence[Text], options: EngineOptions) -> Floats:
    half = len(texts) // 2 if len(texts) > len(ANSWERS) else len(texts)
    groups = [list(texts[:half]), list(texts[half:])]
    scored = Scorer([checkpoint], options=options).rewards(groups)
    return np.asarray(scored.rewards[:, 0], dtype=np.float64)


def _own(checkpoint: Checkpoint, texts: Sequence[Text]) -> Floats:
    """Each text alone through the model as transformers runs it, its way of finding the scored
    token included."""
    rows = []
    checkpoint.select()
    with torch.inference_mode():
        for text in texts:
            ids = torch.from_numpy(text.ids)[None].to(checkpoint.device)
            types = torch.zeros_like(ids)
            types[:, text.second :] = 1
            more = {"token_type_ids": types} if PaddedModel(checkpoint).reads_types else {}
            logits = checkpoint.model(input_ids=ids, attention_mask=torch.ones_like(ids), **more)
            rows.append(float(logits.logits[0, 0]))
    return np.array(rows)
