"""Which layout a row is in, and the pair it stands for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from annotations.formats import hh, normalised, trl
from annotations.formats.parsed import ParsedPair, RowError


@dataclass(frozen=True)
class Layout:
    name: str
    shown_name: str
    matches: Callable[[Mapping[str, Any]], bool]
    parse: Callable[[Mapping[str, Any]], ParsedPair]


LAYOUTS = (
    Layout("normalised", "pairs with labels", normalised.matches, normalised.parse),
    Layout("hh", "HH-RLHF transcripts", hh.matches, hh.parse),
    Layout("trl", "TRL preference", trl.matches, trl.parse),
)
BY_NAME = {layout.name: layout for layout in LAYOUTS}
AUTO = "auto"


def layout_of(row: Mapping[str, Any]) -> Layout:
    """The layout whose columns the row has. Raises RowError naming what it lacks."""
    for layout in LAYOUTS:
        if layout.matches(row):
            return layout
    found = ", ".join(f"`{name}`" for name in list(row)[:8]) or "none"
    raise RowError(
        f"it needs `chosen` and `rejected`, or `prompt`, `response_a` and `response_b`; its "
        f"columns are {found}"
    )
