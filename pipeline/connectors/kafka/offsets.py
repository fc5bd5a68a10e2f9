"""Where logs begin and end: ListOffsets, on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors

from pipeline import clock
from pipeline.connectors.kafka.clients import Clients
from pipeline.connectors.kafka.errors import reraise, translated
from pipeline.connectors.kafka.watchdog import Watchdog, close_within
from pipeline.connectors.limits import unknown_topics
from pipeline.errors import Transient
from pipeline.slot.ports import TopicPartition

_ATTEMPT_S = 2.0
Ask = Callable[[list[KafkaPartition], float], dict[KafkaPartition, int]]


class Offsets:
    """Answers are those of a read_committed reader: the end is the last stable offset.

    A broker answers the requests of one connection in order; on a reader's connection every
    question would wait behind a fetch that waits for data.
    """

    def __init__(self, clients: Clients, limit_s: float) -> None:
        self._clients = clients
        self._limit_s = limit_s
        self._consumer: KafkaConsumer | None = None
        self._watchdog = Watchdog("kafka-offsets")

    def beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return self._list("log start offsets", partitions, self._beginnings)

    def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return self._list("stable end offsets", partitions, self._ends)

    def at(self, partitions: Collection[TopicPartition], time_us: int) -> dict[TopicPartition, int]:
        """First stable offset with a timestamp at or after the time, else the stable end."""
        time_ms = max(0, -(-time_us // 1000))  # Kafka keeps milliseconds

        def ask(asked: list[KafkaPartition], timeout_ms: float) -> dict[KafkaPartition, int]:
            # the ends first: a record that is committed in between must not be passed over
            found = self._ends(asked, timeout_ms)
            for partition in asked:
                # one at a time: of several the client answers None for those whose leader it
                # does not know yet, which is the same as "no later record"
                times = self._reader().offsets_for_times({partition: time_ms}, timeout_ms)
                if times[partition] is not None:
                    found[partition] = times[partition].offset
            return found

        return self._list("offsets by time", partitions, ask)

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._watchdog.close()
        if consumer is not None:
            close_within(5.0, "kafka-offsets", consumer.close)

    def _reader(self) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = self._clients.consumer()
            _follow_leaders(self._consumer)
        return self._consumer

    def _beginnings(
        self, asked: list[KafkaPartition], timeout_ms: float
    ) -> dict[KafkaPartition, int]:
        found: dict[KafkaPartition, int] = self._reader().beginning_offsets(asked, timeout_ms)
        return found

    def _ends(self, asked: list[KafkaPartition], timeout_ms: float) -> dict[KafkaPartition, int]:
        found: dict[KafkaPartition, int] = self._reader().end_offsets(asked, timeout_ms)
        return found

    def _list(
        self, what: str, partitions: Collection[TopicPartition], ask: Ask
    ) -> dict[TopicPartition, int]:
        """Asks until there is an answer, the limit has passed, or a topic proves unknown."""
        if not partitions:
            return {}
        self._watchdog.call(self._clients.reach_timeout_s + 5, what, self._reader)
        asked = [KafkaPartition(*partition) for partition in partitions]
        began_us = clock.monotonic_us()
        until_us = began_us + round(self._limit_s * 1e6)
        while True:
            left_s = (until_us - clock.monotonic_us()) / 1e6
            timeout_s = max(0.1, min(_ATTEMPT_S, left_s))
            try:
                found = self._watchdog.call(
                    self._limit_s + 5, what, self._ask, ask, asked, timeout_s * 1000
                )
                return {TopicPartition(*partition): found[partition] for partition in asked}
            except kafka_errors.KafkaTimeoutError as error:
                self._demand_known(asked, began_us)
                if left_s <= timeout_s:
                    raise Transient(f"{what}: the broker gave none in time") from error
            except Exception as error:
                reraise(error, translated(what, error))

    @staticmethod
    def _ask(ask: Ask, asked: list[KafkaPartition], timeout_ms: float) -> dict[KafkaPartition, int]:
        try:
            return ask(asked, timeout_ms)
        except KeyError:
            # the client leaves out partitions whose leader it does not know yet; alone, each
            # of them is waited for
            return {one: ask([one], timeout_ms)[one] for one in asked}

    def _demand_known(self, asked: list[KafkaPartition], since_us: int) -> None:
        """Raises Refused for what a broker has not known since then."""
        cluster = self._reader()._cluster
        unknown = []
        for partition in asked:
            numbers = cluster.partitions_for_topic(partition.topic)
            if numbers is None:
                unknown.append(partition.topic)
            elif partition.partition not in numbers:
                unknown.append(f"{partition.topic}-{partition.partition}")
        if unknown and cluster._last_successful_refresh_ms > since_us / 1000:
            raise unknown_topics(sorted(set(unknown)))


def _follow_leaders(consumer: KafkaConsumer) -> None:
    """Lets the client look for a partition's leader where a broker says that it is none.

    The client (3.0) asks the same broker again and again, without a pause, until it looks by
    itself: five minutes at most. A leader moves so, both brokers alive, at the end of every restart
    (auto.leader.rebalance.enable), and no window could close meanwhile.
    """
    fetcher = consumer._fetcher
    read = fetcher._handle_list_offsets_response

    def read_or_look(response: Any) -> tuple[dict[KafkaPartition, Any], set[KafkaPartition]]:
        found, elsewhere = read(response)
        if elsewhere:
            raise kafka_errors.NotLeaderForPartitionError(f"of {sorted(elsewhere)}")
        return found, elsewhere

    fetcher._handle_list_offsets_response = read_or_look
