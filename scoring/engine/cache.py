"""Embeddings kept on disk, keyed by the digest of the backbone and the digest of the text.

One SQLite file per backbone. A text's embedding never changes, so a row is written once and losing
the file costs only time. Vectors are kept as float16: half the space, and a rounding error far
below what training makes of it.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curator.lib.batches import batches
from curator.lib.sqlite import safe_journal

Floats = npt.NDArray[np.float32]

QUESTION_MARKS = 500
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS embedding"
    " (text_digest BLOB PRIMARY KEY, tokens INTEGER, vector BLOB) WITHOUT ROWID"
)
SELECT = "SELECT {columns} FROM embedding WHERE text_digest IN ({marks})"


def key_of(text: str, *, keep_end: bool) -> bytes:
    """Names a text and which of its ends is read where it is too long."""
    return hashlib.sha256(f"{'end' if keep_end else 'start'}:{text}".encode()).digest()


class EmbeddingCache:
    """The embeddings of one backbone, each of `shape`. Several processes of one host may share
    it."""

    def __init__(self, folder: Path, backbone_digest: str, shape: tuple[int, ...]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.shape = shape
        self.path = folder / f"{backbone_digest[:32]}.sqlite3"
        with closing(self._connect()) as connection:
            connection.execute(SCHEMA)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, Floats]]:
        """The token count and vector of each key that is there."""
        found: dict[bytes, tuple[int, Floats]] = {}
        with closing(self._connect()) as connection:
            for batch in batches(keys, QUESTION_MARKS):
                select = SELECT.format(columns="text_digest, tokens, vector", marks=_marks(batch))
                for key, tokens, vector in connection.execute(select, batch):
                    values = np.frombuffer(vector, dtype=np.float16).astype(np.float32)
                    found[key] = (tokens, values.reshape(self.shape))
        return found

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that are not there, each once, in their order."""
        wanted = list(dict.fromkeys(keys))
        there: set[bytes] = set()
        with closing(self._connect()) as connection:
            for batch in batches(wanted, QUESTION_MARKS):
                select = SELECT.format(columns="text_digest", marks=_marks(batch))
                there.update(key for (key,) in connection.execute(select, batch))
        return [key for key in wanted if key not in there]

    def put(self, keys: Sequence[bytes], tokens: Sequence[int], vectors: Floats) -> None:
        """Keep the vectors (n, …) in one transaction: all of them or, if the process dies, none."""
        rows = (
            (key, int(count), vector.astype(np.float16).tobytes())
            for key, count, vector in zip(keys, tokens, vectors, strict=True)
        )
        with closing(self._connect()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO embedding VALUES (?, ?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60)
        connection.execute(f"PRAGMA journal_mode={safe_journal()}")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


def _marks(values: list[bytes]) -> str:
    return ",".join("?" * len(values))
