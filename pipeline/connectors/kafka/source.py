"""Reads committed records of assigned partitions."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.util import Timer

from pipeline import clock
from pipeline.connectors.kafka.clients import Clients
from pipeline.connectors.kafka.errors import reraise, translated
from pipeline.connectors.kafka.offsets import Offsets
from pipeline.connectors.kafka.records import read_log_records
from pipeline.connectors.kafka.watchdog import close_within
from pipeline.connectors.limits import position_lost
from pipeline.errors import MotetError, PositionLost, Transient, Unreachable
from pipeline.slot.ports import Fetch, LogRecord, TopicPartition

_ENDS_LIMIT_S = 5.0  # an unknown end counts as behind: better late than a reader that stands


class KafkaSource:
    """A consumer that is assigned, never subscribed, and never resets an offset by itself.

    ``poll`` waits inside the client without a bound where the client's own thread is stuck
    (facts: 6.4), so a host watches its reading thread from another one. ``stable_ends`` has a
    connection of its own and may be called from another thread.
    """

    def __init__(self, clients: Clients) -> None:
        self._consumer = clients.consumer()
        read_log_records(self._consumer)
        self._offsets = Offsets(clients, _ENDS_LIMIT_S)
        self._positions: dict[KafkaPartition, int] = {}
        self._nothing = threading.Event()  # never set: waited for where nothing is assigned

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        wanted = {KafkaPartition(*partition): at for partition, at in positions.items()}
        self._consumer.assign(list(wanted))
        for partition, position in wanted.items():
            self._consumer.seek(partition, position)
        self._consumer.resume(*wanted)  # the client keeps the pause of a partition that stays
        self._positions = wanted

    def add(self, positions: Mapping[TopicPartition, int]) -> None:
        wanted = {KafkaPartition(*partition): at for partition, at in positions.items()}
        self._consumer.assign([*self._positions, *wanted])  # of those that stay it keeps all
        for partition, position in wanted.items():
            self._consumer.seek(partition, position)
        self._consumer.resume(*wanted)
        self._positions |= wanted

    def remove(self, partitions: Collection[TopicPartition]) -> None:
        for partition in self._assigned(partitions):
            del self._positions[partition]
        self._consumer.assign(list(self._positions))

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self._consumer.pause(*self._assigned(partitions))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self._consumer.resume(*self._assigned(partitions))

    def poll(self, timeout_s: float) -> list[Fetch]:
        if not self._positions:  # the client refuses to be polled
            self._nothing.wait(timeout_s)
            return []
        until_us = clock.monotonic_us() + round(timeout_s * 1e6)
        while True:
            left_us = max(0, until_us - clock.monotonic_us())
            fetches = self._fetches(self._poll_client(left_us / 1000))
            if fetches or left_us == 0:
                return fetches

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        try:
            return self._offsets.ends(partitions)
        except Unreachable as away:  # its connection of its own; the broker has answered before
            raise Transient(str(away)) from away

    def close(self) -> None:
        self._offsets.close()
        close_within(5.0, "kafka-source", self._consumer.close)

    def _poll_client(self, timeout_ms: float) -> dict[KafkaPartition, list[LogRecord]]:
        """One round of the client's poll, which itself goes on until there are records.

        A round ends with every answer of a broker, so that positions which pass markers alone
        are seen at once.
        """
        consumer = self._consumer
        fetcher = consumer._fetcher
        if not fetcher._next_partition_records:
            # What was set aside at a pause comes back only where this is None; the client leaves
            # the fetch there that it has emptied, and fetches nothing that it has set aside.
            fetcher._next_partition_records = None
        try:
            polled: dict[KafkaPartition, list[LogRecord]] = consumer._poll_once(
                Timer(timeout_ms), consumer.config["max_poll_records"]
            )
            return polled
        except kafka_errors.OffsetOutOfRangeError as error:
            raise self._lost(*next(iter(error.args[0].items()))) from error
        except kafka_errors.LogTruncationError as error:
            partition = next(iter(error.divergent_offsets))
            raise self._lost(partition, self._positions.get(partition, -1)) from error
        except Exception as error:
            reraise(error, translated("reading", error))

    def _fetches(self, polled: dict[KafkaPartition, list[LogRecord]]) -> list[Fetch]:
        """One for each partition whose position has moved, with the records that moved it."""
        states = self._consumer._subscription.assignment
        fetches = []
        for partition, before in self._positions.items():
            position = states[partition].position.offset
            if position == before:
                continue
            self._positions[partition] = position
            topic, number = partition
            fetches.append(Fetch(topic, number, polled.get(partition, []), position))
        return fetches

    def _lost(self, partition: KafkaPartition, position: int) -> PositionLost:
        one = TopicPartition(*partition)
        try:
            start = self._offsets.beginnings([one])[one]
            end = self._offsets.ends([one])[one]
        except MotetError:
            return position_lost(one, position, None, None)
        return position_lost(one, position, start, end)

    def _assigned(self, partitions: Collection[TopicPartition]) -> list[KafkaPartition]:
        asked = [KafkaPartition(*partition) for partition in partitions]
        for partition in asked:
            if partition not in self._positions:
                raise KeyError(f"{partition} is not assigned")
        return asked
