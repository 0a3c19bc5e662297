"""How a run grows with the number of pairs: `python -m benchmarks.growth [--quick] [--json PATH]`.

Two tiny registered decoders score made-up pairs on one worker, so that what is measured is all that
the product adds to a model: reading, planning, shards, cache, margins, strengths and the queue. The
seconds of a large model come on top and grow with the tokens, see docs/scaling.md.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.decoders import TINY, save
from benchmarks.measuring import Installation, Served, installation
from benchmarks.reporting import Report, Row, options_of, say

SIZES = (1_000, 10_000, 100_000)
QUICK = (100, 1_000)
WORDS = ("the", "of", "model", "water", "bread", "why", "because", "never", "good", "short", "kind")
TURNS = (10, 40)  # words


def main() -> None:
    options = options_of("growth", __doc__ or "")
    report = Report("growth")
    with TemporaryDirectory() as scratch:
        folders = {name: save(Path(scratch) / name, TINY, seed=i) for i, name in enumerate("ab")}
        for size in QUICK if options.quick else SIZES:
            report.rows += rows(folders, size)
    report.show(options.json)


def rows(folders: dict[str, Path], size: int) -> list[Row]:
    """Import, first run and a run from the cache, over so many pairs."""
    say(f"{size:,} pairs:")
    with installation() as curator, curator.serving() as served:
        file = curator.home / "pairs.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            lines.writelines(pairs(size))
        for name, folder in folders.items():
            curator.run("register_model", name, folder)
        imported = curator.run("import_pairs", file, "--dataset", "grown").seconds
        members = [option for name in folders for option in ("--model", name)]
        curator.run("assemble_ensemble", "grown", "--name", "two", *members)
        first, held = watched(curator, served)
        again, _ = watched(curator, served)
        database = sum(path.stat().st_size for path in curator.home.glob("*.sqlite3*"))
    case = f"{size:,} pairs"
    return [
        Row(f"{case}: import", imported, "s"),
        Row(f"{case}: first run, two tiny models", first, "s", note=f"{size / first:.0f} pairs/s"),
        Row(f"{case}: run from the cache", again, "s", note=f"{size / again:.0f} pairs/s"),
        Row(f"{case}: scoring worker at most", held / 1e6, "MB"),
        Row(f"{case}: database", database / 1e6, "MB"),
    ]


def watched(curator: Installation, served: Served) -> tuple[float, float]:
    """Seconds of a run, and the most memory that its scoring worker has held."""
    found = curator.run("score", "grown", "--ensemble", "two").found
    served.memory.look()
    return float(found["seconds"]), float(served.memory.largest["scoring worker"])


def pairs(count: int) -> Iterator[str]:
    """Made-up pairs, each with a prompt of its own."""
    draw = random.Random(0)  # noqa: S311 - made-up words

    def words() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(*TURNS)))

    for number in range(count):
        row = {
            "id": f"made-up-{number}",
            "prompt": f"{number}: {words()}?",
            "response_a": words(),
            "response_b": words(),
            "labels": [{"annotator": "nobody", "kind": "human", "label": draw.choice("ab")}],
        }
        yield json.dumps(row) + "\n"


if __name__ == "__main__":
    main()
