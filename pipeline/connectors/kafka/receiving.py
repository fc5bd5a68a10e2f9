"""How kafka-python 3.0 (the version is pinned) takes a fetch from the socket to the records.

At media rates its copies are what a consumer spends most of its time on, and it holds the
interpreter in all but the first: a byte is copied eight times, four of them in one piece with
a whole fetch. With what stands here and in ``records`` it is copied twice: from the socket into
the frame, and from there into the record's value.
"""

from __future__ import annotations

import select
import selectors
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.protocol.consumer import FetchResponse
from kafka.protocol.frame import KafkaBytes

from pipeline import clock

RECEIVE_BYTES = 1 << 20
_MOMENT_US = 5_000
# Records that are fewer bytes, or a smaller part of their frame, are copied so as not to hold it.
_LEFT_BYTES_MIN, _LEFT_SHARE = 4096, 8
_read_tls = KafkaSSLTransport._sock_recv
_generated = type(FetchResponse._struct).compiled_decode_from
_run_and_wait = NetworkSelector.run


class BareSelector(selectors.DefaultSelector):
    """Says that a socket is not registered without describing it.

    The client asks so before every wait, and a description is four calls of the system.
    """

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        key: selectors.SelectorKey = self._fd_to_key[self._fileobj_lookup(fileobj)]  # type: ignore[attr-defined]
        return key


def receive_fast() -> None:
    """Replaces five methods of the client; each says what of the original it leaves out."""
    KafkaTCPTransport._sock_recv = _receive
    KafkaSSLTransport._sock_recv = _receive_tls
    KafkaBytes.read = _read
    FetchResponse._struct.compiled_decode_from = _decoder
    NetworkSelector.run = _run


def _receive(self: Any) -> tuple[bytes, BaseException | None]:
    """What the socket holds: into the frame that is being received, where there is one.

    The original reads 4 KiB a call, each of which gives up the interpreter and waits for it,
    and copies twice what it has. The frame's last byte goes the usual way, which ends the frame.
    """
    try:
        frame = _frame(self)
        if frame is not None and len(frame) - frame._idx > RECEIVE_BYTES:
            connected = _fill(self._sock, frame)
            return b"", None if connected else _disconnected()
        data = self._sock.recv(RECEIVE_BYTES)
    except (BlockingIOError, InterruptedError):
        return b"", None
    except OSError as error:
        return b"", kafka_errors.KafkaConnectionError(error)
    return data, None if data else _disconnected()


def _fill(sock: Any, frame: Any) -> bool:
    """What comes for a large frame within a moment; whether the connection still stands.

    A round of the client's loop for each quarter of a megabyte costs more than what it brings; its
    other connections wait for that moment. Raises BlockingIOError where nothing is there at all.
    """
    until_us = clock.monotonic_us() + _MOMENT_US
    with memoryview(frame) as whole:
        count = sock.recv_into(whole[frame._idx : -1])
        frame._idx += count
        coming = select.poll()
        coming.register(sock, select.POLLIN)
        while count and len(frame) - frame._idx > 1:
            left_us = until_us - clock.monotonic_us()
            if left_us <= 0 or not coming.poll(left_us / 1000):
                return True
            count = sock.recv_into(whole[frame._idx : -1])
            frame._idx += count
    return bool(count)


def _disconnected() -> BaseException:
    error: BaseException = kafka_errors.KafkaConnectionError("socket disconnected")
    return error


def _receive_tls(self: Any) -> tuple[bytes, BaseException | None]:
    """What has come, though the connection ended behind it: the next read meets the end again.

    The original reads on to the end, and drops what it has read. A broker says that it does not
    know a password and hangs up: a client that was busy meanwhile would never learn why.
    """
    data, error = _read_tls(self)
    return data, None if data else error


def _frame(transport: Any) -> Any:
    """The frame that is being received, None between two."""
    parser = getattr(transport._protocol, "parser", None)
    return parser._rbuffer if parser is not None and parser._receiving else None


def _read(self: Any, nbytes: int | None = None) -> bytes | memoryview:
    """The next bytes; the rest of the frame as a view (the original copies it twice)."""
    start = self._idx
    if nbytes is None:
        self._idx = len(self)
        return memoryview(self)[start:]
    self._idx = min(start + nbytes, len(self))
    return bytes(memoryview(self)[start : self._idx])


def _decoder(*arguments: Any, **options: Any) -> Any:
    """The client's own decoder of fetches, which copies no records: they stay in their frame.

    It is generated code, whose only ``bytes`` of some length are the records of a partition.
    """
    decode = _generated(FetchResponse._struct, *arguments, **options)
    decode.__globals__["bytes"] = _left_in_frame
    return decode


def _left_in_frame(part: memoryview) -> bytes | memoryview:
    """A partition may wait for long: then it holds so many times its own bytes, and no more."""
    frame: Any = part.obj
    if len(part) < _LEFT_BYTES_MIN or len(part) * _LEFT_SHARE < len(frame):
        return bytes(part)
    return part


def _run(self: Any, coroutine: Any, *arguments: Any) -> Any:
    """What the original does, but for the ring that it leaves where a time has run out.

    Its frame holds the error, which holds the frame by its traceback, and by those above it whole
    fetches: each poll that finds nothing would keep some 30 MB until garbage is looked for.
    """
    try:
        return _run_and_wait(self, coroutine, *arguments)
    except kafka_errors.KafkaTimeoutError as error:
        raise error.with_traceback(None)  # noqa: B904 (it is the same error)
