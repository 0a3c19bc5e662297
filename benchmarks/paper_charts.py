"""Charts of the paper's figures as docs/paper.md shows them, from the JSON of `benchmarks.paper`.

    python -m benchmarks.paper_charts JSON FOLDER

Each is an SVG of lines over evenly placed x, a column of a table each, with bars of one standard
deviation over seeds. It needs no font and no script, and follows the reader's light or dark theme.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 52
TICKS = 5
MOST_NAMES = 12  # of x that are written out
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.grid{stroke:#ddd}.half{stroke:#888;"
    "stroke-dasharray:4 3}@media(prefers-color-scheme:dark){text{fill:#ccc}.grid{stroke:#444}}"
)

Columns = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Chart:
    """A table to draw: of which figure, by which words of its title, under which name."""

    figure: str
    title: str
    name: str
    half: bool = False  # whether a line at one half says something


CHARTS = (
    Chart("1", "Share of labels by strength", "strength"),
    Chart("2", "Mean spread", "spread"),
    Chart("3", "Agreement", "agreement", half=True),
    Chart("4", "in-sample", "deciles-in-sample", half=True),
    Chart("4", "out-of-bag", "deciles-out-of-bag", half=True),
    Chart("21", "Accuracy", "sweeps", half=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_charts")
    parser.add_argument("json", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    findings = json.loads(options.json.read_text())["details"]
    options.folder.mkdir(parents=True, exist_ok=True)
    for chart in CHARTS:
        table = _table(findings, chart)
        path = options.folder / f"paper-{chart.name}.svg"
        path.write_text(drawn(table["title"], table["x"], table["columns"], half=chart.half))
        print(path)


def drawn(title: str, x_name: str, columns: Columns, *, half: bool) -> str:
    """The chart of values a seed by column and x."""
    names = list(dict.fromkeys(x for column in columns.values() for x in column))
    ends = [end for column in columns.values() for v in column.values() for end in _ends(v)]
    low, high = min([*ends, 0.5] if half else ends), max([*ends, 0.5] if half else ends)
    room = 0.05 * (high - low) or 0.05
    scale = _Scale(names, low - room, high + room)
    parts = [_text(LEFT, 18, title), *_grid(scale, x_name)]
    if half:
        parts.append(_line(LEFT, scale.y(0.5), WIDTH - RIGHT, scale.y(0.5), "half"))
    for number, (name, column) in enumerate(columns.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts += _series(scale, column, colour)
        parts.append(_legend(name, number, colour, len(columns)))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


@dataclass(frozen=True)
class _Scale:
    names: Sequence[str]
    low: float
    high: float

    def x(self, name: str) -> float:
        share = self.names.index(name) / max(len(self.names) - 1, 1)
        return LEFT + 10 + share * (WIDTH - LEFT - RIGHT - 20)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _grid(scale: _Scale, x_name: str) -> list[str]:
    parts = []
    for tick in range(TICKS):
        value = scale.low + (scale.high - scale.low) * tick / (TICKS - 1)
        parts.append(_line(LEFT, scale.y(value), WIDTH - RIGHT, scale.y(value), "grid"))
        parts.append(_text(LEFT - 6, scale.y(value) + 4, f"{value:.2f}", "end"))
    every = -(-len(scale.names) // MOST_NAMES)
    for name in scale.names[::every]:
        parts.append(_text(scale.x(name), HEIGHT - BOTTOM + 16, name, "middle"))
    return [*parts, _text(WIDTH - RIGHT, HEIGHT - BOTTOM + 31, x_name, "end")]


def _series(scale: _Scale, column: Mapping[str, Sequence[float]], colour: str) -> list[str]:
    points = " ".join(f"{scale.x(x):.1f},{scale.y(fmean(v)):.1f}" for x, v in column.items())
    parts = [f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, values in column.items():
        low, high = _ends(values)
        at = f'x1="{scale.x(x):.1f}" x2="{scale.x(x):.1f}"'
        parts.append(
            f'<line {at} y1="{scale.y(low):.1f}" y2="{scale.y(high):.1f}" stroke="{colour}"/>'
        )
    return parts


def _legend(name: str, number: int, colour: str, count: int) -> str:
    x = LEFT + number * (WIDTH - LEFT - RIGHT) / count
    mark = f'<rect x="{x:.1f}" y="{HEIGHT - 14}" width="14" height="4" fill="{colour}"/>'
    return mark + _text(x + 20, HEIGHT - 8, name)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    middle, off = fmean(values), stdev(values) if len(values) > 1 else 0.0
    return middle - off, middle + off


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _table(findings: Sequence[Mapping[str, Any]], chart: Chart) -> dict[str, Any]:
    tables: list[dict[str, Any]] = [
        table
        for finding in findings
        if finding["figure"] == chart.figure
        for table in finding["tables"]
        if chart.title in table["title"] and len(table["columns"]) and _is_long(table)
    ]
    return tables[0]


def _is_long(table: Mapping[str, Any]) -> bool:
    """Whether there is a course to draw."""
    return any(len(column) > 5 for column in table["columns"].values())


if __name__ == "__main__":
    main()
