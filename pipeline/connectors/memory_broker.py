"""An in-memory broker with Kafka's transactions: for tests, simulation and one-process demos.

What it does is what a read_committed client sees of Kafka (facts: KIP-98, KIP-360, KIP-447,
KIP-588): markers take an offset, opening an id bumps its epoch and aborts what was open, a
transaction older than its timeout is aborted. It never waits, draws no random numbers and
asks only the clock that it is given, so a seed decides everything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline import clock as process_clock
from pipeline.connectors.limits import (
    MESSAGE_BYTES_DEFAULT,
    check_metadata,
    check_size,
    fenced,
    topic_exists,
    unknown_topics,
)
from pipeline.connectors.memory_log import PartitionLog
from pipeline.errors import Refused, Transient
from pipeline.slot.ports import Committed, LogRecord, OutRecord, TopicInfo, TopicPartition

Hook = Callable[[str, object], None]


@dataclass
class _Topic:
    info: TopicInfo
    logs: list[PartitionLog]


@dataclass
class _Transaction:
    """What an open transaction has touched: appended offsets by log, offsets by group."""

    started_us: int
    timeout_us: int
    appended: dict[PartitionLog, set[int]] = field(default_factory=dict)
    offsets: dict[tuple[str, TopicPartition], Committed] = field(default_factory=dict)


@dataclass
class _Producer:
    """A transactional id. ``last_epoch`` is the epoch whose owner may still go on (KIP-360)."""

    epoch: int = -1
    last_epoch: int | None = None
    timeout_us: int = 0
    transaction: _Transaction | None = None


class MemoryBroker:
    """Topics, transactional ids and groups; every method is atomic and may be called by threads.

    ``hook(step, port)`` is called before and after each effect of the ports (``commit``,
    ``commit-reply``: see the ports); what it raises, the port raises.
    ``changed`` is notified whenever readers could see more.
    """

    def __init__(
        self, clock: Callable[[], int] = process_clock.wall_us, hook: Hook | None = None
    ) -> None:
        self.clock = clock
        self.hook = hook
        self.changed = threading.Condition(threading.RLock())
        self._topics: dict[str, _Topic] = {}
        self._topics_made = 0
        self._producers: dict[str, _Producer] = {}
        self._groups: dict[tuple[str, TopicPartition], Committed] = {}

    # topics

    def create_topic(
        self,
        name: str,
        partitions: int,
        *,
        append_time: bool = False,
        compacted: bool = False,
        max_message_bytes: int = MESSAGE_BYTES_DEFAULT,
        retention_bytes: int | None = None,
    ) -> None:
        with self.changed:
            if name in self._topics:
                raise topic_exists(name)
            self._topics_made += 1
            info = TopicInfo(
                partitions, f"memory-{self._topics_made}", append_time, compacted, max_message_bytes
            )
            logs = [PartitionLog(name, p, retention_bytes) for p in range(partitions)]
            self._topics[name] = _Topic(info, logs)

    def delete_topic(self, name: str) -> None:
        """Forgets the topic; offsets that groups have committed for it stay, as in Kafka."""
        with self.changed:
            self._topic(name)
            del self._topics[name]

    def info(self, name: str) -> TopicInfo | None:
        with self.changed:
            topic = self._topics.get(name)
            return topic.info if topic else None

    def infos(self, names: Iterable[str]) -> dict[str, TopicInfo | None]:
        return {name: self.info(name) for name in names}

    def beginnings(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        with self.changed:
            return {p: self.log(p).start for p in partitions}

    def stable_ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        with self.changed:
            return {p: self.log(p).stable_end for p in partitions}

    def log(self, partition: TopicPartition) -> PartitionLog:
        """The log of a partition; hold ``changed`` while using it where threads are at work."""
        with self.changed:
            self._expire()
            logs = self._topic(partition.topic).logs
            if not 0 <= partition.partition < len(logs):
                raise unknown_topics([f"{partition.topic}-{partition.partition}"])
            return logs[partition.partition]

    def find_log(self, partition: TopicPartition) -> PartitionLog | None:
        """The same, or None."""
        try:
            return self.log(partition)
        except Refused:
            return None

    def skip(self, partition: TopicPartition, count: int) -> None:
        """Leaves a gap of ``count`` offsets at the end of a log, as compaction does."""
        with self.changed:
            self.log(partition).skip(count)
            self.changed.notify_all()

    def truncate(self, partition: TopicPartition, offset: int) -> None:
        """Raises the log start, as retention does."""
        with self.changed:
            self.log(partition).truncate(offset)

    # records

    def append(self, record: OutRecord) -> None:
        """Appends one record outside of any transaction."""
        with self.changed:
            self._append(record, None)
            self.changed.notify_all()

    def _append(self, record: OutRecord, transaction: str | None) -> tuple[PartitionLog, int]:
        topic = self._topic(record.topic)
        if not 0 <= record.partition < len(topic.logs):
            raise unknown_topics([f"{record.topic}-{record.partition}"])
        check_size(record, topic.info.max_message_bytes)
        at_us = record.timestamp_us
        if at_us is None or topic.info.append_time:
            at_us = self.clock()
        log = topic.logs[record.partition]
        return log, log.append(record, at_us // 1000 * 1000, transaction)

    def last(self, partition: TopicPartition) -> LogRecord | None:
        with self.changed:
            return self.log(partition).last()

    # transactions

    def open(self, transactional_id: str, timeout_us: int, expected_epoch: int | None) -> int:
        """A new epoch; with ``expected_epoch`` only where nobody else has opened the id since."""
        with self.changed:
            self._expire()
            producer = self._producers.setdefault(transactional_id, _Producer())
            if expected_epoch is not None:
                if expected_epoch not in (producer.epoch, producer.last_epoch):
                    raise fenced(transactional_id)
                producer.last_epoch = expected_epoch
            else:
                producer.last_epoch = None
            self._end(transactional_id, producer, commit=False)
            producer.epoch += 1
            producer.timeout_us = timeout_us
            return producer.epoch

    def produce(self, transactional_id: str, epoch: int, records: Iterable[OutRecord]) -> None:
        with self.changed:
            transaction = self._ongoing(transactional_id, epoch)
            for record in records:
                log, offset = self._append(record, transactional_id)
                transaction.appended.setdefault(log, set()).add(offset)

    def add_offsets(
        self,
        transactional_id: str,
        epoch: int,
        group: str,
        offsets: Mapping[TopicPartition, Committed],
    ) -> None:
        check_metadata(offsets)
        with self.changed:
            transaction = self._ongoing(transactional_id, epoch)
            for partition, committed in offsets.items():
                transaction.offsets[group, partition] = committed

    def end(self, transactional_id: str, epoch: int, commit: bool) -> None:
        """Commits or aborts; nothing happens where the transaction has touched nothing."""
        with self.changed:
            self._end(transactional_id, self._owned(transactional_id, epoch), commit)

    def check(self, transactional_id: str, epoch: int) -> None:
        """Raises Fenced or Transient where that epoch no longer owns the id."""
        with self.changed:
            self._owned(transactional_id, epoch)

    def interrupt(self, transactional_id: str, epoch: int, new_epoch: bool) -> None:
        """Ends the transaction of that epoch by itself, as a broker may at any time.

        ``new_epoch``: as after a timeout, the id has another epoch then, and its owner must open
        it again. Nothing happens where the epoch is not the newest.
        """
        with self.changed:
            self._expire()
            producer = self._producers[transactional_id]
            if epoch == producer.epoch:
                self._give_up(transactional_id, producer, new_epoch)

    # groups

    def committed(self, group: str, partition: TopicPartition) -> Committed | None:
        """Raises Transient while a transaction with an offset for it is open."""
        with self.changed:
            self._expire()
            key = (group, partition)
            for name, producer in self._producers.items():
                if producer.transaction and key in producer.transaction.offsets:
                    raise Transient(
                        f"offsets of {partition.topic}-{partition.partition} are pending in a "
                        f"transaction of {name}; ask again when it has ended"
                    )
            return self._groups.get(key)

    def delete_group(self, group: str) -> None:
        with self.changed:
            for key in [key for key in self._groups if key[0] == group]:
                del self._groups[key]

    def set_committed(self, group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
        """What an operator's tool does: commits outside of any transaction; None drops."""
        with self.changed:
            for partition, committed in offsets.items():
                if committed is None:
                    self._groups.pop((group, partition), None)
                else:
                    self._groups[group, partition] = committed

    # inside

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise unknown_topics([name])
        return topic

    def _owned(self, transactional_id: str, epoch: int) -> _Producer:
        self._expire()
        producer = self._producers[transactional_id]
        if epoch == producer.epoch:
            return producer
        if epoch == producer.last_epoch:
            raise Transient(
                f"transactional id {transactional_id}: the broker ended a transaction that "
                "took longer than its timeout; open again"
            )
        raise fenced(transactional_id)

    def _ongoing(self, transactional_id: str, epoch: int) -> _Transaction:
        producer = self._owned(transactional_id, epoch)
        if producer.transaction is None:
            producer.transaction = _Transaction(self.clock(), producer.timeout_us)
        return producer.transaction

    def _end(self, transactional_id: str, producer: _Producer, commit: bool) -> None:
        transaction, producer.transaction = producer.transaction, None
        if transaction is None:
            return
        for log, appended in transaction.appended.items():
            log.end_transaction(transactional_id, set() if commit else appended)
        if commit:
            self._groups.update(transaction.offsets)
        self.changed.notify_all()

    def _expire(self) -> None:
        """Aborts transactions that are older than their timeout; their owner may open again."""
        now_us: int | None = None
        for name, producer in self._producers.items():
            transaction = producer.transaction
            if transaction is None:
                continue
            now_us = self.clock() if now_us is None else now_us
            if now_us - transaction.started_us > transaction.timeout_us:
                self._give_up(name, producer, new_epoch=True)

    def _give_up(self, name: str, producer: _Producer, new_epoch: bool) -> None:
        self._end(name, producer, commit=False)
        if new_epoch:
            producer.last_epoch, producer.epoch = producer.epoch, producer.epoch + 1
