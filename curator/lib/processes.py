"""Who is working: a name for this process that no later one has, whether its bearer still lives,
and who comes first where processors are short."""

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

STATE, START = 0, 19  # of the fields that proc(5) numbers 3 and 22
ZOMBIE = "Z"  # dead, but nobody has asked how it ended


def this_process() -> str:
    """host/process/start: process numbers come again, after a restart of a container at once."""
    return f"{socket.gethostname()}/{os.getpid()}/{_start_of(os.getpid())}"


def is_dead(name: str) -> bool:
    """Whether the bearer is known to be gone: a process of this host that no longer exists."""
    host, process, start = (*name.split("/"), "", "")[:3]
    if host != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    stat = _stat(int(process))
    if not stat:
        return False
    return stat[STATE] == ZOMBIE or (bool(start) and start != _start_of(int(process)))


def _start_of(process: int) -> str:
    """When the process started, in ticks since the machine did; empty where /proc does not say."""
    stat = _stat(process)
    return f"{_boot()}-{stat[START]}" if stat else ""


def _stat(process: int) -> list[str]:
    """What /proc says of the process after its name; nothing on machines without /proc."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


@cache
def _boot() -> str:
    """Names this run of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]


def give_way(niceness: int) -> None:
    """Let others come first where processors are short: a person at a screen waits for the web
    server now, and for our work later. 0 changes nothing, 19 lets everybody else pass."""
    if niceness <= 0:
        return
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        # Linux weighs sessions before the processes in them: autogroup in sched(7)
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))


def end_at_once() -> None:
    """End this process without waiting for anything: its supervisor starts a fresh one."""
    os._exit(1)
