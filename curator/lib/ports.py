"""Whether a port of this machine is free to serve on."""

import socket

from curator.lib.refusals import Refusal


def check_free(port: int) -> None:
    """Refuse a port that something else listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise Refusal(
                f"Port {port} cannot be used ({error}): choose another with --port."
            ) from error


def first_free(port: int) -> int:
    """The first free port from the given one on."""
    for candidate in range(port, port + 100):
        try:
            check_free(candidate)
        except Refusal:
            continue
        return candidate
    raise Refusal(f"No port from {port} to {port + 99} is free: choose one with --port.")
