"""Which SQLite library this process uses, and how its database may be opened without losing a
commit.

SQLite 3.7.0 to 3.51.2 can lose committed pages when two processes write and checkpoint a WAL
database at the same instant (https://sqlite.org/wal.html#walresetbug). A web server and a worker on
one file are exactly that, so the `pysqlite3` wheel, which carries a fixed build, stands in for the
standard library's module where it is installed.
"""

import importlib
import sqlite3
import sys

LONGEST_WAIT = 60  # seconds; gunicorn gives a request up after 120
FIXED_IN = (3, 51, 3)
FIXED_BACKPORTS: dict[tuple[int, ...], tuple[int, ...]] = {(3, 50): (3, 50, 7), (3, 44): (3, 44, 6)}


def use_fixed_build() -> None:
    """Let `import sqlite3` give pysqlite3 from here on, where it is installed and newer than the
    built-in one."""
    if is_fixed():
        return
    try:
        fixed = importlib.import_module("pysqlite3")
    except ModuleNotFoundError:
        return
    sys.modules["sqlite3"] = fixed
    sys.modules["sqlite3.dbapi2"] = importlib.import_module("pysqlite3.dbapi2")


def version() -> tuple[int, ...]:
    """The version of the SQLite library that `import sqlite3` gives now."""
    module = sys.modules.get("sqlite3", sqlite3)
    return tuple(int(part) for part in module.sqlite_version.split("."))


def is_fixed(found: tuple[int, ...] | None = None) -> bool:
    """Whether a WAL database is safe under several processes with this version."""
    found = found or version()
    if found >= FIXED_IN:
        return True
    backport = FIXED_BACKPORTS.get(found[:2])
    return backport is not None and found >= backport


def safe_journal() -> str:
    """WAL where it cannot lose a commit, else the rollback journal."""
    return "WAL" if is_fixed() else "DELETE"


def connection_options() -> dict[str, object]:
    """Django's OPTIONS: nothing acknowledged is lost when a process dies; writers wait for each
    other, as long as a large import takes to publish."""
    return {
        "transaction_mode": "IMMEDIATE",
        "timeout": LONGEST_WAIT,
        "init_command": f"PRAGMA journal_mode={safe_journal()}; PRAGMA synchronous=FULL; PRAGMA "
        f"cache_size=-16000;",
    }
