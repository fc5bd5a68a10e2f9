"""A small HTTP server: threads, a bounded number of connections, GET and HEAD alone."""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from pipeline.errors import InvalidInput, Problem

_log = logging.getLogger(__name__)

CONNECTIONS_MAX = 128
READ_TIMEOUT_S = 15.0  # of a request's lines, and of a connection that asks nothing

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 21\r\nRetry-After: 5\r\nConnection: close\r\n\r\ntoo many connections\n"
)


class PortTaken(InvalidInput):
    """Another process listens on the port."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Bound when it is built; ``handler`` is built for each connection, in a thread of its own.

    Invariant: at most CONNECTIONS_MAX connections are open; one more is told so and closed.
    """

    daemon_threads = True
    block_on_close = False  # a reader of results would hold up the end
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self, host: str, port: int, handler: Callable[..., BaseHTTPRequestHandler]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        try:
            super().__init__((host, port), handler)
        except OSError as error:
            raise _cannot_bind(host, port, error) from error

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask the DNS for our name

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            request.settimeout(0.5)
            try:
                request.sendall(_BUSY)
            finally:
                self.shutdown_request(request)
            return
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was too slow, is no error of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _log.error("motet: HTTP: %s: %s", type(error).__name__, error)

    def end_connections(self) -> None:
        """Wakes every thread that waits for its client."""
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError as error:
                    if error.errno not in (errno.ENOTCONN, errno.EBADF):
                        raise


def _cannot_bind(host: str, port: int, error: OSError) -> InvalidInput:
    why = (error.strerror or str(error)).lower()
    if error.errno == errno.EADDRINUSE:
        remedy = "stop what listens there, or set metrics.port (0 takes a free one)"
        return PortTaken(Problem("metrics.port", str(port), "the port is taken", remedy))
    if error.errno == errno.EACCES:
        remedy = "set metrics.port to one from 1024 on (0 takes a free one)"
        return InvalidInput(Problem("metrics.port", str(port), why, remedy))
    remedy = "set metrics.host to an address of this machine, such as 127.0.0.1"
    return InvalidInput(Problem("metrics.host", host, why, remedy))
