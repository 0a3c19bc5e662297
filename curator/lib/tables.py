"""Tables for spreadsheets, safe to open: a cell that would be run as a formula is written as
text."""

import csv
from collections.abc import Sequence
from typing import IO, Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00")


class TableWriter:
    """Writes CSV rows whose text cells no spreadsheet takes for a formula (OWASP ASVS 1.2.10)."""

    def __init__(self, file: IO[str], header: Sequence[str]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(header)

    def write(self, *cells: Any) -> None:
        self._writer.writerow([_safe(cell) for cell in cells])


def _safe(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
