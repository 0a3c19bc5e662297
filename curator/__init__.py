"""Curator: the project package. Importing it settles which SQLite and which Celery app every
process uses."""

from curator.lib import sqlite

sqlite.use_fixed_build()  # before anything of Django opens the database

from curator.celery import app as celery_app  # noqa: E402 - the swap above must come first

__all__ = ["celery_app"]
