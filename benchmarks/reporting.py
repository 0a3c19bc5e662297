"""What every benchmark says in the same way: one table, the machine it ran on, and JSON for
comparing.

A benchmark is a report, not a test: a missed target is a "no" in the table and never an exit
status.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

# after the point, by unit
DIGITS = {"": 3, "s": 1, "ms": 0, "MB": 0, "pairs/s": 1, "votes/s": 1, "tokens": 0, "×10⁻⁶": 2}
DIGITS |= {"queries": 0, "pairs": 0, "ids/s": 0}
ABSENT = "–"
PACKAGES = ("torch", "transformers", "numpy", "django", "celery")
BFLOAT16_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class Row:
    """One figure, in `unit`; its target is for the figure itself, or for its ratio to the baseline.

    `ours` and `baseline` are None where they could not be measured.
    """

    case: str
    ours: float | None
    unit: str = ""
    target: float | None = None
    baseline: float | None = None
    smaller_is_better: bool = False
    target_is_ratio: bool = False
    spread: float | None = None  # standard deviation of `ours`, in its unit
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the baseline, larger being better for us."""
        if not self.ours or not self.baseline:
            return None
        share = self.ours / self.baseline
        return 1 / share if self.smaller_is_better else share

    @property
    def met(self) -> bool | None:
        judged = self.ratio if self.target_is_ratio else self.ours
        if self.target is None or judged is None:
            return None
        is_least = self.target_is_ratio or not self.smaller_is_better
        return judged >= self.target if is_least else judged <= self.target

    def as_dict(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "ours": self.ours,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "unit": self.unit,
            "target": self.target,
            "target_is_ratio": self.target_is_ratio,
            "met": self.met,
            "spread": self.spread,
            "note": self.note,
        }


@dataclass
class Report:
    """The rows of one benchmark; `baseline` heads their column of baselines, and `details` are what
    the rows are means of, for the JSON alone."""

    benchmark: str
    baseline: str = "baseline"
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)
    device: str = field(default_factory=lambda: machine())  # with the load before we add to it

    def skip(self, sentence: str) -> None:
        """Leave something out, and say why."""
        self.skipped.append(sentence)

    def show(self, path: Path | None) -> None:
        """Print the table, the machine and what was left out; write the JSON where a path is
        given."""
        if self.rows:
            headings = ["figure", "measured", self.baseline, "ratio", "target", "met", ""]
            print_table(headings, self.rows)
        print(f"\n{self.device}")
        for sentence in self.skipped:
            print(f"Skipped: {sentence}")
        if path is not None:
            path.write_text(json.dumps(self._as_dict(), ensure_ascii=False, indent=2) + "\n")

    def _as_dict(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "device": self.device,
            "versions": {name: metadata.version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
            "rows": [row.as_dict() for row in self.rows],
            "skipped": self.skipped,
            **({"details": self.details} if self.details else {}),
        }


def options_of(name: str, about: str) -> argparse.Namespace:
    """The two options that every benchmark takes."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument(
        "--quick", action="store_true", help="less data: whether it works, not how fast"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures here as well")
    return parser.parse_args()


def say(text: str) -> None:
    """Tell the person at the terminal what is going on."""
    print(text, file=sys.stderr, flush=True)


def mean_row(case: str, values: Sequence[float], **rest: Any) -> Row:
    """A row of the mean of the values, with their standard deviation where there are several."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Row(case, statistics.fmean(values) if values else None, spread=spread, **rest)


def print_table(headings: list[str], rows: Sequence[Row]) -> None:
    """The rows under their headings, aligned; a column that is empty throughout is left out."""
    cells = [_cells(row) for row in rows]
    used = [i for i in range(len(headings)) if any(row[i] not in ("", ABSENT) for row in cells)]
    used = sorted({0, 1, 4, 5, *used})
    table = [[row[i] for i in used] for row in [headings, *cells]]
    widths = [max(len(row[column]) for row in table) for column in range(len(used))]
    table.insert(1, ["-" * width for width in widths])
    for line in table:
        figure, *others = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join([figure, *others]).rstrip())


def machine() -> str:
    """Cores, CPU, load, torch and what of the CPU matters for bf16, in one line."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    values = {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in facts.splitlines())
    }
    flags = values.get("flags", "").split()
    found = " ".join(name for name in BFLOAT16_FLAGS if name in flags) or "none known"
    return (
        f"Machine: {os.cpu_count()} cores ({values.get('model name', platform.machine())}), "
        f"load {os.getloadavg()[0]:.1f} at the start, torch {metadata.version('torch')}, "
        f"CPU flags for bf16: {found}"
    )


def _cells(row: Row) -> list[str]:
    spread = f" ± {_number(row.spread, '')}" if row.spread is not None else ""
    verdict = {True: "yes", False: "no", None: ABSENT}[row.met]
    return [
        row.case,
        _number(row.ours, row.unit) + spread,
        _number(row.baseline, row.unit),
        ABSENT if row.ratio is None else f"{row.ratio:.2f} ×",
        _target(row),
        verdict,
        row.note,
    ]


def _target(row: Row) -> str:
    if row.target is None:
        return ABSENT
    if row.target_is_ratio:
        return f"≥ {row.target:g} ×"
    sign = "≤" if row.smaller_is_better else "≥"
    return f"{sign} {row.target:g} {row.unit}".rstrip()


def _number(value: float | None, unit: str) -> str:
    return ABSENT if value is None else f"{value:,.{DIGITS[unit]}f} {unit}".rstrip()
