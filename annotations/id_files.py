"""The ids of a filter's pairs as a file: plain, as a table, or as JSON lines."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType

from annotations import exploring
from annotations.filters import Filter
from annotations.models import Dataset
from curator.lib.batches import batches
from curator.lib.tables import TableWriter

Named = tuple[int, str, str]  # id, the source's id, digest

HEADER = ("pair", "source_id", "digest")
LINES = 1000  # written at once
CONTENT_TYPES = MappingProxyType(
    {
        "txt": "text/plain; charset=utf-8",
        "csv": "text/csv; charset=utf-8",
        "jsonl": "application/jsonl; charset=utf-8",
    }
)


def written(dataset: Dataset, wanted: Filter, layout: str) -> Iterator[str]:
    """The file, in parts, with a line for each pair in the order of import."""
    rows = exploring.named_ids(dataset, wanted)
    yield from WRITERS[layout](batches(rows, LINES))


def _plain(parts: Iterable[list[Named]]) -> Iterator[str]:
    for rows in parts:
        yield "".join(f"{pair_id}\n" for pair_id, _, _ in rows)


def _table(parts: Iterable[list[Named]]) -> Iterator[str]:
    file = io.StringIO(newline="")
    table = TableWriter(file, HEADER)
    for rows in parts:
        for row in rows:
            table.write(*row)
        yield file.getvalue()
        file.seek(0)
        file.truncate()
    yield file.getvalue()


def _json_lines(parts: Iterable[list[Named]]) -> Iterator[str]:
    for rows in parts:
        named = (dict(zip(HEADER, row, strict=True)) for row in rows)
        yield "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in named)


Writer = Callable[[Iterable[list[Named]]], Iterator[str]]
WRITERS: MappingProxyType[str, Writer] = MappingProxyType(
    {"txt": _plain, "csv": _table, "jsonl": _json_lines}
)
