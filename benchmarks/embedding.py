"""Pairs embedded a second: the engine, and beside it the loop that people write first.

    python -m benchmarks.embedding [--quick] [--json PATH]

The loop: prompt and response in one text, 16 texts a call in the file's order, padded, cut at the
same 512 tokens, the whole model, mean of the last states. The engine: prompt and response apart,
each distinct text once, batches of like length under a token budget, and no layer above the highest
that is read. That last point is a choice of features as much as one of speed, so the engine is
timed with all layers as well.

All ways take turns on the same pairs in one process, and the median of the rounds counts; each
includes tokenising. Embeddings go to no cache. Where other work shares the cores, threads that wait
for each other spoil the figures: OMP_NUM_THREADS=1 then gives steadier ratios.
"""

import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from benchmarks.measuring import DATA
from benchmarks.reporting import Report, Row, options_of, say
from curator.lib.batches import batches
from scoring.engine.backbones import MOST_TOKENS, TOKEN_BUDGET, Backbone, load
from scoring.engine.batching import by_length
from scoring.engine.devices import has_fast_bfloat16
from scoring.engine.folders import MINILM, folder_of
from scoring.engine.texts import prompt_text, response_text

SOURCE = DATA / "pairs" / "hh_rlhf.jsonl.gz"
PAIRS, QUICK_PAIRS = 600, 100
ROUNDS = 3
BATCH = 16
FP32_TARGET, BF16_TARGET = 3.0, 8.0  # times the fp32 loop


@dataclass(frozen=True)
class Pair:
    """The texts of one pair."""

    prompt: str
    responses: tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """One way to embed pairs."""

    name: str
    embed: Callable[[Sequence[Pair]], None]


def main() -> None:
    options = options_of("embedding", "Pairs embedded a second.")
    report = Report("embedding", baseline="loop of 16")
    if SOURCE.exists():
        pairs = read(SOURCE, QUICK_PAIRS if options.quick else PAIRS)
        report.rows += figures(pairs, report)
    else:
        report.skip(f"everything, because {SOURCE} is absent (set CURATOR_BENCH_DATA).")
    report.show(options.json)


def read(path: Path, count: int) -> list[Pair]:
    """Pairs from all over the file, in its order."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Pair(
            prompt_text(row["prompt"]),
            tuple(_response_text(row[side]) for side in ("response_a", "response_b")),
        )
        for row in rows[:: len(rows) // count][:count]
    ]


def figures(pairs: Sequence[Pair], report: Report) -> list[Row]:
    """Pairs a second of every way beside the loop's, and tokens through the model."""
    transformers_logging.disable_progress_bar()
    loaded = load(MINILM, "float32")
    fp32 = ways(loaded, torch.float32, "fp32")
    bf16 = ways(loaded, torch.bfloat16, "bf16") if is_bfloat16_fast(loaded) else []
    if not bf16:
        report.skip("bf16, because this machine does not multiply bf16 matrices in hardware.")
    speeds = take_turns([*fp32, *bf16], pairs)
    rows = beside(fp32[0], fp32[1:], speeds, FP32_TARGET)
    if bf16:
        rows += beside(fp32[0], bf16[1:], speeds, BF16_TARGET)
        rows += beside(bf16[0], bf16[1:], speeds, None)
    return [*rows, tokens(pairs, loaded)]


def ways(loaded: Backbone, dtype: torch.dtype, precision: str) -> list[Way]:
    """In one precision: the loop, the engine as it ships, and the engine with all layers run."""
    whole = replace(loaded, model=_model(loaded, dtype), dtype=dtype)
    cut = replace(loaded, model=_model(loaded, dtype), dtype=dtype)
    layers, kept = len(whole.model.encoder.layer), loaded.layers[-1]
    cut.model.encoder.layer = cut.model.encoder.layer[:kept]
    return [
        Way(f"{precision} loop", partial(loop, whole)),
        Way(f"{precision} engine, {kept} of {layers} layers as it ships", partial(engine, cut)),
        Way(f"{precision} engine, all {layers} layers run", partial(engine, whole)),
    ]


def engine(backbone: Backbone, pairs: Sequence[Pair]) -> None:
    """As scoring.embedding does it, short of the cache."""
    texts = distinct_texts(pairs)
    backbone.embed([text for text, _ in texts], keep_end=[end for _, end in texts])


def loop(backbone: Backbone, pairs: Sequence[Pair]) -> None:
    """All first responses and then all second ones, BATCH at a time."""
    for texts in loop_texts(pairs):
        for some in batches(texts, BATCH):
            read = backbone.tokenizer(
                some,
                padding=True,
                truncation=True,
                max_length=MOST_TOKENS,
                return_tensors="pt",
            ).to(backbone.device)
            with torch.inference_mode():
                states = backbone.model(**read).last_hidden_state
                mask = read["attention_mask"][:, :, None]
                ((states * mask).sum(1) / mask.sum(1)).float().cpu().numpy()


def distinct_texts(pairs: Sequence[Pair]) -> list[tuple[str, bool]]:
    """Each text once, with which of its ends is kept: a prompt's end, a response's beginning."""
    texts = (
        text
        for pair in pairs
        for text in ((pair.prompt, True), *((response, False) for response in pair.responses))
    )
    return list(dict.fromkeys(texts))


def loop_texts(pairs: Sequence[Pair]) -> list[list[str]]:
    return [[f"{pair.prompt}\n\n{pair.responses[side]}" for pair in pairs] for side in (0, 1)]


def take_turns(ways: Sequence[Way], pairs: Sequence[Pair]) -> dict[str, list[float]]:
    """Pairs a second of each way by its name, in each of the rounds in which all take turns."""
    speeds: dict[str, list[float]] = {way.name: [] for way in ways}
    for way in ways:
        way.embed(pairs[:BATCH])  # what is slow only once is not what we compare
    for number in range(ROUNDS):
        for way in ways:
            say(f"  round {number + 1} of {ROUNDS}: {way.name}")
            started = time.perf_counter()
            way.embed(pairs)
            speeds[way.name].append(len(pairs) / (time.perf_counter() - started))
    return speeds


def beside(
    base: Way, others: Sequence[Way], speeds: dict[str, list[float]], target: float | None
) -> list[Row]:
    """Rows of other ways against a base; the target is for the first, which is what ships."""
    return [
        Row(
            way.name,
            median(speeds[way.name]),
            "pairs/s",
            target if way is others[0] else None,
            median(speeds[base.name]),
            target_is_ratio=True,
            note=f"against the {base.name}; rounds {_range(speeds[way.name])}",
        )
        for way in others
    ]


def tokens(pairs: Sequence[Pair], backbone: Backbone) -> Row:
    """Tokens that go through the model a pair, padding included: a count, free of noise."""
    lengths = _lengths(backbone, [text for text, _ in distinct_texts(pairs)])
    grouped = by_length(lengths, token_budget=TOKEN_BUDGET)
    ours = sum(len(batch) * int(lengths[batch].max()) for batch in grouped)
    theirs = sum(
        len(some) * max(some)
        for texts in loop_texts(pairs)
        for some in batches(_lengths(backbone, texts).tolist(), BATCH)
    )
    return Row(
        "tokens through the model, a pair",
        ours / len(pairs),
        "tokens",
        baseline=theirs / len(pairs),
        smaller_is_better=True,
        note=f"padding included; {len(pairs)} pairs of HH-RLHF, {len(lengths):,} distinct texts",
    )


def is_bfloat16_fast(backbone: Backbone) -> bool:
    return backbone.device.type == "cuda" or has_fast_bfloat16()


def _range(speeds: list[float]) -> str:
    return f"from {min(speeds):.1f} to {max(speeds):.1f}"


def _model(loaded: Backbone, dtype: torch.dtype) -> Any:
    """The whole encoder in the wanted precision; the backbone's own is cut already."""
    model = AutoModel.from_pretrained(
        folder_of(loaded.reference), dtype=dtype, use_safetensors=True, attn_implementation="sdpa"
    )
    return model.eval().to(loaded.device)


def _lengths(backbone: Backbone, texts: list[str]) -> npt.NDArray[np.int64]:
    """Tokens of each text after truncation, (n,)."""
    found = backbone.tokenizer(texts, truncation=True, max_length=MOST_TOKENS)["input_ids"]
    return np.array([len(row) for row in found], dtype=np.int64)


def _response_text(response: str) -> str:
    """As the import stores it: a single message from the assistant."""
    return response_text([{"role": "assistant", "content": response}])


if __name__ == "__main__":
    main()
