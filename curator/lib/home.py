"""Where this installation keeps its local state, and the secret that is made for it on the first
start."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

SUBFOLDERS = ("files", "embeddings", "rewards", "checkpoints", "run", "logs", "static")


def prepare(home: Path) -> Path:
    """Make the folders of CURATOR_HOME, readable by their owner only, and return it as an
    absolute path."""
    home = home.expanduser().absolute()
    for folder in (home, *(home / name for name in SUBFOLDERS)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.getuid():  # it may have been there, open to others
            folder.chmod(0o700)
    return home


def secret_key(home: Path) -> str:
    """This installation's own secret, made once and kept in a file only its owner can read."""
    path = home / "secret_key"
    if not path.exists():
        descriptor, fresh = tempfile.mkstemp(dir=home)  # readable by its owner only
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        with contextlib.suppress(FileExistsError):  # of processes that start at once, one wins
            os.link(fresh, path)
        Path(fresh).unlink()
    return path.read_text()
