"""Tables for spreadsheets, safe to open: a cell that would be run as a formula is written as
text."""

import csv
import re
from collections.abc import Sequence
from typing import IO, Any

FORMULA = re.compile(r"'*[=+\-@\t\r\n\x00]")  # also one that was made text before
GUARDED = re.compile(r"'+[=+\-@\t\r\n\x00]")


class TableWriter:
    """Writes CSV rows whose text cells no spreadsheet takes for a formula (OWASP ASVS 1.2.10)."""

    def __init__(self, file: IO[str], header: Sequence[str]) -> None:
        self._writer = csv.writer(_Lines(file), lineterminator="\r\n")
        self._writer.writerow(header)

    def write(self, *cells: Any) -> None:
        self._writer.writerow([_safe(cell) for cell in cells])


class _Lines:
    """Rows that end in a newline alone, though the writer quotes whatever holds either half of
    CRLF: unquoted, a lone carriage return would end the row for who reads it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(f"{row.removesuffix(chr(13) + chr(10))}\n")


def unguarded(cell: str) -> str:
    """The cell as it was before a TableWriter wrote it."""
    return cell[1:] if GUARDED.match(cell) else cell


def _safe(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell
