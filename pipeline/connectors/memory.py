"""The ports of ``pipeline.slot.ports`` on an in-memory broker."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline.connectors.limits import MESSAGE_BYTES_DEFAULT, position_lost
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.connectors.memory_sink import MemorySink, run_step
from pipeline.errors import Transient
from pipeline.slot.ports import (
    Committed,
    Fetch,
    LogRecord,
    OutRecord,
    TopicInfo,
    TopicPartition,
)

T = TypeVar("T")


@dataclass(frozen=True)
class MemoryConnector:
    """Ports on ``broker``. Not picklable: the broker lives in this process.

    ``pending_wait_s`` is how long ``Control.committed`` waits for a pending transaction before
    it raises Transient; 0 never waits, as a single-threaded simulation needs.
    """

    broker: MemoryBroker
    transaction_timeout_us: int = 15_000_000
    fetch_records: int = 2000
    fetch_bytes: int = 8 << 20
    pending_wait_s: float = 0.0

    def source(self) -> MemorySource:
        return MemorySource(self.broker, self.fetch_records, self.fetch_bytes)

    def sink(self, transactional_id: str, group: str) -> MemorySink:
        return MemorySink(self.broker, transactional_id, group, self.transaction_timeout_us)

    def control(self) -> MemoryControl:
        return MemoryControl(self.broker, self.pending_wait_s)

    def publisher(self) -> MemoryPublisher:
        return MemoryPublisher(self.broker)


class MemorySource:
    """Reads assigned partitions in turn, so that a busy one starves no other.

    Hook steps: ``poll`` and ``stable_ends``.
    """

    def __init__(self, broker: MemoryBroker, fetch_records: int, fetch_bytes: int) -> None:
        self._broker = broker
        self._fetch_records = fetch_records
        self._fetch_bytes = fetch_bytes
        self._positions: dict[TopicPartition, int] = {}  # in the order of the next reads
        self._paused: set[TopicPartition] = set()

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._positions = dict(positions)
        self._paused.clear()

    def add(self, positions: Mapping[TopicPartition, int]) -> None:
        self._paused -= positions.keys()
        self._positions |= positions

    def remove(self, partitions: Collection[TopicPartition]) -> None:
        for partition in self._assigned(partitions):
            del self._positions[partition]
        self._paused.difference_update(partitions)

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self._paused.update(self._assigned(partitions))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self._paused.difference_update(self._assigned(partitions))

    def poll(self, timeout_s: float) -> list[Fetch]:
        return run_step(self._broker, "poll", self, lambda: self._poll(timeout_s))

    def _poll(self, timeout_s: float) -> list[Fetch]:
        with self._broker.changed:
            fetches = self._read()
            if not fetches and timeout_s > 0:
                fetches = self._broker.changed.wait_for(self._read, timeout_s)
            return fetches

    def _read(self) -> list[Fetch]:
        fetches: list[Fetch] = []
        left = self._fetch_records
        for partition in list(self._positions):
            if left <= 0:
                break
            log = None if partition in self._paused else self._broker.find_log(partition)
            if log is None:
                continue
            position = self._positions[partition]
            if not log.start <= position <= log.end:
                raise position_lost(partition, position, log.start, log.end)
            records, after = log.read(position, left, self._fetch_bytes)
            if after == position:
                continue
            left -= len(records)
            fetches.append(Fetch(*partition, records, after))
            del self._positions[partition]
            self._positions[partition] = after
        return fetches

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return run_step(
            self._broker, "stable_ends", self, lambda: self._broker.stable_ends(partitions)
        )

    def close(self) -> None:
        self._positions.clear()

    def _assigned(self, partitions: Collection[TopicPartition]) -> Collection[TopicPartition]:
        for partition in partitions:
            if partition not in self._positions:
                raise KeyError(f"{partition} is not assigned")
        return partitions


class MemoryControl:
    """Questions to the broker.

    Hook steps: ``topics``, ``committed``, ``beginnings``, ``stable_ends``, ``last_record``.
    """

    def __init__(self, broker: MemoryBroker, pending_wait_s: float) -> None:
        self._broker = broker
        self._pending_wait_s = pending_wait_s

    def committed(
        self, group: str, partitions: Collection[TopicPartition], wait: bool = True
    ) -> dict[TopicPartition, Committed | None]:
        return run_step(self._broker, "committed", self, lambda: self._committed(group, partitions))

    def _committed(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        pending: list[Transient] = []

        def answer() -> dict[TopicPartition, Committed | None] | None:
            try:
                return {p: self._broker.committed(group, p) for p in partitions}
            except Transient as error:
                pending.append(error)
                return None

        with self._broker.changed:
            found = answer()
            if found is None and self._pending_wait_s > 0:
                found = self._broker.changed.wait_for(answer, self._pending_wait_s)
            if found is None:
                raise pending[-1]
            return found

    def beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return run_step(
            self._broker, "beginnings", self, lambda: self._broker.beginnings(partitions)
        )

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return run_step(
            self._broker, "stable_ends", self, lambda: self._broker.stable_ends(partitions)
        )

    def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        with self._broker.changed:
            return {p: self._broker.log(p).end for p in partitions}

    def offsets_at(
        self, partitions: Collection[TopicPartition], time_us: int
    ) -> dict[TopicPartition, int]:
        with self._broker.changed:
            return {p: self._broker.log(p).offset_at(time_us) for p in partitions}

    def topics(self, names: Collection[str]) -> dict[str, TopicInfo | None]:
        return run_step(self._broker, "topics", self, lambda: self._broker.infos(names))

    def create_topic(
        self, name: str, partitions: int, replication: int | None, config: Mapping[str, str]
    ) -> None:
        retention = int(config.get("retention.bytes", "-1"))
        self._broker.create_topic(
            name,
            partitions,
            append_time=config.get("message.timestamp.type") == "LogAppendTime",
            compacted="compact" in config.get("cleanup.policy", "delete"),
            max_message_bytes=int(config.get("max.message.bytes", MESSAGE_BYTES_DEFAULT)),
            retention_bytes=retention if retention >= 0 else None,
        )

    def delete_topics(self, names: Collection[str]) -> None:
        for name in names:
            self._broker.delete_topic(name)

    def delete_group(self, group: str) -> None:
        self._broker.delete_group(group)

    def last_record(self, partition: TopicPartition) -> LogRecord | None:
        return run_step(self._broker, "last_record", self, lambda: self._broker.last(partition))

    def close(self) -> None: ...


class MemoryPublisher:
    """Appends at once: what was sent is there."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def send(self, record: OutRecord) -> None:
        self._broker.append(record)

    def flush(self) -> None: ...

    def close(self) -> None: ...
