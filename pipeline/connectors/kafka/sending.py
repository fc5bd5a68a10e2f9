"""From records to a batch that kafka-python 3.0 (the version is pinned) sends, in one pass.

The client measures a record, locks, writes each of its headers by itself, makes a future that
subscribes to its batch's, and wakes each of these when the batch is there: more than all that a
result costs before it. Here a partition's records go into its batch in one loop under one lock,
how a header begins is written once and remembered, and what stands for a record's future looks at
its batch's.

The bytes of a batch are those of the client's own (tests/core/test_kafka_sending.py), and so is
what is done with it afterwards: retries, splitting, expiry.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.transport import KafkaTCPTransport
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecordsBuilder

from pipeline import clock
from pipeline.slot.ports import OutRecord

# What the client takes a record to be at most, beside its key, value and headers.
AROUND_BYTES = (
    DefaultRecordBatchBuilder.HEADER_STRUCT.size + DefaultRecordBatchBuilder.MAX_RECORD_OVERHEAD
)
_FORMAT = 2
_NO_ATTRIBUTES = b"\x00"
_NONE = b"\x01"  # the length -1: of a key or a value that is not there

_write_on = KafkaTCPTransport._write_to_sock

Timed = tuple[int, bytes]  # a record: its time in ms, and its tail


def send_at_once() -> None:
    """Replaces a method of the client."""
    KafkaTCPTransport._write_to_sock = _write


async def _write(self: Any) -> None:
    """Sends what the socket takes; what is left is the original's, which waits for the socket.

    The original waits before it sends too, though a socket nearly always takes a request: that is
    one more round of the client's loop for each, a quarter of all that a transaction has.
    """
    _, error = self._sock_send()
    if error is None:
        self.last_write = clock.monotonic_us() / 1e6
        await _write_on(self)
    else:
        self._writing = False
        self.abort(error=error)


def varint(number: int) -> bytes:
    """A signed number as record batches hold it: by turns 0, -1, 1, -2 ..., seven bits a byte."""
    bits = number * 2 if number >= 0 else -number * 2 - 1
    if bits < 128:
        return _ONE_BYTE[bits]
    if bits < 1 << 14:
        return bytes((bits & 127 | 128, bits >> 7))
    found = bytearray()
    while bits > 127:
        found.append(bits & 127 | 128)
        bits >>= 7
    found.append(bits)
    return bytes(found)


_ONE_BYTE = [bytes([number]) for number in range(128)]


@lru_cache(maxsize=1024)
def _header(name: str, length: int) -> bytes:
    """A header up to its content, which has so many bytes; -1: it has none."""
    encoded = name.encode()
    return varint(len(encoded)) + encoded + varint(length)


def tail(record: OutRecord) -> bytes:
    """What of a record hangs on no other: its key, value and headers."""
    key, value, headers = record.key, record.value, record.headers
    parts = [_NONE] if key is None else [varint(len(key)), key]
    parts += [_NONE] if value is None else [varint(len(value)), value]
    parts.append(varint(len(headers)))
    for name, content in headers:
        if content is None:
            parts.append(_header(name, -1))
        else:
            parts += (_header(name, len(content)), content)
    return b"".join(parts)


class _Builder(DefaultRecordBatchBuilder):  # type: ignore[misc]
    """A batch under construction."""

    _first_timestamp: Any
    _max_timestamp: Any

    def append_tails(self, offset: int, records: Sequence[Timed]) -> list[int]:
        """The bytes that each takes, from the first on, until the batch is full.

        An empty batch takes any one record. ``offset``: of the first of them in the batch.
        """
        buffer, sizes = self._buffer, list[int]()
        for at_ms, tail in records:
            if self._first_timestamp is None:
                self._first_timestamp = self._max_timestamp = at_ms
            delta_ms, place = varint(at_ms - self._first_timestamp), varint(offset)
            length = 1 + len(delta_ms) + len(place) + len(tail)
            head = varint(length) + _NO_ATTRIBUTES + delta_ms + place
            size = len(head) + len(tail)
            if offset and len(buffer) + size > self._batch_size:
                break
            if at_ms > self._max_timestamp:
                self._max_timestamp = at_ms
            buffer += head
            buffer += tail
            sizes.append(size)
            self._last_offset = offset
            offset += 1
        self._num_records += len(sizes)
        return sizes


class _Records(MemoryRecordsBuilder):  # type: ignore[misc]
    def __init__(self, compression: int, batch_size: int) -> None:
        super().__init__(_FORMAT, compression, batch_size)
        self._builder = _Builder(
            magic=_FORMAT, compression_type=compression, is_transactional=False, producer_id=-1,
            producer_epoch=-1, base_sequence=-1, batch_size=batch_size,
        )  # fmt: skip

    def append_tails(self, records: Sequence[Timed]) -> list[int]:
        if self._closed:
            return []
        sizes: list[int] = self._builder.append_tails(self._next_offset, records)
        self._next_offset += len(sizes)
        return sizes


class Ack:
    """What became of a record: it looks at the future of the batch that holds it.

    It stands for the client's own future of a record, which a batch that is split gives to the
    batches that come of it.
    """

    __slots__ = ("_batch", "_place")

    def __init__(self, batch: Any, place: int) -> None:
        self._batch = batch
        self._place = place

    def rebind(self, batch: Any, place: int) -> None:
        before, self._batch, self._place = self._batch, batch, place
        before._latch.set()  # it will never be done: who waits for it looks again

    @property
    def is_done(self) -> bool:
        done: bool = self._batch.is_done
        return done

    def succeeded(self) -> bool:
        return self.is_done and self.exception is None

    @property
    def exception(self) -> BaseException | None:
        batch = self._batch
        error: BaseException | None = batch.exception
        if error is not None or not batch.is_done:
            return error
        *_, told = batch.value
        return None if told is None else told(self._place)

    def get(self, timeout_s: float) -> None:
        """Waits until it is done; raises KafkaTimeoutError, or what became of it."""
        until_us = clock.monotonic_us() + round(timeout_s * 1e6)
        while not self.is_done:
            left_s = max(0.0, (until_us - clock.monotonic_us()) / 1e6)
            if not self._batch.wait(left_s):
                raise kafka_errors.KafkaTimeoutError(f"not acknowledged within {timeout_s:g} s")
        if self.exception is not None:
            raise self.exception


def all_succeeded(acks: Sequence[Ack]) -> bool:
    """Whether each has ``succeeded``, asked of their batches, which are few.

    A batch that tells of errors is none that succeeded, though some record of it may have.
    """
    return all(
        batch.is_done and batch.exception is None and batch.value[-1] is None
        for batch in {ack._batch for ack in acks}
    )


class TailBatch(ProducerBatch):  # type: ignore[misc]
    """A batch of the client's whose records come as tails."""

    max_record_size: int

    def append_tails(self, records: Sequence[Timed], now_s: float) -> list[Ack]:
        """Of as many as it takes, from the first on."""
        place = self.records.next_offset()
        sizes = self.records.append_tails(records)
        if not sizes:
            return []
        self.max_record_size = max(self.max_record_size, *sizes)
        self.last_append = now_s
        acks = list(map(Ack, repeat(self.produce_future), range(place, place + len(sizes))))
        self._record_futures += acks
        return acks


def append(accumulator: Any, where: Any, records: Sequence[Timed]) -> tuple[list[Ack], bool]:
    """Records of one partition into its batches.

    What became of each, and whether there is something for the sender to do at once. As the
    client's own ``append`` of each, but for the lock, which is taken once.
    """
    config, now_s = accumulator.config, clock.monotonic_us() / 1e6
    accumulator._appends_in_progress.increment()
    try:
        with accumulator._tp_lock(where):
            if accumulator._closed:
                raise kafka_errors.IllegalStateError("the producer is closed")
            waiting = accumulator._batches[where]
            batch = waiting[-1] if waiting and isinstance(waiting[-1], TailBatch) else None
            acks = [] if batch is None else batch.append_tails(records, now_s)
            is_new = len(acks) < len(records)
            while len(acks) < len(records):
                held = _Records(config["compression_attrs"], config["batch_size"])
                batch = TailBatch(where, held, now=now_s)
                taken = batch.append_tails(records[len(acks) :], now_s)
                assert taken, "an empty batch takes any one record"
                acks += taken
                waiting.append(batch)
                accumulator._incomplete.add(batch)
            full = len(waiting) > 1 or (batch is not None and batch.records.is_full())
            return acks, is_new or full
    finally:
        accumulator._appends_in_progress.decrement()
