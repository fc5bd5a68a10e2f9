"""The records that a lane keeps, and the least offset that has to be read again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from pipeline.lane.record import LaneRecord

_GONE = -1
NO_END_US = 1 << 62  # after all event time: nothing is kept


class KeptOffsets:
    """Least kept offset of one input over all its streams, at amortised constant cost.

    Invariant: ``least()`` is the smallest offset that was kept and not dropped. Marks hold the
    offset alone, so that a dropped record's payload is free at once even while an older
    record is kept; they are compacted once most of them are gone.
    """

    __slots__ = ("_alive", "_marks")

    def __init__(self) -> None:
        self._marks: deque[list[int]] = deque()
        self._alive = 0

    def keep(self, record: LaneRecord) -> None:
        record.mark = [record.offset]
        self._marks.append(record.mark)
        self._alive += 1

    def drop(self, records: Sequence[LaneRecord]) -> None:
        for record in records:
            assert record.mark is not None
            record.mark[0] = _GONE
            record.mark = None
        self._alive -= len(records)
        if len(self._marks) > 2 * self._alive + 1024:
            self._marks = deque(mark for mark in self._marks if mark[0] != _GONE)

    def least(self) -> int | None:
        marks = self._marks
        while marks and marks[0][0] == _GONE:
            marks.popleft()
        return marks[0][0] if marks else None


class KeptRecords:
    """The kept records of one stream in one input, in the order of their ends.

    What is dropped is always a prefix of this order, and what a window holds lies between two
    bisections of it: neither cost grows with what else is kept.
    """

    __slots__ = ("_ends", "_head", "_records", "_span_us_max", "first_end_us")

    def __init__(self) -> None:
        self.first_end_us = NO_END_US  # the least end of what is kept
        self._ends: list[int] = []
        self._records: list[LaneRecord] = []
        self._head = 0  # what lies before it is dropped already
        self._span_us_max = 0

    def add(self, record: LaneRecord) -> None:
        end = record.end_us
        span = end - record.ts_us
        if span > self._span_us_max:
            self._span_us_max = span
        if end < self.first_end_us:
            self.first_end_us = end
        ends = self._ends
        if not ends or end >= ends[-1]:
            ends.append(end)
            self._records.append(record)
        else:
            at = bisect_right(ends, end, self._head)
            ends.insert(at, end)
            self._records.insert(at, record)

    def drop_before(self, end_us: int) -> list[LaneRecord]:
        """Drops every record that ends before ``end_us`` and returns them."""
        head = self._head
        at = bisect_left(self._ends, end_us, head)
        if at == head:
            return []
        dropped = self._records[head:at]
        if at == len(self._ends):
            self._ends.clear()
            self._records.clear()
            self._head = 0
            self._span_us_max = 0
            self.first_end_us = NO_END_US
            return dropped
        self.first_end_us = self._ends[at]
        if at > 32 and at * 2 > len(self._ends):
            del self._ends[:at]
            del self._records[:at]
            self._head = 0
        else:
            self._records[head:at] = [_NOTHING] * (at - head)
            self._head = at
        return dropped

    def overlapping(self, low_us: int, high_us: int, window_end_us: int) -> list[LaneRecord]:
        """Records that overlap ``[low_us, high_us)`` under a bar below the window's end, by offset.

        No record is longer than the longest seen, so the scan ends ``span`` after ``high_us``.
        """
        ends = self._ends
        stop = bisect_left(ends, high_us + self._span_us_max, self._head)
        found = [
            record
            for record in self._records[bisect_right(ends, low_us, self._head) : stop]
            if record.ts_us < high_us and record.bar_us < window_end_us
        ]
        if len(found) > 1:
            found.sort(key=_offset)
        return found


_offset = attrgetter("offset")
_NOTHING = LaneRecord(input="", offset=_GONE, append_us=0, stream=None)
