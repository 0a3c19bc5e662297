"""Runs through the product: what a second run costs, what queue and database cost, what a second
worker brings, and whether memory grows with the number of pairs.

Part of `benchmarks.scoring`. Every run is made by the product's commands on workers with one thread
each; its seconds are those on the run's own record.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from benchmarks.decoders import TINY, save
from benchmarks.measuring import (
    LONGEST_START,
    LONGEST_STOP,
    REPOSITORY,
    BenchmarkError,
    Installation,
    Served,
    installation,
)
from benchmarks.reporting import Row, say
from scoring.engine import checkpoints
from scoring.engine.checkpoints import Setup
from scoring.engine.conversations import Conversations, ReadPair
from scoring.engine.scorer import Scorer

T = TypeVar("T")

SLUG = "runs"
ENSEMBLE = "two"
ADDED = 0.1  # beside the pairs of the first run
GROWTH = 4  # times as many pairs, over which memory is to stay
ALIVE = "from curator import presence; print(len(presence.alive('scoring')))"


@dataclass(frozen=True)
class Size:
    """How many pairs a run has, and the smaller of the two that memory is measured over."""

    pairs: int
    memory_pairs: int


def figures(lines: Sequence[str], decoder: Path, scratch: Path, size: Size) -> list[Row]:
    """Every row of the product; `decoder` is the folder of the checkpoint that takes the time."""
    tiny = save(scratch / "tiny", TINY, seed=1)
    folders = {"decoder": decoder, "tiny": tiny}
    say("through the product:")
    with installation() as curator, curator.serving():
        rows = runs(curator, lines, folders, size.pairs)
    other = save(scratch / "tiny-too", TINY, seed=2)
    with installation() as curator, curator.serving() as served:
        return rows + memory(served, lines, {"tiny": tiny, "too": other}, size.memory_pairs)


def runs(
    curator: Installation, lines: Sequence[str], folders: dict[str, Path], count: int
) -> list[Row]:
    """A first run, an unchanged second, one with a few more pairs; then beside the engine alone,
    and beside two workers."""
    chosen = spread(lines, round(count * (1 + ADDED)))
    new = set(spread(range(len(chosen)), len(chosen) - count))
    old = [line for i, line in enumerate(chosen) if i not in new]
    added = [line for i, line in enumerate(chosen) if i in new]
    _register(curator, folders)
    _import(curator, "warm", old[: count // 10])
    _assemble(curator, "warm", folders)
    _score(curator, "warm")  # which loads the models, once in a worker's life
    _forget(curator)
    _import(curator, SLUG, old)
    _assemble(curator, SLUG, folders)
    alone = [direct(folders, old)]
    first = _score(curator)
    alone.append(direct(folders, old))
    second = _score(curator)
    _import(curator, SLUG, added)
    third = _score(curator)
    pairs = f"{len(old)} pairs"
    rows = [
        Row(
            "second run, nothing new / first",
            second / first,
            target=0.02,
            smaller_is_better=True,
            note=f"{second:.2f} s of {first:.1f} s, {pairs}",
        ),
        Row(
            f"run after {ADDED:.0%} new pairs / first",
            third / first,
            target=0.13,
            smaller_is_better=True,
            note=f"{third:.2f} s, {len(added)} new",
        ),
        Row(
            "queue, database and Celery, of a run",
            (first - fmean(alone)) / first,
            target=0.05,
            smaller_is_better=True,
            note=f"{first:.1f} s; the engine alone {alone[0]:.1f} s before and {alone[1]:.1f} s "
            f"after",
        ),
    ]
    return [*rows, two_workers(curator)]


def two_workers(curator: Installation) -> Row:
    """Two workers of one thread each beside one."""
    with second_worker(curator):
        _forget(curator)
        _score(curator)  # loads the models in the second worker
        _forget(curator)
        two = _score(curator)
    _forget(curator)
    one = _score(curator)
    return Row(
        "two workers, times one",
        one / two,
        target=1.8,
        note=f"{two:.1f} s beside {one:.1f} s; one thread each, {os.cpu_count()} cores",
    )


def memory(served: Served, lines: Sequence[str], folders: dict[str, Path], count: int) -> list[Row]:
    """The scoring worker's peak over some pairs and then over several times as many."""
    _register(served.installation, folders)
    peaks = []
    for slug, pairs in (("few", count), ("many", GROWTH * count)):
        _import(served.installation, slug, spread(lines, pairs))
        _assemble(served.installation, slug, folders)
        _score(served.installation, slug)
        served.memory.look()
        peaks.append(served.memory.largest.get("scoring worker", 0) / 1e6)
    few, many = peaks
    return [
        Row(
            "worker's peak memory, four times the pairs / once",
            many / few if few else None,
            target=1.1,
            smaller_is_better=True,
            note=f"{few:,.0f} MB over {count:,} pairs, {many:,.0f} MB over {GROWTH * count:,}",
        )
    ]


def direct(folders: dict[str, Path], lines: Sequence[str]) -> float:
    """Seconds of the engine alone, in this process, for the same members and pairs."""
    say(f"  the engine alone, {len(lines)} pairs")
    scorers = [Scorer([checkpoints.load(str(each), setup=Setup())]) for each in folders.values()]
    pairs = [conversations(line) for line in lines]
    started = time.perf_counter()
    for scorer in scorers:
        read = scorer.members[0].reader.read(pairs)
        scorer.rewards([[pair.a, pair.b] for pair in read if isinstance(pair, ReadPair)])
    return time.perf_counter() - started


@contextmanager
def second_worker(curator: Installation) -> Iterator[None]:
    """One more worker of queue `scoring`, as docs/operations.md starts it."""
    queue = ["--queues", "scoring", "--hostname", "scoring-2@%h", "--concurrency", "1"]
    with (curator.home / "logs" / "second-worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "curator", "worker", *queue],
            cwd=REPOSITORY,
            env=curator.environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + LONGEST_START
        while int(curator.ask(ALIVE)) < 2:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError("The second worker did not start.")
        yield
    finally:
        process.terminate()
        process.wait(LONGEST_STOP)


def spread(values: Sequence[T], count: int) -> list[T]:
    """So many of the values, evenly spaced and in their order; all where there are fewer."""
    count = min(count, len(values))
    return [values[i * len(values) // count] for i in range(count)]


def conversations(line: str) -> Conversations:
    """A line of shared/data as a model reads it."""
    row = json.loads(line)
    a, b = ([{"role": "assistant", "content": row[side]}] for side in ("response_a", "response_b"))
    return Conversations(row["prompt"], a, b)


def _register(curator: Installation, folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        curator.run("register_model", name, folder)


def _import(curator: Installation, slug: str, lines: Sequence[str]) -> None:
    file = curator.home / "pairs.jsonl"
    file.write_text("".join(lines), encoding="utf-8")
    curator.run("import_pairs", file, "--dataset", slug)


def _assemble(curator: Installation, slug: str, folders: dict[str, Path]) -> None:
    models = [option for name in folders for option in ("--model", name)]
    curator.run("assemble_ensemble", slug, "--name", ENSEMBLE, *models)


def _score(curator: Installation, slug: str = SLUG) -> float:
    """Seconds of a run, as its record has them."""
    return float(curator.run("score", slug, "--ensemble", ENSEMBLE).found["seconds"])


def _forget(curator: Installation) -> None:
    """Without what earlier runs found out, so that a run scores all pairs anew."""
    shutil.rmtree(curator.home / "rewards", ignore_errors=True)
