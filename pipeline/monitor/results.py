"""Committed results for many readers from one consumer (``/api/results``)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence

from pipeline import clock
from pipeline.connectors.topic_reader import Positions, TopicReader
from pipeline.errors import MotetError
from pipeline.monitor.events import event_id
from pipeline.monitor.reader import QUEUE_RECORDS, Reader, Result
from pipeline.record import header_texts
from pipeline.slot.ports import Connector, Control, LogRecord, TopicPartition

HISTORY_RECORDS = 200  # of each partition, read when somebody begins to look
HISTORY_RECORDS_ALL = 4_000
KEPT_RECORDS = 2_000
KEPT_BYTES = 16 << 20
READERS_MAX = 32
LINGER_US = 15_000_000  # a page that is loaded again finds the reader still at work
STREAMS_SHOWN = 200
TOLD_S = 1.0  # what a reader may take to hear of the end; one that does not read is not waited for


class TooManyReaders(Exception):
    """As many readers as there may be."""


class ResultFeed:
    """One thread reads the results topic while somebody looks; nobody looking costs nothing.

    Invariant: a reader whose ``open`` has returned gets every result that is committed from then
    on. ``_kept`` is what was read last, bounded in number and bytes, for those who come later.
    """

    def __init__(self, connector: Connector, topic: str) -> None:
        self._topic = topic
        self._changed = threading.Condition()
        self._readers: list[Reader] = []
        self._kept: deque[Result] = deque()
        self._kept_bytes = 0
        self._lanes: dict[str, int] = {}  # of the streams in the order of their newest results
        self._live = False  # the history is read, and readers have been given theirs
        self._problem: str | None = None
        self._closed = False
        self._left_us: int | None = None  # when somebody was last seen to look
        self._source = TopicReader(connector, [topic], self, self._changed, "monitor-results")

    def open(self, stream: str | None, last: int, after: str | None, timeout_s: float) -> Reader:
        """A reader from now on, with up to ``last`` results of before.

        ``after``: a result's id; where it is still kept, all that came after it are given
        instead. Raises TooManyReaders, and MotetError where the topic cannot be read in time.
        """
        with self._changed:
            if len(self._readers) >= READERS_MAX:
                raise TooManyReaders
            reader = Reader(stream, last, after, self._changed, closed=self._closed)
            self._readers.append(reader)
            if self._live:
                self._give_history(reader)
            else:
                self._source.wake()
            if self._changed.wait_for(lambda: self._live or self._closed, timeout_s):
                return reader
            self._readers.remove(reader)
            raise MotetError(self._problem or f"topic {self._topic}: it cannot be read just now")

    def leave(self, reader: Reader) -> None:
        with self._changed:
            if reader in self._readers:
                self._readers.remove(reader)
                self._changed.notify_all()

    def streams(self, part: str = "", most: int = STREAMS_SHOWN) -> tuple[list[str], int]:
        """Ids with ``part`` in them, whatever its case, of the newest results, the newest last;
        ``most`` of them, and how many there are.
        """
        part = part.casefold()
        with self._changed:
            found = [stream for stream in self._lanes if not part or part in stream.casefold()]
        return found[-most:], len(found)

    def kept(self) -> dict[str, bytes]:
        """The values of the newest results by their ``ce_id``, the newest last."""
        with self._changed:
            return {result.id: result.value for result in self._kept}

    def lane_of(self, stream: str) -> int | None:
        """The lane of a stream among the newest results."""
        with self._changed:
            return self._lanes.get(stream)

    def close(self) -> None:
        """Tells the readers; ``await_left`` waits until they have sent it on."""
        with self._changed:
            self._closed = True
            for reader in self._readers:
                reader.closed = True
            self._changed.notify_all()
        self._source.close()

    def await_left(self) -> None:
        """Waits until all readers have left, TOLD_S at most: connections can be ended then."""
        with self._changed:
            self._changed.wait_for(lambda: not self._readers, TOLD_S)

    # -- called by the thread that reads ------------------------------------------------------

    def begin(
        self, control: Control, partitions: Mapping[str, Sequence[TopicPartition]]
    ) -> Positions:
        """Some records before the ends, so that there is something to see at once."""
        of_topic = partitions[self._topic]
        ends, starts = control.stable_ends(of_topic), control.beginnings(of_topic)
        back = min(HISTORY_RECORDS, HISTORY_RECORDS_ALL // max(1, len(of_topic)))
        return {at: max(starts[at], ends[at] - back) for at in of_topic}

    def take(self, records: Sequence[LogRecord]) -> None:
        results = [_result(record) for record in records]
        with self._changed:
            for result in results:
                self._keep(result)
                for reader in self._readers if self._live else ():
                    if reader.wants(result):
                        reader.put(result)
            self._changed.notify_all()

    def caught_up(self) -> None:
        with self._changed:
            self._problem = None
            if not self._live:
                self._live = True
                for reader in self._readers:
                    self._give_history(reader)
            self._changed.notify_all()

    def failed(self, problem: str) -> None:
        with self._changed:
            self._problem = problem
            for reader in self._readers:
                reader.problem = problem
            self._changed.notify_all()

    def done(self) -> bool:
        now_us = clock.monotonic_us()
        if self._readers or self._left_us is None:
            self._left_us = now_us
        if now_us - self._left_us <= LINGER_US:
            return False
        self._live, self._left_us = False, None
        self._kept.clear()
        self._kept_bytes = 0
        self._changed.notify_all()
        return True

    # -- how ------------------------------------------------------------------------------

    def _keep(self, result: Result) -> None:
        self._kept.append(result)
        self._kept_bytes += len(result.value)
        while len(self._kept) > KEPT_RECORDS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().value)
        self._lanes.pop(result.stream, None)
        self._lanes[result.stream] = result.lane
        if len(self._lanes) > KEPT_RECORDS:
            del self._lanes[next(iter(self._lanes))]

    def _give_history(self, reader: Reader) -> None:
        wanted = [result for result in self._kept if reader.wants(result)]
        known = [i for i, result in enumerate(wanted) if event_id(result.id) == reader.after]
        if reader.after is not None and known:
            history = wanted[known[-1] + 1 :]
        else:
            history = wanted[-reader.last :] if reader.last else []
        for result in history[-QUEUE_RECORDS:]:
            reader.put(result)


def _result(record: LogRecord) -> Result:
    stream = (record.key or b"").decode("utf-8", "replace")
    ce_id = header_texts(record.headers).get("ce_id")
    place = f"{record.partition}-{record.offset}"
    return Result(ce_id or place, stream, record.value or b"", record.partition)
