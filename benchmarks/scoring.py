"""Pairs scored a second by registered reward models, beside what people commonly do, and what the
product adds to that.

    python -m benchmarks.scoring [--quick] [--json PATH]

The common way: transformers' sequence classifier over 16 texts a call in the order of the data,
padded, one side of the pairs after the other. The engine reads the same texts with the same
weights. Both include tokenising; they take turns in one process with one thread, and the median of
the rounds counts. On a CPU their seconds are CPU seconds, so that other work on the machine spoils
the ratios little; what goes through the product is timed by the clock and wants a quiet machine.

The pairs are HH harmless, evenly spaced over the set. Speed does not depend on what weights are, so
decoders have random ones.
"""

import gzip
import importlib
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from transformers.utils import logging as transformers_logging

from benchmarks import embedding, scoring_runs
from benchmarks.decoders import (
    BATCH,
    EIGHT_BILLION,
    MEASURED,
    Common,
    Shape,
    save,
    save_sibling,
)
from benchmarks.planted_flips import HH
from benchmarks.reporting import Report, Row, options_of, say
from benchmarks.scoring_runs import conversations, spread
from scoring.core.options import EngineOptions
from scoring.engine import backbones, checkpoints, devices
from scoring.engine.checkpoints import Checkpoint, Setup
from scoring.engine.conversations import Conversations, ReadPair
from scoring.engine.decoders import share_weights, shared_layers
from scoring.engine.folders import MINILM
from scoring.engine.prefix import tokens_needed
from scoring.engine.scorer import Scorer
from scoring.engine.texts import prompt_text, response_text

Floats = npt.NDArray[np.float32]

SUBSET = "harmless-base"
MEMBERS = 10
GPU_MODEL = "8B-shaped decoder, bf16"
GPU_SHARE = 0.55
EMULATED = "this CPU has no bf16 arithmetic, so both ways emulate it"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    pairs: int
    bf16_pairs: int
    encoder_pairs: int
    heads_pairs: int
    gpu_pairs: int
    runs: scoring_runs.Size


FULL = Size(3, 128, 32, 192, 32, 512, scoring_runs.Size(pairs=400, memory_pairs=570))
QUICK = Size(1, 16, 16, 32, 8, 64, scoring_runs.Size(pairs=60, memory_pairs=200))


@dataclass(frozen=True)
class Timed:
    """One way over all rounds: its seconds, and what it gave the last time."""

    seconds: float
    found: Floats


def main() -> None:
    options = options_of("scoring", "Pairs scored a second by registered reward models.")
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, which are to compare with us
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    size = QUICK if options.quick else FULL
    report = Report("scoring", baseline="common way")
    if HH.exists():
        with tempfile.TemporaryDirectory(prefix="curator-scoring-") as folder:
            report.rows += figures(read(HH), Path(folder), size)
    else:
        report.skip(f"everything, because {HH} is absent (set CURATOR_BENCH_DATA).")
    report.show(options.json)


def read(path: Path) -> list[str]:
    """The set's lines as they are."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line for line in file if json.loads(line)["meta"]["subset"] == SUBSET]


def figures(lines: Sequence[str], scratch: Path, size: Size) -> list[Row]:
    """All rows, those that want a quiet machine last."""
    folder = save(scratch / "decoder", MEASURED)

    def few(count: int) -> list[Conversations]:
        return [conversations(line) for line in spread(lines, count)]

    rows = decoder(folder, few(size.pairs), "float32", size.rounds)
    rows.append(padding(folder, few(len(lines))))
    rows += decoder(folder, few(size.bf16_pairs), "bfloat16", size.rounds)
    rows += encoder([_embedded(pair) for pair in few(size.encoder_pairs)], size.rounds)
    rows += heads(folder, few(size.heads_pairs), scratch, size.rounds)
    rows += gpu(few(size.gpu_pairs), scratch, size.rounds)
    return rows + scoring_runs.figures(lines, folder, scratch, size.runs)


def decoder(folder: Path, pairs: Sequence[Conversations], dtype: str, rounds: int) -> list[Row]:
    """The engine beside the common way and one text at a time, in one precision."""
    name = {"float32": "decoder, fp32", "bfloat16": "decoder, bf16"}[dtype]
    least = {"float32": 6.5, "bfloat16": 4.5}[dtype]
    say(f"{name}:")
    common = Common.load(folder, dtype)
    model, again = (checkpoints.load(str(folder), setup=Setup(dtype=dtype)) for _ in range(2))
    scorer = Scorer([model])
    compiled = Scorer([again], options=EngineOptions(compile=True))  # in place, hence its own
    say(f"  compiled and warm after {_seconds(partial(score, compiled, pairs[:BATCH])):.0f} s")
    timed = take_turns(
        {
            "engine": partial(score, scorer, pairs),
            "padded": partial(common.scores, pairs),
            "one by one": partial(common.scores, pairs, batch=1),
            "engine, compiled": partial(score, compiled, pairs),
        },
        rounds,
    )
    ours, padded, alone, fused = timed.values()
    needed, processed = tokens(scorer, pairs)
    reached = 2 * MEASURED.parameters * needed / ours.seconds
    emulated = dtype == "bfloat16" and not _is_bfloat16_fast()
    apart, theirs = _apart(ours, alone), _apart(padded, alone)
    return [
        Row(
            f"{name}: pairs a second",
            len(pairs) / ours.seconds,
            "pairs/s",
            least,
            len(pairs) / padded.seconds,
            target_is_ratio=True,
            note=f"{len(pairs)} pairs" + (f"; {EMULATED}" if emulated else ""),
        ),
        Row(
            "  with compile=on",
            len(pairs) / fused.seconds,
            "pairs/s",
            baseline=len(pairs) / padded.seconds,
            target_is_ratio=True,
            note=f"furthest from one text at a time: {_apart(fused, alone):.2f} ×10⁻⁶",
        ),
        Row(
            "  beside one text at a time",
            len(pairs) / ours.seconds,
            "pairs/s",
            1.5 if dtype == "float32" else None,
            len(pairs) / alone.seconds,
            target_is_ratio=True,
        ),
        Row(
            "  tokens processed / needed",
            processed / needed,
            target=1.01,
            baseline=common.tokens(pairs) / needed,
            smaller_is_better=True,
            note=f"{needed / len(pairs):.0f} needed a pair",
        ),
        Row(
            "  furthest from one text at a time",
            apart,
            "×10⁻⁶",
            10.0 if dtype == "float32" else theirs,
            theirs,
            smaller_is_better=True,
            note=f"scores are {_deviation(alone):.2f} apart (standard deviation)",
        ),
        Row(
            "  share of matmul throughput, needed tokens",
            reached / matmul_throughput(model.device, model.dtype),
            note=f"{reached / 1e9:,.0f} GFLOP/s",
        ),
    ]


def padding(folder: Path, pairs: Sequence[Conversations]) -> Row:
    """What the common way reads beside what is needed, over all pairs: a count, free of noise."""
    model = checkpoints.load(str(folder), setup=Setup())
    needed = _needed(_read_all(model, pairs))
    common = Common.load(folder, "float32").tokens(pairs)
    return Row(
        "  tokens needed a pair, over the whole set",
        needed / len(pairs),
        "tokens",
        baseline=common / len(pairs),
        smaller_is_better=True,
        note=f"{len(pairs):,} pairs",
    )


def encoder(pairs: Sequence[embedding.Pair], rounds: int) -> list[Row]:
    """MiniLM as `benchmarks.embedding` measures it, in CPU seconds."""
    say("encoder:")
    loaded = backbones.load(MINILM, "float32")
    fp32 = embedding.ways(loaded, torch.float32, "fp32")
    fast = _is_bfloat16_fast()
    bf16 = embedding.ways(loaded, torch.bfloat16, "bf16") if fast else []
    ways = {way.name: partial(way.embed, pairs) for way in [*fp32, *bf16]}
    timed = take_turns(ways, rounds)
    base, *others = timed
    speeds = {name: len(pairs) / way.seconds for name, way in timed.items()}
    rows = [
        Row(
            f"encoder, {name}",
            speeds[name],
            "pairs/s",
            14.0 if name.startswith("bf16") else 3.5,
            speeds[base],
            target_is_ratio=True,
            note=f"{len(pairs)} pairs, beside the fp32 loop",
        )
        for name in others
        if name != "bf16 loop"
    ]
    if not fast:
        rows.append(Row("encoder, bf16", None, "pairs/s", 14.0, note="no bf16 arithmetic here"))
    return rows


def heads(folder: Path, pairs: Sequence[Conversations], scratch: Path, rounds: int) -> list[Row]:
    """Ten members that differ in their heads, or in the topmost layer too, beside one."""
    say("ten members over one trunk:")
    one = _scorer(folder, [0], scratch, 0)
    ten = _scorer(folder, range(MEMBERS), scratch, 0)
    private = _scorer(folder, range(MEMBERS), scratch, 1)
    ways = {
        "one member": partial(score, one, pairs),
        "ten heads": partial(score, ten, pairs),
        "top layer private": partial(score, private, pairs),
    }
    timed = take_turns(ways, rounds)
    apart = Scorer(ten.members, options=EngineOptions(share_trunks=False))
    separate = take_turns({"ten passes": partial(score, apart, pairs)}, 1)["ten passes"]
    single = timed["one member"].seconds

    def times(way: Timed) -> float:
        return way.seconds / single

    least = partial(Row, smaller_is_better=True)
    layers = MEASURED.layers
    return [
        least(
            "ten heads on one backbone / one",
            times(timed["ten heads"]),
            target=1.15,
            note=f"{ten.packed.shared if ten.packed else 0} of {layers} layers shared, "
            f"{len(pairs)} pairs",
        ),
        least(f"  top 1 of {layers} layers private / one", times(timed["top layer private"])),
        least("  ten separate passes / one", times(separate), note="one round"),
    ]


def gpu(pairs: Sequence[Conversations], scratch: Path, rounds: int) -> list[Row]:
    """An 8B-shaped decoder where there is a GPU; else rows that say what is missing."""
    if not torch.cuda.is_available():
        missing = partial(Row, ours=None, note="no GPU here")
        return [
            missing(f"{GPU_MODEL}: pairs a second", unit="pairs/s"),
            missing("  needed tokens a second", unit="tokens"),
            missing("  share of matmul throughput, needed tokens", target=GPU_SHARE),
        ]
    say(f"{GPU_MODEL}:")
    return on_device(pairs, scratch / "8b", EIGHT_BILLION, rounds)


def on_device(pairs: Sequence[Conversations], folder: Path, shape: Shape, rounds: int) -> list[Row]:
    """The engine beside the common way and beside vLLM, where it is installed, in bf16."""
    save(folder, shape, dtype="bfloat16")
    model = checkpoints.load(str(folder), setup=Setup(dtype="bfloat16"))
    scorer = Scorer([model])
    ours = take_turns({"engine": partial(score, scorer, pairs)}, rounds)["engine"]
    needed, _ = tokens(scorer, pairs)
    throughput = matmul_throughput(model.device, model.dtype)
    del scorer, model
    devices.free_memory()
    common = Common.load(folder, "bfloat16")
    padded = take_turns({"padded": partial(common.scores, pairs)}, rounds)["padded"]
    texts = [text for side in common.texts(pairs) for text in side]
    del common
    devices.free_memory()
    peer = vllm_seconds(folder, texts)
    speed = len(pairs) / ours.seconds
    share = 2 * shape.parameters * needed / ours.seconds / throughput
    return [
        Row(f"{GPU_MODEL}: pairs a second", speed, "pairs/s", baseline=len(pairs) / padded.seconds),
        Row(
            "  beside vLLM's pooling",
            speed,
            "pairs/s",
            baseline=None if peer is None else len(pairs) / peer,
            note="vLLM is not installed" if peer is None else "",
        ),
        Row("  needed tokens a second", needed / ours.seconds, "tokens"),
        Row(
            "  share of matmul throughput, needed tokens",
            share,
            target=GPU_SHARE,
            note=f"of {throughput / 1e12:,.0f} TFLOP/s",
        ),
    ]


def vllm_seconds(folder: Path, texts: list[str]) -> float | None:
    """Seconds of vLLM's sequence classification with its prefix cache, or None without it."""
    if importlib.util.find_spec("vllm") is None:
        return None
    vllm = importlib.import_module("vllm")
    engine = vllm.LLM(model=str(folder), runner="pooling", enable_prefix_caching=True)
    engine.classify(texts[:BATCH], use_tqdm=False)
    return _seconds(partial(engine.classify, texts, use_tqdm=False))


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timed]:
    """The median of each way's seconds over rounds in which all take turns."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for number in range(rounds):
        for name, do in ways.items():
            started = clock()
            found[name] = do()
            seconds[name].append(clock() - started)
            say(f"  round {number + 1} of {rounds}: {name}, {seconds[name][-1]:.1f} s")
    return {name: Timed(median(seconds[name]), found[name]) for name in ways}


def score(scorer: Scorer, pairs: Sequence[Conversations]) -> Floats:
    """(pairs, 2): the first member's scores, tokenising included."""
    groups = [[pair.a, pair.b] for pair in _read_all(scorer.members[0], pairs)]
    return scorer.rewards(groups).rewards[:, 0].reshape(-1, 2)


def tokens(scorer: Scorer, pairs: Sequence[Conversations]) -> tuple[int, int]:
    """How many are needed when what both texts of a pair begin with is read once, and how many
    went through."""
    read = _read_all(scorer.members[0], pairs)
    return _needed(read), scorer.rewards([[pair.a, pair.b] for pair in read]).tokens


def matmul_throughput(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a multiplication of the size that layers make."""
    rows, inner, columns = (1024, 512, 1376) if device.type == "cpu" else (16384, 4096, 14336)
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(columns, inner, device=device).to(dtype)
    multiply = partial(torch.nn.functional.linear, a, b)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    rates = []
    for _ in range(10):
        started = clock()
        multiply()
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(2 * rows * inner * columns / max(clock() - started, 1e-9))
    return median(rates)


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _scorer(folder: Path, seeds: Sequence[int], scratch: Path, private_layers: int) -> Scorer:
    """Members that have all in common but their heads and topmost layers, as the product loads
    them."""
    members: list[Checkpoint] = []
    shared = 0
    for seed in seeds:
        own = scratch / f"sibling-{private_layers}-{seed}"
        save_sibling(own, folder, seed=seed, private_layers=private_layers)
        members.append(checkpoints.load(str(own), setup=Setup(), with_layer_digests=True))
        shared = shared_layers([member.identity.layer_digests for member in members])
        share_weights(members, shared)
    return Scorer(members, shared=shared)


def _read_all(model: Checkpoint, pairs: Sequence[Conversations]) -> list[ReadPair]:
    # none of them is too long, or without a template
    return cast("list[ReadPair]", model.reader.read(pairs))


def _needed(read: Sequence[ReadPair]) -> int:
    return tokens_needed([[pair.a.ids, pair.b.ids] for pair in read])


def _apart(one: Timed, other: Timed) -> float:
    """The largest difference of two ways' scores, in millionths."""
    return float(np.abs(one.found - other.found).max()) * 1e6


def _deviation(way: Timed) -> float:
    return float(way.found.std())


def _is_bfloat16_fast() -> bool:
    return torch.cuda.is_available() or devices.has_fast_bfloat16()


def _embedded(pair: Conversations) -> embedding.Pair:
    """The same pair as text for an encoder."""
    messages: list[Any] = [list(turns) for turns in (pair.prompt, pair.a, pair.b)]
    prompt, a, b = messages
    return embedding.Pair(prompt_text(prompt), (response_text(a), response_text(b)))


if __name__ == "__main__":
    main()
