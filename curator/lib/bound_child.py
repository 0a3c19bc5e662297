"""Run a command that dies with its parent: `python bound_child.py PARENT_PID COMMAND...`.

Where the supervisor is killed, the kernel asks its children to stop too, so that no broker or
worker is left behind without anyone to mind it. Linux only; elsewhere the command simply runs, and
a worker watches its parent itself.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above took effect
        raise SystemExit(1)
    os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command, no shell


if __name__ == "__main__":
    main()
