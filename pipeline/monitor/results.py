"""Committed results for many readers from one consumer (``/api/results``)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from pipeline import clock
from pipeline.errors import MotetError, PositionLost, Refused
from pipeline.monitor.events import event_id
from pipeline.monitor.reader import QUEUE_RECORDS, Reader, Result
from pipeline.slot.ports import Connector, LogRecord, Source, TopicPartition

HISTORY_RECORDS = 200  # of each partition, read when somebody begins to look
HISTORY_RECORDS_ALL = 4_000
KEPT_RECORDS = 2_000
KEPT_BYTES = 16 << 20
READERS_MAX = 32
LINGER_US = 15_000_000  # a page that is loaded again finds the reader still at work
POLL_S = 0.25
RETRY_S = 1.0
STREAMS_SHOWN = 200


class TooManyReaders(Exception):
    """As many readers as there may be."""


class ResultFeed:
    """One thread reads the results topic while somebody looks; nobody looking costs nothing.

    Invariant: a reader whose ``open`` has returned gets every result that is committed from then
    on. ``_kept`` is what was read last, bounded in number and bytes, for those who come later.
    """

    def __init__(self, connector: Connector, topic: str) -> None:
        self._connector = connector
        self._topic = topic
        self._changed = threading.Condition()
        self._readers: list[Reader] = []
        self._kept: deque[Result] = deque()
        self._kept_bytes = 0
        self._lanes: dict[str, int] = {}  # of the streams in the order of their newest results
        self._thread: threading.Thread | None = None
        self._live = False  # the history is read, and readers have been given theirs
        self._problem: str | None = None
        self._closed = False
        # of the thread that reads alone
        self._positions: dict[TopicPartition, int] = {}
        self._until: dict[TopicPartition, int] = {}  # the history ends there
        self._left_us: int | None = None  # when somebody was last seen to look

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
            elif self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="monitor-results")
                self._thread.daemon = True
                self._thread.start()
            if self._changed.wait_for(lambda: self._live or self._closed, timeout_s):
                return reader
            self._readers.remove(reader)
            raise MotetError(self._problem or f"topic {self._topic}: it cannot be read just now")

    def leave(self, reader: Reader) -> None:
        with self._changed:
            if reader in self._readers:
                self._readers.remove(reader)

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
        with self._changed:
            self._closed = True
            thread = self._thread
            for reader in self._readers:
                reader.closed = True
            self._changed.notify_all()
        if thread is not None:
            thread.join(10)

    # -- the thread that reads ----------------------------------------------------------------

    def _run(self) -> None:
        """Until nobody has looked for a while; what fails is told to the readers and retried."""
        while True:
            try:
                self._read()
            except Exception as error:  # whatever it is, the run that is looked at goes on
                if isinstance(error, PositionLost):
                    self._positions.clear()
                self._tell(" ".join(str(error).split()) or type(error).__name__)
            else:
                return
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, RETRY_S):
                    return

    def _read(self) -> None:
        """Reads on from where it was; returns when it shall end."""
        source = self._connector.source()
        try:
            if not self._positions:
                self._begin()
            source.assign(self._positions)
            while not self._may_end():
                if not self._live and all(self._positions[p] >= e for p, e in self._until.items()):
                    self._go_live()
                self._poll(source)
        finally:
            source.close()

    def _begin(self) -> None:
        """Some records before the ends, so that there is something to see at once."""
        control = self._connector.control()
        try:
            info = control.topics([self._topic])[self._topic]
            if info is None:
                raise Refused(f"topic {self._topic}: it is not there; `motet topics create FILE`")
            partitions = [TopicPartition(self._topic, number) for number in range(info.partitions)]
            self._until = control.stable_ends(partitions)
            starts = control.beginnings(partitions)
        finally:
            control.close()
        back = min(HISTORY_RECORDS, HISTORY_RECORDS_ALL // max(1, len(partitions)))
        for partition, end in self._until.items():
            self._positions[partition] = max(starts[partition], end - back)

    def _poll(self, source: Source) -> None:
        for fetch in source.poll(POLL_S):
            self._take([_result(record) for record in fetch.records])
            self._positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position

    def _take(self, results: Iterable[Result]) -> None:
        with self._changed:
            for result in results:
                self._keep(result)
                for reader in self._readers if self._live else ():
                    if reader.wants(result):
                        reader.put(result)
            self._changed.notify_all()

    def _keep(self, result: Result) -> None:
        self._kept.append(result)
        self._kept_bytes += len(result.value)
        while len(self._kept) > KEPT_RECORDS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().value)
        self._lanes.pop(result.stream, None)
        self._lanes[result.stream] = result.lane
        if len(self._lanes) > KEPT_RECORDS:
            del self._lanes[next(iter(self._lanes))]

    def _go_live(self) -> None:
        with self._changed:
            self._live, self._problem = True, None
            for reader in self._readers:
                self._give_history(reader)
            self._changed.notify_all()

    def _give_history(self, reader: Reader) -> None:
        wanted = [result for result in self._kept if reader.wants(result)]
        known = [i for i, result in enumerate(wanted) if event_id(result.id) == reader.after]
        if reader.after is not None and known:
            history = wanted[known[-1] + 1 :]
        else:
            history = wanted[-reader.last :] if reader.last else []
        for result in history[-QUEUE_RECORDS:]:
            reader.put(result)

    def _tell(self, problem: str) -> None:
        with self._changed:
            self._problem = problem
            for reader in self._readers:
                reader.problem = problem
            self._changed.notify_all()

    def _may_end(self) -> bool:
        """Whether to end; decided and noted in one step, so that a new reader starts a thread."""
        now_us = clock.monotonic_us()
        with self._changed:
            if self._readers or self._left_us is None:
                self._left_us = now_us
            if not self._closed and now_us - self._left_us <= LINGER_US:
                return False
            self._thread, self._live, self._left_us = None, False, None
            self._kept.clear()
            self._kept_bytes = 0
            self._positions.clear()
            self._changed.notify_all()
            return True


def _result(record: LogRecord) -> Result:
    stream = (record.key or b"").decode("utf-8", "replace")
    ce_id = dict(record.headers).get("ce_id", b"").decode("utf-8", "replace")
    place = f"{record.partition}-{record.offset}"
    return Result(ce_id or place, stream, record.value or b"", record.partition)
