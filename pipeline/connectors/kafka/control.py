"""Questions and orders that are not on the data path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, OffsetSpec

from pipeline import clock
from pipeline.connectors.kafka.clients import Clients
from pipeline.connectors.kafka.errors import reraise, translated
from pipeline.connectors.kafka.offsets import Offsets
from pipeline.connectors.kafka.source import KafkaSource
from pipeline.connectors.kafka.watchdog import Watchdog, close_within
from pipeline.connectors.limits import topic_exists, unknown_topics
from pipeline.errors import Refused, Transient
from pipeline.slot.ports import Committed, LogRecord, TopicInfo, TopicPartition

T = TypeVar("T")

_LIMIT_S = 30.0
_PENDING_S = 2.0  # many commits of a living owner; one that has died would be waited for 15 s
_TAIL_RECORDS = 16
_SETTINGS = ("message.timestamp.type", "cleanup.policy", "max.message.bytes")


class KafkaControl:
    """Makes each client when it is first needed; one thread at a time."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._offsets = Offsets(clients, _LIMIT_S)
        self._watchdog = Watchdog("kafka-control")
        self._admin: KafkaAdminClient | None = None
        self._groups: dict[str, KafkaConsumer] = {}
        self._reader: KafkaSource | None = None

    def committed(
        self, group: str, partitions: Collection[TopicPartition], wait: bool = True
    ) -> dict[TopicPartition, Committed | None]:
        asked = [KafkaPartition(*partition) for partition in partitions]
        what = f"committed offsets of {group}"
        limit_s = _LIMIT_S if wait else _PENDING_S
        try:
            found = self._watched(what, self._fetch_committed, group, asked, limit_s)
        except kafka_errors.KafkaTimeoutError as error:
            raise Transient(
                f"{what}: still pending in an open transaction, or no answer, after {limit_s:g} s"
            ) from error
        except Exception as error:
            reraise(error, translated(what, error))
        return {
            TopicPartition(*partition): Committed(
                found[partition].offset, found[partition].metadata
            )
            if partition in found
            else None
            for partition in asked
        }

    def _fetch_committed(
        self, group: str, asked: list[KafkaPartition], limit_s: float
    ) -> Mapping[KafkaPartition, Any]:
        """In one request, so that what one transaction has committed is seen whole.

        The public ``committed`` asks partition by partition. A read_committed consumer demands
        stable offsets: the client asks again until no transaction holds one of them.
        """
        if group not in self._groups:
            self._groups[group] = self._clients.consumer(group)
        found: Mapping[KafkaPartition, Any] = self._groups[
            group
        ]._coordinator.fetch_committed_offsets(asked, timeout_ms=limit_s * 1000)
        return found

    def beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return self._offsets.beginnings(partitions)

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return self._offsets.ends(partitions)

    def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        asked = {KafkaPartition(*partition): OffsetSpec.LATEST for partition in partitions}
        found = self._order("log end offsets", self._list, asked)
        return {TopicPartition(*partition): found[partition].offset for partition in asked}

    def _list(self, asked: Mapping[KafkaPartition, OffsetSpec]) -> dict[KafkaPartition, Any]:
        found: dict[KafkaPartition, Any] = self._administrator().list_partition_offsets(asked)
        return found

    def offsets_at(
        self, partitions: Collection[TopicPartition], time_us: int
    ) -> dict[TopicPartition, int]:
        return self._offsets.at(partitions, time_us)

    def topics(self, names: Collection[str]) -> dict[str, TopicInfo | None]:
        if not names:
            return {}
        found = self._order("topics", self._describe, list(names))
        return {name: found.get(name) for name in names}

    def _describe(self, names: list[str]) -> dict[str, TopicInfo]:
        admin = self._administrator()
        described = {}
        for topic in admin.describe_topics(names):
            error = kafka_errors.for_code(topic["error_code"])
            if error is kafka_errors.NoError:
                described[topic["name"]] = topic
            elif error is not kafka_errors.UnknownTopicOrPartitionError:
                raise error(f"topic {topic['name']}")
        if not described:
            return {}
        resources = [ConfigResource("topic", name, list(_SETTINGS)) for name in described]
        configs = admin.describe_configs(resources, config_filter="all")["topic"]
        return {name: _info(topic, configs.get(name, {})) for name, topic in described.items()}

    def create_topic(
        self, name: str, partitions: int, replication: int | None, config: Mapping[str, str]
    ) -> None:
        options = {
            "num_partitions": partitions,
            "replication_factor": -1 if replication is None else replication,
            "configs": dict(config),
        }
        self._order(f"creating topic {name}", self._create, name, options)

    def _create(self, name: str, options: Mapping[str, Any]) -> None:
        admin = self._administrator()
        [created] = admin.create_topics({name: options}, raise_errors=False)["topics"]
        error = kafka_errors.for_code(created["error_code"])
        if error is kafka_errors.TopicAlreadyExistsError:
            raise topic_exists(name)
        if error is not kafka_errors.NoError:
            raise error(created["error_message"])
        admin.wait_for_topics([name])

    def delete_topics(self, names: Collection[str]) -> None:
        self._order(f"deleting topics {', '.join(names)}", self._delete_topics, list(names))

    def _delete_topics(self, names: list[str]) -> None:
        answer = self._administrator().delete_topics(names, raise_errors=False)
        errors = {
            each["name"]: kafka_errors.for_code(each["error_code"]) for each in answer["topics"]
        }
        unknown = [n for n, e in errors.items() if e is kafka_errors.UnknownTopicOrPartitionError]
        if unknown:
            raise unknown_topics(unknown)
        for name, error in errors.items():
            if error is not kafka_errors.NoError:
                raise error(name)

    def delete_group(self, group: str) -> None:
        def ask() -> None:
            found = self._administrator().delete_groups([group])[group]
            if found != "OK":
                raise getattr(kafka_errors, found)(group)

        self._order(f"deleting group {group}", ask)

    def last_record(self, partition: TopicPartition) -> LogRecord | None:
        """Reads ever longer tails, since markers and aborted records may fill the newest one."""
        start = self.beginnings([partition])[partition]
        end = self.stable_ends([partition])[partition]
        tail = _TAIL_RECORDS
        while True:
            first = max(start, end - tail)
            found = self._last_between(partition, first, end) if first < end else None
            if found is not None or first == start:
                return found
            tail *= _TAIL_RECORDS

    def _last_between(self, partition: TopicPartition, first: int, end: int) -> LogRecord | None:
        if self._reader is None:
            self._reader = KafkaSource(self._clients)
        self._reader.assign({partition: first})
        until_us = clock.monotonic_us() + round(_LIMIT_S * 1e6)
        last = None
        position = first
        while position < end:
            if clock.monotonic_us() > until_us:
                raise Transient(
                    f"newest record of {partition.topic}-{partition.partition}: timeout"
                )
            for fetch in self._reader.poll(0.5):
                position = fetch.position
                last = next((r for r in reversed(fetch.records) if r.offset < end), last)
        return last

    def close(self) -> None:
        self._offsets.close()
        self._watchdog.close()
        if self._reader is not None:
            self._reader.close()
        for group, consumer in self._groups.items():
            close_within(5.0, f"kafka-{group}", consumer.close)
        if self._admin is not None:
            close_within(5.0, "kafka-admin", self._admin.close)
        self._groups, self._admin, self._reader = {}, None, None

    def _administrator(self) -> KafkaAdminClient:
        if self._admin is None:
            self._admin = self._clients.admin()
        return self._admin

    def _order(self, what: str, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return self._watched(what, call, *arguments)
        except Exception as error:
            reraise(error, translated(what, error))

    def _watched(self, what: str, call: Callable[..., T], *arguments: Any) -> T:
        limit_s = self._clients.reach_timeout_s + _LIMIT_S + 5
        return self._watchdog.call(limit_s, what, call, *arguments)


def _info(topic: Mapping[str, Any], config: Mapping[str, Mapping[str, Any]]) -> TopicInfo:
    missing = [name for name in _SETTINGS if name not in config]
    if missing:
        raise Refused(
            f"topic {topic['name']}: the broker does not show its settings "
            f"({', '.join(missing)}); grant DescribeConfigs on the topic to this user"
        )
    timestamps, cleanup, limit = (config[name]["value"] for name in _SETTINGS)
    return TopicInfo(
        partitions=len(topic["partitions"]),
        topic_id=str(topic["topic_id"]),
        append_time=timestamps == "LogAppendTime",
        compacted="compact" in cleanup,
        max_message_bytes=int(limit),
    )
