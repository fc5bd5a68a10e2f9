"""Sends records to topics: CloudEvents headers, partitions, pace.

The invariant: one stream keeps one partition number in all topics, since the partition is
murmur2 of the stream id and all topics have the same number of partitions. Without that a
stream's sound and its pictures would meet in no lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

from pipeline.connectors.files import FileRecord
from pipeline.connectors.limits import check_size
from pipeline.connectors.partitioner import partition_for
from pipeline.errors import InvalidInput, MotetError, Problem, Refused
from pipeline.slot.ports import OutRecord, Publisher, TopicInfo
from pipeline.spec.units import format_rfc3339

EVENT_TYPE = "motet.media.v1"
SOURCE_PREFIX = "motet/publish/"


class LiveCounts(NamedTuple):
    """Of live sources: records that were dropped since the broker was slower, those that a source
    sent again and that were left out, what could not be read, and lost connections.
    """

    dropped: int
    repeated: int
    damaged: int
    reconnects: int


@dataclass(slots=True)
class Published:
    """What was sent; times are event times of the first and the last sample, in microseconds.

    ``live`` is None where no source was live.
    """

    records: int = 0
    value_bytes: int = 0
    streams: set[str] = field(default_factory=set)
    topics: set[str] = field(default_factory=set)
    first_us: int | None = None
    last_us: int | None = None
    live: LiveCounts | None = None

    def add(self, record: FileRecord) -> None:
        self.records += 1
        self.value_bytes += len(record.payload)
        self.streams.add(record.stream)
        self.topics.add(record.target.topic)
        self.first_us = record.ts_us if self.first_us is None else min(self.first_us, record.ts_us)
        self.last_us = record.end_us if self.last_us is None else max(self.last_us, record.end_us)

    def as_json(self) -> dict[str, object]:
        return {
            "records": self.records,
            "bytes": self.value_bytes,
            "streams": len(self.streams),
            "topics": sorted(self.topics),
            "first": None
            if self.first_us is None
            else format_rfc3339(self.first_us, "microseconds"),
            "last": None if self.last_us is None else format_rfc3339(self.last_us, "microseconds"),
            **({} if self.live is None else self.live._asdict()),
        }


def headers(record: FileRecord, source: str = SOURCE_PREFIX) -> list[tuple[str, bytes]]:
    """CloudEvents 1.0 in Kafka's binary mode (contract section 3); ``source`` begins ce_source."""
    found = [
        ("content-type", record.content_type),
        ("ce_specversion", "1.0"),
        ("ce_id", f"{record.stream}/{record.ts_us}"),
        ("ce_source", source + quote(record.source)),
        ("ce_type", EVENT_TYPE),
        ("ce_time", format_rfc3339(record.ts_us, "microseconds")),
        ("ce_sequence", f"{record.sequence:020d}"),
    ]
    if record.mediadur_us is not None:
        found.append(("ce_mediadur", str(record.mediadur_us)))
    if record.target.stream_header is not None:
        found.append((record.target.stream_header, record.stream))
    return [(name, value.encode()) for name, value in found]


def default_start_us(now_us: int, total_us: int) -> int:
    """So much before now that the last sample is not ahead of it; a whole second.

    Published at once, sound that began now would reach into the future: a pipeline refuses
    what lies further ahead than ``future_max``, and orders by the log's timestamp, the same
    for all of it, what lies ahead at all.
    """
    return max(0, (now_us - total_us) // 1_000_000 * 1_000_000)


def usable(found: Mapping[str, TopicInfo | None], remedy: str) -> dict[str, TopicInfo]:
    """The topics, all there and with one partition count; raises InvalidInput otherwise.

    ``remedy`` is what to do about a topic that is missing: it is never created by accident.
    """
    missing = [name for name, info in found.items() if info is None]
    if missing:
        raise InvalidInput(*(Problem("topic", n, "it is not there", remedy) for n in missing))
    there = {name: info for name, info in found.items() if info is not None}
    counts = {name: info.partitions for name, info in there.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} has {count}" for name, count in counts.items())
        why = "the topics differ in their number of partitions, so a stream would fall apart"
        raise InvalidInput(Problem("topics", shown, why, "create them with one count"))
    return there


def send(
    publisher: Publisher,
    records: Iterable[FileRecord],
    topics: Mapping[str, TopicInfo],
    until_due: Callable[[int], bool],
    sent: Callable[[FileRecord], None],
) -> Published:
    """Sends until the records end or ``until_due`` says stop; returns once all are acknowledged.

    ``until_due(due_us)`` waits until a record may be sent, and is True where the user wants
    to stop. ``sent`` is told of each record, for progress. Raises MotetError where a file cannot
    be read to its end or a record is larger than its topic takes (those before it are sent),
    Transient where the log lost one.
    """
    published = Published()
    try:
        for record in records:
            if until_due(record.due_us):
                break
            out = out_record(record, topics[record.target.topic].partitions)
            check_size(out, topics[record.target.topic].max_message_bytes)
            publisher.send(out)
            published.add(record)
            sent(record)
    except (InvalidInput, Refused) as error:
        publisher.flush()
        raise MotetError(f"{error} (records sent before it: {published.records})") from error
    publisher.flush()
    return published


def out_record(record: FileRecord, partitions: int, source: str = SOURCE_PREFIX) -> OutRecord:
    """As it goes to the log: to the partition of its stream, of ``partitions``."""
    key = record.stream.encode()
    return OutRecord(
        topic=record.target.topic,
        partition=partition_for(key, partitions),
        key=key,
        value=record.payload,
        headers=headers(record, source),
    )
