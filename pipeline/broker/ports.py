"""Which port the embedded broker takes."""

from __future__ import annotations

import socket

from pipeline.errors import InvalidInput, Problem

HOST = "127.0.0.1"

USUAL_PORT = 9092
"""Taken where it is free and no other is asked for; what pipeline files expect."""


def choose_port(wanted: int | None) -> int:
    """``None``: the usual port where it is free, else any; 0: any; a number: that one.

    Raises ``InvalidInput`` where that number is no port or is taken.
    """
    if wanted is None:
        return USUAL_PORT if is_free(USUAL_PORT) else free_port()
    if wanted == 0:
        return free_port()
    if not 1 <= wanted <= 65535:
        raise InvalidInput(Problem("--port", str(wanted), "is not a port", "give 1 to 65535"))
    if not is_free(wanted):
        why = "another program listens there, or it may not be taken"
        remedy = "give another, or leave --port out to take one that is free"
        raise InvalidInput(Problem("--port", str(wanted), why, remedy))
    return wanted


def is_free(port: int) -> bool:
    """Whether a server may listen there now."""
    with socket.socket() as probe:
        # As Java binds: a port in TIME_WAIT is free, one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(other_than: int = 0) -> int:
    """A port that is free at this moment; another program may take it at the next."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port != other_than:
            return port
