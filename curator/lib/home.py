"""Where this installation keeps its local state, and the secret that is made for it on the first
start."""

import os
import secrets
from pathlib import Path

SUBFOLDERS = ("files", "embeddings", "run", "logs")


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
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(descriptor, "w") as file:
        secret = secrets.token_urlsafe(50)
        file.write(secret)
    return secret
