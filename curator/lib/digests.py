"""Digests of content: the same content gives the same hexadecimal SHA-256 on every machine."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


def canonical_json(value: Any) -> str:
    """One spelling for one value: sorted keys, no spaces, text as it is. Refuses NaN and
    infinities."""
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def portable(value: Any) -> Any:
    """The same JSON value whichever database has kept it: PostgreSQL orders keys by length and
    writes 1e22 as a whole number."""
    if isinstance(value, dict):
        return {key: portable(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [portable(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_text(text: str) -> str:
    return of_bytes(text.encode())


def of_value(value: Any) -> str:
    return of_text(canonical_json(value))


def of_lines(lines: Iterable[str]) -> str:
    """The digest of the lines, each ended by a newline, without holding them all."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
