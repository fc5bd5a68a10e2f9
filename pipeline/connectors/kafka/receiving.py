"""Reads sockets in large pieces: the client's own 4 KiB a call costs a core at media rates."""

from __future__ import annotations

from typing import Any

from kafka import errors as kafka_errors
from kafka.net.transport import KafkaTCPTransport

RECEIVE_BYTES = 1 << 20


def read_in_large_pieces() -> None:
    """Replaces how kafka-python 3.0 (the version is pinned) empties a plain socket.

    Each call gives up the interpreter and takes it back; at 4 KiB a call that happens 250
    times a megabyte, and every time it waits for whatever thread runs (measured: 0.9 to 0.4
    CPU seconds for 154 MB beside a busy encoder). TLS keeps the client's own way.
    """
    KafkaTCPTransport._sock_recv = _receive


def _receive(self: Any) -> tuple[bytes, BaseException | None]:
    try:
        data = self._sock.recv(RECEIVE_BYTES)
    except (BlockingIOError, InterruptedError):
        return b"", None
    except OSError as error:
        return b"", kafka_errors.KafkaConnectionError(error)
    if not data:
        return b"", kafka_errors.KafkaConnectionError("socket disconnected")
    return data, None
