"""One partition of the in-memory broker: a log with offset gaps and open transactions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Set
from typing import NamedTuple

from pipeline.slot.ports import LogRecord, OutRecord


class Slice(NamedTuple):
    """Records of one read, and the offset from which the next one goes on."""

    records: list[LogRecord]
    position: int


class PartitionLog:
    """Records in offset order, none of them aborted.

    Below ``stable_end`` every record is committed: an aborted transaction's records are taken
    out (their offsets stay a gap, as read_committed sees it), and an open one's first offset
    is where the stable end stands. So a read is a plain slice.
    """

    def __init__(self, topic: str, partition: int, retention_bytes: int | None) -> None:
        self.topic = topic
        self.partition = partition
        self.start = 0
        self.end = 0
        self._offsets: list[int] = []
        self._records: list[LogRecord] = []
        self._open: dict[str, int] = {}  # transactional id -> first offset, ascending
        self._retention_bytes = retention_bytes
        self._bytes = 0

    @property
    def stable_end(self) -> int:
        return next(iter(self._open.values()), self.end)

    def append(self, record: OutRecord, timestamp_us: int, transaction: str | None) -> int:
        """Appends one record, of the open transaction of that id where one is named."""
        offset = self.end
        if transaction is not None and transaction not in self._open:
            self._open[transaction] = offset
        self._offsets.append(offset)
        self._records.append(
            LogRecord(
                self.topic,
                self.partition,
                offset,
                timestamp_us,
                record.key,
                record.value,
                list(record.headers),
            )
        )
        self.end = offset + 1
        self._bytes += len(record.value or b"")
        if self._retention_bytes is not None:
            self._retain(self._retention_bytes)
        return offset

    def end_transaction(self, transaction: str, aborted: Set[int]) -> None:
        """Writes the marker, which takes an offset; ``aborted`` offsets are taken out."""
        first = self._open.pop(transaction)
        if aborted:
            at = bisect_left(self._offsets, first)
            tail = self._records[at:]
            kept = [r for r in tail if r.offset not in aborted]
            self._bytes -= _bytes_of(tail) - _bytes_of(kept)
            self._records[at:] = kept
            self._offsets[at:] = [r.offset for r in kept]
        self.end += 1

    def skip(self, count: int) -> None:
        """Leaves a gap of ``count`` offsets, as compaction does."""
        self.end += count

    def truncate(self, offset: int) -> None:
        """Raises the log start to ``offset``, as retention and DeleteRecords do."""
        self.start = max(self.start, min(offset, self.end))
        at = bisect_left(self._offsets, self.start)
        self._bytes -= _bytes_of(self._records[:at])
        del self._records[:at], self._offsets[:at]

    def read(self, position: int, max_records: int, max_bytes: int) -> Slice:
        """Committed records from ``position`` on: at least one where there is one."""
        stable = self.stable_end
        first = bisect_left(self._offsets, position)
        last = len(self._offsets) if stable == self.end else bisect_left(self._offsets, stable)
        stop = min(last, first + max_records)
        left = max_bytes
        for at in range(first, stop):
            left -= len(self._records[at].value or b"")
            if left < 0 and at > first:
                stop = at
                break
        records = self._records[first:stop]
        if stop >= last:
            return Slice(records, max(position, stable))
        return Slice(records, records[-1].offset + 1)

    def offset_at(self, time_us: int) -> int:
        """First stable offset with a timestamp at or after the time, else the stable end."""
        stable = self.stable_end
        for record in self._records:
            if record.offset >= stable:
                break
            if record.timestamp_us >= time_us:
                return record.offset
        return stable

    def last(self) -> LogRecord | None:
        at = bisect_left(self._offsets, self.stable_end)
        return self._records[at - 1] if at else None

    def _retain(self, limit_bytes: int) -> None:
        """Drops the oldest committed records; a quarter of slack keeps the cost a constant."""
        if self._bytes <= limit_bytes + limit_bytes // 4:
            return
        at, left, stable = 0, self._bytes, self.stable_end
        while left > limit_bytes and at < len(self._records) and self._offsets[at] < stable:
            left -= len(self._records[at].value or b"")
            at += 1
        self.truncate(self._offsets[at] if at < len(self._offsets) else stable)


def _bytes_of(records: list[LogRecord]) -> int:
    return sum(len(record.value or b"") for record in records)
