"""Faults of the machine rather than of the code: which we know, and what the user is told."""

import errno
import sqlite3

from django.db import DatabaseError

BUSY = "The database is busy with something large, such as an import. Try again in a moment."


def is_busy(error: BaseException | None) -> bool:
    """Whether somebody else kept the database from being written for longer than we wait. It passes
    by itself, so work is tried again rather than failed."""
    while error is not None:
        if isinstance(error, DatabaseError | sqlite3.Error) and "database is locked" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def system_fault(error: BaseException) -> str | None:
    """The sentence for a fault of the machine rather than of the code, or None when it is not
    one we know."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                "No space is left on the disk: free some, then try again. Nothing was half-written."
            )
        if isinstance(current, OSError) and current.errno in (errno.EROFS, errno.EACCES):
            return (
                f"The file {current.filename} cannot be written: check the permissions of "
                f"CURATOR_HOME."
            )
        if isinstance(current, DatabaseError | sqlite3.Error) and "disk is full" in str(current):
            return (
                "The database's disk is full: free some space, then try again. Nothing was "
                "half-written."
            )
        if isinstance(current, DatabaseError | sqlite3.Error) and "no such table" in str(current):
            return "The database is not set up yet: run `python manage.py migrate`, then try again."
        if (
            isinstance(current, DatabaseError)
            and "does not exist" in str(current)
            and "relation" in str(current)
        ):
            return "The database is not set up yet: run `python manage.py migrate`, then try again."
        current = current.__cause__ or current.__context__
    return None
