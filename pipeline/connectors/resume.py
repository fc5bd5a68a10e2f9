"""Where an earlier ``motet publish`` of the same files has stopped, and what it has not sent.

The log itself is what is asked: of each stream the newest record that publish has sent. Its
sequence number says which records follow, its time when the files began to play.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple
from urllib.parse import quote

from pipeline import clock
from pipeline.connectors.files import FileRecord, Timeline
from pipeline.connectors.partitioner import partition_for
from pipeline.connectors.publish import SOURCE_PREFIX
from pipeline.errors import InvalidInput, Problem, Transient
from pipeline.record import header_texts
from pipeline.slot.ports import Connector, LogRecord, Source, TopicInfo, TopicPartition
from pipeline.spec.units import Wrong, format_rfc3339, parse_rfc3339_us

_TAIL_RECORDS = 500
_LIMIT_US = 30_000_000
_POLL_S = 0.2
FLAG = "--resume"


class Last(NamedTuple):
    """The newest record of a timeline in its topic; ``source`` is the file, as ``ce_source``.

    ``value_bytes`` and ``mediadur`` (as its header) tell a file that was cut otherwise.
    """

    sequence: int
    ts_us: int
    source: str
    value_bytes: int
    mediadur: str | None

    def is_of(self, record: FileRecord) -> bool:
        """Whether it is this record, wherever that lies in time."""
        mediadur = None if record.mediadur_us is None else str(record.mediadur_us)
        return (
            self.sequence == record.sequence
            and self.source == SOURCE_PREFIX + quote(record.source)
            and self.value_bytes == len(record.payload)
            and self.mediadur == mediadur
        )


def last_records(
    connector: Connector, topics: Mapping[str, TopicInfo], lines: Sequence[Timeline]
) -> list[Last | None]:
    """The newest record of each timeline; None where its topic holds none of its files.

    Reads each partition backwards, as far as a timeline is missing: to its beginning where one
    was never sent. Raises Transient where the broker does not answer.
    """
    found: list[Last | None] = [None] * len(lines)
    places: dict[TopicPartition, dict[int, tuple[bytes, frozenset[str]]]] = {}
    for number, line in enumerate(lines):
        key = line.stream.encode()
        topic = line.target.topic
        at = TopicPartition(topic, partition_for(key, topics[topic].partitions))
        names = frozenset(SOURCE_PREFIX + quote(file.path.name) for file in line.files)
        places.setdefault(at, {})[number] = key, names
    with closing(connector.control()) as control, closing(connector.source()) as source:
        begins, ends = control.beginnings(places), control.stable_ends(places)
        for at, missing in places.items():
            high, tail = ends[at], _TAIL_RECORDS
            while missing and high > begins[at]:
                low = max(begins[at], high - tail)
                for record in _records(source, at, low, high):
                    _note(record, missing, found)
                missing = {n: what for n, what in missing.items() if found[n] is None}
                high, tail = low, 4 * tail
    return found


def _note(
    record: LogRecord,
    missing: Mapping[int, tuple[bytes, Collection[str]]],
    found: list[Last | None],
) -> None:
    numbers = [n for n, (key, _) in missing.items() if key == record.key]
    if not numbers:
        return
    said = header_texts(record.headers)
    source, sequence = said.get("ce_source", ""), said.get("ce_sequence", "")
    for number in numbers:
        if source in missing[number][1] and sequence.isdecimal():
            try:
                ts_us = parse_rfc3339_us(said.get("ce_time", ""))
            except Wrong:
                continue
            size = len(record.value or b"")
            found[number] = Last(int(sequence), ts_us, source, size, said.get("ce_mediadur"))


def _records(source: Source, at: TopicPartition, low: int, high: int) -> Iterator[LogRecord]:
    """The records at offsets ``[low, high)``."""
    source.assign({at: low})
    position = low
    until_us = clock.monotonic_us() + _LIMIT_US
    while position < high:
        if clock.monotonic_us() > until_us:
            raise Transient(f"{at.topic}-{at.partition}: the broker gave no records for 30 s")
        for fetch in source.poll(_POLL_S):
            position = fetch.position
            until_us = clock.monotonic_us() + _LIMIT_US
            yield from (record for record in fetch.records if record.offset < high)


def began_us(lines: Sequence[Timeline], lasts: Sequence[Last | None], period_us: int) -> int | None:
    """When the files began to play, in event time; None where nothing was sent.

    Plays the timeline that came least far, without sending, up to its newest record. Raises
    InvalidInput where the files have no such record.
    """
    known = [(last.sequence, n) for n, last in enumerate(lasts) if last is not None]
    if not known:
        return None
    sequence, number = min(known)
    last = lasts[number]
    assert last is not None
    for record in lines[number].records(0, period_us, None):
        if record.sequence == sequence:
            _demand_same(record, last, last.ts_us)
            return last.ts_us - record.ts_us
    raise AssertionError("files without end have ended")


def unsent(
    lines: Sequence[Timeline],
    lasts: Sequence[Last | None],
    start_us: int,
    period_us: int,
    loops: int | None,
) -> Iterator[FileRecord]:
    """As ``files.merge``, from behind the newest record of each timeline.

    Raises InvalidInput where that record is another than the files have at its place.
    """
    return heapq.merge(
        *(
            _behind(line.records(start_us, period_us, loops), last)
            for line, last in zip(lines, lasts, strict=True)
        ),
        key=lambda record: record.due_us,
    )


def _behind(records: Iterator[FileRecord], last: Last | None) -> Iterator[FileRecord]:
    for record in records:
        if last is not None and record.sequence == last.sequence:
            _demand_same(record, last, record.ts_us)
        if last is None or record.sequence > last.sequence:
            yield record


def _demand_same(record: FileRecord, last: Last, ts_us: int) -> None:
    if last.is_of(record) and last.ts_us == ts_us:
        return
    there = f"{last.source} of {last.value_bytes} bytes at {_time(last.ts_us)}"
    here = f"{record.source} of {len(record.payload)} bytes at {_time(ts_us)}"
    why = (
        f"record {last.sequence} of stream {record.stream} in topic {record.target.topic} is "
        f"{there}; these sources and flags make it {here}"
    )
    remedy = f"give the sources, --chunk, --fps, --scale and --start of then, or no {FLAG}"
    raise InvalidInput(Problem(FLAG, "", why, remedy))


def _time(time_us: int) -> str:
    return format_rfc3339(time_us, "microseconds")
