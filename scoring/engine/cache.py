"""Embeddings and rewards kept on disk, keyed by the digest of the model and the digest of the text.

One SQLite file per model. What a model makes of a text never changes, so a row is written once and
losing the file costs only time. Several processes of one host may share it. Vectors are kept as
float16: half the space, and a rounding error far below what training makes of it.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.lib.batches import batches
from curator.lib.sqlite import safe_journal

Floats = npt.NDArray[np.float32]

QUESTION_MARKS = 500
EMBEDDINGS = (
    "CREATE TABLE IF NOT EXISTS embedding"
    " (text_digest BLOB PRIMARY KEY, tokens INTEGER, vector BLOB) WITHOUT ROWID"
)
REWARDS = (
    "CREATE TABLE IF NOT EXISTS reward (text_digest BLOB PRIMARY KEY, reward REAL) WITHOUT ROWID"
)
SELECT = "SELECT {columns} FROM {table} WHERE text_digest IN ({marks})"


def key_of(text: str, *, keep_end: bool) -> bytes:
    """Names a text and which of its ends is read where it is too long."""
    return hashlib.sha256(f"{'end' if keep_end else 'start'}:{text}".encode()).digest()


class _File:
    """A table of what one model makes of texts."""

    def __init__(self, folder: Path, model_digest: str, *, table: str, schema: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table = table
        self.path = folder / f"{model_digest[:32]}.sqlite3"
        with closing(self.connect()) as connection:
            connection.execute(schema)

    def rows(self, columns: str, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
        """The columns of each key that is there."""
        with closing(self.connect()) as connection:
            for batch in batches(keys, QUESTION_MARKS):
                marks = ",".join("?" * len(batch))
                select = SELECT.format(columns=columns, table=self.table, marks=marks)
                yield from connection.execute(select, batch)

    def insert(self, rows: Iterable[tuple[Any, ...]], *, columns: int) -> None:
        """All of the rows in one transaction or, if the process dies, none; what is there stays."""
        marks = ",".join("?" * columns)
        with closing(self.connect()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT OR IGNORE INTO {self.table} VALUES ({marks})", rows)  # noqa: S608 - a name of ours

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60)
        connection.execute(f"PRAGMA journal_mode={safe_journal()}")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


class EmbeddingCache:
    """The embeddings of one backbone, each of `shape`."""

    def __init__(self, folder: Path, backbone_digest: str, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.file = _File(folder, backbone_digest, table="embedding", schema=EMBEDDINGS)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, Floats]]:
        """The token count and vector of each key that is there."""
        found: dict[bytes, tuple[int, Floats]] = {}
        for key, tokens, vector in self.file.rows("text_digest, tokens, vector", keys):
            values = np.frombuffer(vector, dtype=np.float16).astype(np.float32)
            found[key] = (tokens, values.reshape(self.shape))
        return found

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that are not there, each once, in their order."""
        wanted = list(dict.fromkeys(keys))
        there = {key for (key,) in self.file.rows("text_digest", wanted)}
        return [key for key in wanted if key not in there]

    def put(self, keys: Sequence[bytes], tokens: Sequence[int], vectors: Floats) -> None:
        """Keep the vectors (n, …)."""
        rows = (
            (key, int(count), vector.astype(np.float16).tobytes())
            for key, count, vector in zip(keys, tokens, vectors, strict=True)
        )
        self.file.insert(rows, columns=3)


class RewardCache:
    """The rewards that one checkpoint gave, by the digest of what it read."""

    def __init__(self, folder: Path, checkpoint_digest: str) -> None:
        self.file = _File(folder, checkpoint_digest, table="reward", schema=REWARDS)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, float]:
        return dict(self.file.rows("text_digest, reward", dict.fromkeys(keys)))

    def put(self, rewards: Mapping[bytes, float]) -> None:
        self.file.insert(rewards.items(), columns=2)
