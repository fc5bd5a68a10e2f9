"""The source media of a window, looked up in the input's topic for the page (``/api/media``).

The page's stand-in for ``motet clip``: it may find nothing. It reads a bounded number of records
from where the window's records most likely lie, and never holds up the pipeline.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import NamedTuple

from pipeline import clock
from pipeline.connectors.partitioner import partition_for
from pipeline.errors import MotetError
from pipeline.media.reading import Reader, rules_of
from pipeline.monitor.pictures import Picture, picture_of, sound_of
from pipeline.record import MediaRecord
from pipeline.slot.ports import Connector, Control, LogRecord, Source, TopicPartition
from pipeline.spec import PipelineSpec

RECORDS_MAX = 4_000  # of one search
BYTES_MAX = 96 << 20
SEARCH_US_MAX = 4_000_000
BEFORE_US = 2_000_000  # clocks of senders and broker differ by so much and are still found
TAIL_RECORDS = 400
LANES_MAX = 8  # searched where the stream's lane is not known
WAIT_S = 5.0
POLL_S = 0.25
CACHE_BYTES = 16 << 20


class Busy(Exception):
    """Another search is at work; ask again."""


class Asked(NamedTuple):
    """A window of a stream, and the input whose media is wanted; sound to be heard, or seen."""

    stream: str
    start_us: int
    input: str
    heard: bool = False


class MediaFinder:
    """One search at a time, over connections that are kept until ``close``.

    ``lane_of`` and ``position_of`` (of an input in a lane: the first offset that is not applied
    yet) say what is known of the run.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        connector: Connector,
        lane_of: Callable[[str], int | None],
        position_of: Callable[[str, int], int | None],
    ) -> None:
        self._spec = spec
        self._connector = connector
        self._lane_of = lane_of
        self._position_of = position_of
        self._reader = Reader(rules_of(spec))
        self._lock = threading.Lock()
        self._ports: tuple[Source, Control] | None = None
        self._cache: OrderedDict[Asked, Picture] = OrderedDict()
        self._closed = False

    def find(self, asked: Asked) -> Picture | None:
        """None where nothing is found within the bounds. Raises Busy, and MotetError where the
        broker or the media cannot be read.
        """
        if not self._lock.acquire(timeout=WAIT_S):
            raise Busy
        try:
            known = self._cache.get(asked)
            if known is None and not self._closed:
                known = self._search(asked)
            if known is not None:
                self._remember(asked, known)
            return known
        finally:
            self._lock.release()

    def close(self) -> None:
        self._closed = True
        if self._lock.acquire(timeout=WAIT_S):  # a client that hangs must not hold up the end
            self._drop_ports()
            self._lock.release()

    # -- under the lock -----------------------------------------------------------------------

    def _search(self, asked: Asked) -> Picture | None:
        end_us = asked.start_us + self._spec.windows.size_us
        try:
            found = self._records(asked, end_us)
        except Exception:
            self._drop_ports()
            raise
        if not found:
            return None
        return (sound_of if asked.heard else picture_of)(found, asked.start_us, end_us)

    def _records(self, asked: Asked, end_us: int) -> list[MediaRecord]:
        if self._ports is None:
            self._ports = self._connector.source(), self._connector.control()
        source, control = self._ports
        topic = self._spec.inputs[asked.input].topic
        info = control.topics([topic])[topic]
        if info is None:
            raise MotetError(f"topic {topic}: it is not there")
        until_us = clock.monotonic_us() + SEARCH_US_MAX
        for lane in self._lanes(asked.stream, info.partitions):
            partition = TopicPartition(topic, lane)
            for start, end in self._ranges(control, partition, asked):
                with closing(_read(source, partition, start, end, until_us)) as records:
                    found = self._pick(records, asked, end_us)
                if found:
                    return found
        return []

    def _lanes(self, stream: str, partitions: int) -> list[int]:
        """Where the stream's records may lie, the likeliest first."""
        known = self._lane_of(stream)
        if known is not None and known < partitions:
            return [known]
        likely = partition_for(stream.encode(), partitions)
        others = (number for number in range(min(partitions, LANES_MAX)) if number != likely)
        return [likely, *others]

    def _ranges(
        self, control: Control, partition: TopicPartition, asked: Asked
    ) -> Iterator[tuple[int, int]]:
        """Offsets to look at: from the window's time on, then before what is applied by now.

        A live input's records are appended at about their event time; those of a catch-up may be
        appended at any time, but the window that is looked at has most likely just come out.
        """
        first = control.beginnings([partition])[partition]
        end = control.stable_ends([partition])[partition]
        offset_us = self._spec.inputs[asked.input].time_offset_us
        from_us = max(0, asked.start_us - offset_us - BEFORE_US)
        start = control.offsets_at([partition], from_us)[partition]
        yield max(first, start), end
        applied = self._position_of(asked.input, partition.partition)
        applied = end if applied is None else min(applied, end)
        yield max(first, applied - TAIL_RECORDS), applied

    def _pick(self, records: Iterator[LogRecord], asked: Asked, end_us: int) -> list[MediaRecord]:
        """The window's records of the stream, in log order; a picture's first alone."""
        given = self._spec.inputs[asked.input]
        found: list[MediaRecord] = []
        for log in records:
            if self._closed:
                break
            record = self._reader.read(asked.input, log)
            if not isinstance(record, MediaRecord) or record.stream != asked.stream:
                continue
            if record.ts_us < end_us and record.end_us > asked.start_us:
                found.append(record)
                if record.facts.kind == "image":
                    break
            elif record.ts_us >= end_us + given.out_of_orderness_us:
                break
        return found

    def _remember(self, asked: Asked, picture: Picture) -> None:
        self._cache[asked] = picture
        self._cache.move_to_end(asked)
        while sum(len(one.content) for one in self._cache.values()) > CACHE_BYTES:
            self._cache.popitem(last=False)

    def _drop_ports(self) -> None:
        ports, self._ports = self._ports, None
        for port in ports or ():
            port.close()


def _read(
    source: Source, partition: TopicPartition, start: int, end: int, until_us: int
) -> Generator[LogRecord]:
    """Committed records of ``[start, end)``, as many as the bounds allow."""
    if start >= end:
        return
    position, records, size = start, 0, 0
    source.assign({partition: start})
    try:
        while position < end and clock.monotonic_us() < until_us:
            for fetch in source.poll(POLL_S):
                position = fetch.position
                for record in fetch.records:
                    records += 1
                    size += len(record.value or b"")
                    if record.offset >= end or records > RECORDS_MAX or size > BYTES_MAX:
                        return
                    yield record
    finally:
        source.assign({})
