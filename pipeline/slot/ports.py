"""What a slot needs of a log such as Kafka: the ports, and the values that cross them.

The connectors implement these protocols (``pipeline.connectors.memory`` and ``.kafka``);
one conformance suite, tests/contract/test_connectors.py, holds both to what is said here.
Times are integer microseconds, offsets are *next* offsets unless named otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes | None]]  # Kafka knows a header without a value


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class LogRecord(NamedTuple):
    """A record as the log holds it. ``timestamp_us`` is the log's own timestamp."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class OutRecord(NamedTuple):
    """A record to be produced, to an explicit partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_us: int | None = None  # None: when it is produced


class Fetch(NamedTuple):
    """What one poll brought from one partition.

    ``position`` is the offset that will be read next. It may be past the last record's
    offset + 1 (markers, compaction), and ``records`` may be empty while it moves.
    """

    topic: str
    partition: int
    records: list[LogRecord]
    position: int


class Committed(NamedTuple):
    """A committed offset and the metadata string that was committed with it."""

    offset: int
    metadata: str


class TopicInfo(NamedTuple):
    partitions: int
    topic_id: str  # changes when the topic is recreated
    append_time: bool  # message.timestamp.type = LogAppendTime
    compacted: bool
    max_message_bytes: int


class Source(Protocol):
    """Reads committed records of assigned partitions, in log order. One thread at a time."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Replaces the assignment; reading begins at the given offsets."""

    def add(self, positions: Mapping[TopicPartition, int]) -> None:
        """Partitions besides; of those that are assigned nothing changes, nothing is fetched again.

        Where one of them was assigned, it begins anew at its offset.
        """

    def remove(self, partitions: Collection[TopicPartition]) -> None:
        """No more of these; of the others nothing changes. None at all may be left."""

    def pause(self, partitions: Collection[TopicPartition]) -> None: ...

    def resume(self, partitions: Collection[TopicPartition]) -> None: ...

    def poll(self, timeout_s: float) -> list[Fetch]:
        """Waits at most ``timeout_s``; an offset that the log does not hold raises PositionLost."""

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The last stable offsets now (read_committed ends), never the high watermark."""

    def close(self) -> None: ...


class Sink(Protocol):
    """One transactional producer. Any error but Fenced leaves the outcome unknown: open() again.

    Every method may raise Fenced (a newer owner has opened the same id), Transient, or Refused
    (asked again, the broker would refuse again: an unknown topic, a record over the topic's
    limit). After an error only open() and close() are of use.
    """

    def prepare(self) -> None:
        """Connects, so that the first ``open`` takes less; nobody is fenced."""

    def open(self) -> int:
        """Finishes or aborts what was left of a transaction; returns the epoch.

        The first call of a sink fences older owners. Later calls continue the sink's own
        epoch: where a newer owner has opened the id meanwhile they raise Fenced, so going on
        after an error can never take a slot back.
        """

    def begin(self) -> None: ...

    def produce(self, records: Sequence[OutRecord]) -> None:
        """Hands over records; an error of theirs may surface only in a later call."""

    def flush(self) -> None:
        """Returns once every produced record is acknowledged; a lost one raises Transient."""

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Adds offsets to the transaction; metadata over 4,096 characters raises Refused."""

    def commit(self) -> None:
        """Flushes, then commits; with any record lost it does not commit but raises Transient.

        Once it returns the commit stands; other readers, and stable ends, may show it a moment
        later. ``Control.committed`` waits for it.
        """

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Control(Protocol):
    """Questions and orders that are not on the data path."""

    def committed(
        self, group: str, partitions: Collection[TopicPartition], wait: bool = True
    ) -> dict[TopicPartition, Committed | None]:
        """Committed offsets; waits while a transaction with offsets is pending (read_committed).

        ``wait`` False: only for as long as one of a living owner takes; then Transient.
        """

    def beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]: ...

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]: ...

    def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The high watermarks: behind every record, those of open transactions too."""

    def offsets_at(
        self, partitions: Collection[TopicPartition], time_us: int
    ) -> dict[TopicPartition, int]:
        """First offset with a log timestamp at or after the time; the stable end where none is."""

    def topics(self, names: Collection[str]) -> dict[str, TopicInfo | None]: ...

    def create_topic(
        self, name: str, partitions: int, replication: int | None, config: Mapping[str, str]
    ) -> None: ...

    def delete_topics(self, names: Collection[str]) -> None:
        """Asks for it; readers may see them for a while. One that is not there raises Refused."""

    def delete_group(self, group: str) -> None:
        """Forgets the committed offsets of a group that nobody uses any more."""

    def last_record(self, partition: TopicPartition) -> LogRecord | None:
        """The newest committed record of a partition, or None."""

    def close(self) -> None: ...


class Publisher(Protocol):
    """A plain idempotent producer, for ``motet publish`` and tests."""

    def send(self, record: OutRecord) -> None:
        """Hands over a record; bounded in memory; a failed earlier record raises Transient."""

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Connector(Protocol):
    """Builds the ports where they are used; itself a picklable value."""

    def source(self) -> Source: ...

    def sink(self, transactional_id: str, group: str) -> Sink:
        """A sink whose offsets belong to the consumer group ``group``."""

    def control(self) -> Control: ...

    def publisher(self) -> Publisher: ...
