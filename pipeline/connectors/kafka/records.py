"""From a fetched partition to log records, below kafka-python's ``ConsumerRecord``.

The client makes three objects of each record and copies its batch once more before it copies the
value out. Here one pass over the fetched bytes makes the one object that is wanted, and a byte is
copied once. What is read and what is refused is as with the client's own reader, which stays in
use for formats before Kafka 0.11; tests/core/test_kafka_records.py holds both side by side.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from crc32c import crc32c
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.record.default_records import DefaultRecordBatch

from pipeline.connectors.kafka.compression import decompressed
from pipeline.slot.ports import LogRecord

_HEADER = DefaultRecordBatch.HEADER_STRUCT
_NEVER = 0
_CHECKED_FROM = DefaultRecordBatch.ATTRIBUTES_OFFSET  # what the checksum covers
_MAGIC_AT = 16
_VARINT_BYTES_MAX = 10


def read_log_records(consumer: Any) -> None:
    """Makes ``poll`` of a KafkaConsumer return ``LogRecord`` in place of ``ConsumerRecord``."""
    consumer._fetcher.PartitionRecords = PartitionLogRecords


class PartitionLogRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetched partition, as ``LogRecord``.

    Invariant: ``next_fetch_offset`` is the offset behind what was given so far, and at the end
    that behind the last batch, whatever of it was given.
    """

    def _unpack_records(
        self, tp: Any, records: Any, key_deserializer: Any, value_deserializer: Any
    ) -> Iterator[LogRecord]:
        """``records``: a ``MemoryRecords``. Deserializers are not called: motet sets none."""
        topic, partition = tp
        while (view := records._next_slice) is not None:
            if len(view) < _HEADER.size or view[_MAGIC_AT] != 2:
                try:
                    batch = records.next_batch()
                except struct.error as error:  # shorter than the head of its format
                    why = f"{topic}-{partition}: a batch is damaged: {error}"
                    raise kafka_errors.CorruptRecordError(why) from error
                yield from self._old(topic, partition, batch)
                continue
            end = records._pos
            records._cache_next()
            batch = _Batch(records._buffer, end - len(view), end)
            if self.check_crcs and not batch.is_whole():
                raise batch.corrupt("another checksum than it says")
            self.leader_epoch = batch.leader_epoch
            if not self._is_left_out(batch):
                self.bytes_read += len(view)
                for record in batch.records(topic, partition):
                    self.records_read += 1
                    self.next_fetch_offset = record.offset + 1
                    yield record
            # a compacted log may lack the batch's last records
            self.next_fetch_offset = batch.last_offset + 1
        self.drain()

    def _is_left_out(self, batch: _Batch) -> bool:
        """Whether it is a marker, or of a transaction that was aborted."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.producer_id >= 0:
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if batch.is_control and batch.is_abort():
                self.aborted_producer_ids.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in self.aborted_producer_ids:
                return True
        return batch.is_control

    def _old(self, topic: str, partition: int, batch: Any) -> Iterator[LogRecord]:
        """A batch of an older format, by the client's own reader."""
        if self.check_crcs and not batch.validate_crc():
            raise kafka_errors.CorruptRecordError(f"{topic}-{partition}: a batch is damaged")
        for r in batch:
            if self.check_crcs and not r.validate_crc():
                raise kafka_errors.CorruptRecordError(
                    f"{topic}-{partition}: the record at offset {r.offset} is damaged"
                )
            self.records_read += 1
            self.next_fetch_offset = r.offset + 1
            at_us = r.timestamp * 1000 if r.timestamp is not None else -1000
            yield LogRecord(topic, partition, r.offset, at_us, r.key, r.value, r.headers)


class _Batch:
    """A record batch of format 2 (kafka.apache.org/documentation/#recordbatch)."""

    __slots__ = (
        "_append_ms",
        "_attributes",
        "_begin",
        "_buffer",
        "_count",
        "_crc",
        "_end",
        "_first_ms",
        "base_offset",
        "last_offset",
        "leader_epoch",
        "producer_id",
    )

    def __init__(self, buffer: bytes | memoryview, begin: int, end: int) -> None:
        self._buffer, self._begin, self._end = buffer, begin, end
        (
            self.base_offset, _, self.leader_epoch, _, self._crc, self._attributes, last_delta,
            self._first_ms, last_ms, self.producer_id, _, _, self._count,
        ) = _HEADER.unpack_from(buffer, begin)  # fmt: skip
        self.last_offset = self.base_offset + last_delta
        by_log = self._attributes & DefaultRecordBatch.TIMESTAMP_TYPE_MASK
        self._append_ms: int | None = last_ms if by_log else None

    @property
    def is_transactional(self) -> bool:
        return bool(self._attributes & DefaultRecordBatch.TRANSACTIONAL_MASK)

    @property
    def is_control(self) -> bool:
        return bool(self._attributes & DefaultRecordBatch.CONTROL_MASK)

    def is_whole(self) -> bool:
        """The interpreter is kept meanwhile: 40 us, and after giving it up one waits for longer."""
        covered = memoryview(self._buffer)[self._begin + _CHECKED_FROM : self._end]
        crc: int = crc32c(covered, gil_release_mode=_NEVER)
        return bool(crc == self._crc)

    def is_abort(self) -> bool:
        """Of a control batch."""
        batch = DefaultRecordBatch(memoryview(self._buffer)[self._begin : self._end])
        marker = next(batch, None)
        return bool(marker is not None and marker.abort)

    def records(self, topic: str, partition: int) -> list[LogRecord]:
        """Raises CorruptRecordError where what is read does not fill the batch to its end."""
        data, at, end = self._buffer, self._begin + _HEADER.size, self._end
        codec = self._attributes & DefaultRecordBatch.CODEC_MASK
        try:
            if codec:
                data, at = decompressed(codec, memoryview(data)[at:end]), 0
                end = len(data)
            return self._read(data, at, end, topic, partition)
        except (ValueError, IndexError) as error:
            raise self.corrupt(str(error)) from error

    def _read(
        self, data: bytes | memoryview, at: int, end: int, topic: str, partition: int
    ) -> list[LogRecord]:
        """The records in ``data[at:end]``, which they must fill.

        Most numbers take one byte, so those are read where they stand: a call costs more.
        """
        base_offset, first_ms, append_ms = self.base_offset, self._first_ms, self._append_ms
        records = []
        for _ in range(self._count):
            length, at = _varint(data, at)
            stop = at + length
            if data[at] > 127:
                raise ValueError("attributes of a record, of which there are none")
            at += 1
            if (number := data[at]) < 128:
                delta_ms, at = (number >> 1) ^ -(number & 1), at + 1
            else:
                delta_ms, at = _varint(data, at)
            if (number := data[at]) < 128:
                delta, at = (number >> 1) ^ -(number & 1), at + 1
            else:
                delta, at = _varint(data, at)
            key, at = _field(data, at)
            value, at = _field(data, at)
            count, at = _varint(data, at)
            if count < 0:
                raise ValueError(f"{count} headers")
            headers: list[tuple[str, bytes | None]] = []
            while count:
                count -= 1
                name, at = _field(data, at)
                if name is None:
                    raise ValueError("a header without a name")
                content, at = _field(data, at)
                # A name is text by the protocol, which no broker checks.
                headers.append((name.decode(errors="backslashreplace"), content))
            if at != stop or at > end:
                raise ValueError(f"a record of {length} bytes ends elsewhere")
            at_ms = first_ms + delta_ms if append_ms is None else append_ms
            records.append(
                LogRecord(topic, partition, base_offset + delta, at_ms * 1000, key, value, headers)
            )
        if at != end:
            raise ValueError(f"{end - at} bytes are left behind the last record")
        return records

    def corrupt(self, why: str) -> Exception:
        error: Exception = kafka_errors.CorruptRecordError(
            f"the batch at offset {self.base_offset} is damaged: {why}"
        )
        return error


def _field(data: bytes | memoryview, at: int) -> tuple[bytes | None, int]:
    """Bytes behind their length, None where that is below 0; and where they end."""
    number = data[at]
    if number < 128:
        length = (number >> 1) ^ -(number & 1)
        at += 1
    else:
        length, at = _varint(data, at)
    if length < 0:
        return None, at
    return bytes(data[at : at + length]), at + length


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A zigzag-coded number of up to 64 bits, and where it ends."""
    number = shift = 0
    for place in range(at, at + _VARINT_BYTES_MAX):
        byte = data[place]
        number |= (byte & 127) << shift
        if byte < 128:
            return (number >> 1) ^ -(number & 1), place + 1
        shift += 7
    raise ValueError("a number of more than 64 bits")
