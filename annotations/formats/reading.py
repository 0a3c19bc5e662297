"""A file of preference pairs, read to its end: each row is a pair, or a reason why it is none."""

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from annotations.formats.containers import BadRow, Row, RowReader, UnreadableFile
from annotations.formats.layouts import AUTO, BY_NAME, Layout, layout_of
from annotations.formats.parsed import ParsedPair, RowError, check_storable

__all__ = ["PairReader", "ReadPair", "Refused", "UnreadableFile"]

EXCERPT = 80
LONGEST_REASON = 400


@dataclass(frozen=True)
class ReadPair:
    line: int
    pair: ParsedPair


@dataclass(frozen=True)
class Refused:
    """A row that did not become a pair."""

    line: int
    reason: str
    source_id: str = ""
    excerpt: str = ""


class PairReader:
    """Reads one file in a named layout, or in whatever layout each row is in."""

    def __init__(self, file: IO[bytes], *, layout: str = AUTO, cap: int) -> None:
        if layout not in (AUTO, *BY_NAME):
            raise UnreadableFile(
                f"The format {layout!r} is not known: choose {AUTO}, {', '.join(BY_NAME)}."
            )
        self._rows = RowReader(file, cap=cap)
        self._asked = layout
        self._layout: Layout | None = None

    @property
    def bytes_read(self) -> int:
        return self._rows.bytes_read

    @property
    def found_format(self) -> str:
        """What the file turned out to be, for people."""
        layout = self._layout.shown_name if self._layout else "no known layout"
        return f"{layout} ({self._rows.container})"

    def pairs(self) -> Iterator[ReadPair | Refused]:
        """Every row in file order. Raises UnreadableFile."""
        for row in self._rows.rows():
            yield (
                Refused(row.line, row.reason, excerpt=row.text)
                if isinstance(row, BadRow)
                else self._read(row)
            )

    def _read(self, row: Row) -> ReadPair | Refused:
        try:
            check_storable(row.columns, name="row")
            layout = layout_of(row.columns) if self._asked == AUTO else BY_NAME[self._asked]
            self._layout = self._layout or layout
            return ReadPair(row.line, layout.parse(row.columns))
        except RowError as error:
            return Refused(row.line, str(error)[:LONGEST_REASON], *_excerpt(row))


def _excerpt(row: Row) -> tuple[str, str]:
    """The row's id and the beginning of its text, made printable."""
    text = next(filter(None, map(row.columns.get, ("prompt", "chosen", "response_a"))), "")
    return _printable(row.columns.get("id") or ""), _printable(text)


def _printable(value: object) -> str:
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text[:EXCERPT].encode(errors="replace").decode().replace("\x00", "\ufffd")
