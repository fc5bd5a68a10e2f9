"""Whether a Kafka broker answers on a port: two requests over a plain socket.

The broker opens its port some time before it can serve. It is up once ApiVersions succeeds
and Metadata lists a live broker (one that the controller has unfenced). Layouts: Kafka
protocol guide, request header v1, ApiVersions v0 (api key 18) and Metadata v2 (api key 3).
"""

from __future__ import annotations

import socket
import struct

_API_VERSIONS, _METADATA = 18, 3
_CLIENT_ID = b"motet"


def cluster_id(host: str, port: int, timeout_s: float = 2.0) -> str | None:
    """The id of the cluster that serves at the address; ``None`` where none does (yet)."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            versions = _call(connection, _API_VERSIONS, 0, b"")
            if struct.unpack_from(">h", versions)[0] != 0:
                return None
            # An empty list asks for no topic: brokers and cluster only.
            return _parse_metadata(_call(connection, _METADATA, 2, struct.pack(">i", 0)))
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _call(connection: socket.socket, api_key: int, version: int, body: bytes) -> bytes:
    """Send one request; the answer's body, without its length and correlation id."""
    head = struct.pack(">hhih", api_key, version, api_key, len(_CLIENT_ID)) + _CLIENT_ID
    connection.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    (length,) = struct.unpack(">i", _receive(connection, 4))
    if not 4 <= length <= 1 << 20:
        raise OSError("not an answer of a Kafka broker")
    return _receive(connection, length)[4:]


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise OSError("the connection was closed within an answer")
        data += chunk
    return data


def _parse_metadata(body: bytes) -> str | None:
    """Cluster id of a Metadata v2 answer; ``None`` where it lists no live broker."""
    (brokers,) = struct.unpack_from(">i", body)
    at = 4
    for _ in range(brokers):
        _, at = _string(body, at + 4)  # after the node id: the host
        _, at = _string(body, at + 4)  # after the port: the rack
    found, _ = _string(body, at)
    return found if brokers > 0 else None


def _string(body: bytes, at: int) -> tuple[str | None, int]:
    (length,) = struct.unpack_from(">h", body, at)
    at += 2
    return (None, at) if length < 0 else (body[at : at + length].decode(), at + length)
