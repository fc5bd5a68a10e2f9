"""Builds kafka-python's clients with the settings that exactly-once and media need."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors

from pipeline import clock
from pipeline.connectors.kafka.errors import reraise, translated
from pipeline.connectors.kafka.first_contact import NetClient, check_settings_fit, refused
from pipeline.connectors.kafka.receiving import BareSelector
from pipeline.connectors.kafka.sending import AROUND_BYTES, Ack, append, send_at_once, tail
from pipeline.connectors.limits import unknown_topics
from pipeline.errors import InvalidInput, MotetError, Problem, Refused, Unreachable
from pipeline.slot.ports import OutRecord

# Exactly-once, the order of records and the one place that decides about partitions rest on
# these: they are not the user's to set.
_OWNED = frozenset(
    {
        "acks",
        "allow_auto_create_topics",
        "auto_offset_reset",
        "bootstrap_servers",
        "bootstrap_timeout_ms",
        "check_crcs",
        "enable_auto_commit",
        "enable_idempotence",
        "group_id",
        "group_instance_id",
        "isolation_level",
        "kafka_client",
        "key_deserializer",
        "key_serializer",
        "partition_assignment_strategy",
        "partitioner",
        "retries",
        "transactional_id",
        "value_deserializer",
        "value_serializer",
    }
)
_CODEC_PACKAGES = {"lz4": "lz4", "snappy": "python-snappy", "zstd": "zstandard"}
_SHARED = {
    # the client's 30 s would leave a slot deaf for half a minute after a broker's restart
    "reconnect_backoff_max_ms": 1000,
    "metrics_enabled": False,
    "selector": BareSelector,
}
_CONSUMER = {
    "max_partition_fetch_bytes": 8 << 20,
    "fetch_max_bytes": 64 << 20,
    "fetch_min_bytes": 1,
    # one fetch is in flight a broker: a partition that is resumed or newly assigned waits for it
    "fetch_max_wait_ms": 100,
    "max_poll_records": 256,  # what one step of a loop works through while encoders wait
    "retry_backoff_ms": 20,
}
_PRODUCER = {
    # a partition has one batch in flight, so a batch a round trip is an output's throughput
    "batch_size": 1 << 20,
    "linger_ms": 5,
    "max_request_size": 64 << 20,  # the topic's own limit decides, see max.message.bytes
    "retry_backoff_ms": 10,  # what the client waits for a transaction's markers
}
_TRANSACTIONAL = {
    "transaction_timeout_ms": 15_000,
    "delivery_timeout_ms": 10_000,
    "request_timeout_ms": 5_000,
}

_TOPIC_LIMIT_MS = 2_000

send_at_once()


class Producer(KafkaProducer):  # type: ignore[misc]
    """A KafkaProducer that may be thrown away.

    The stock one, when collected, replaces the logger of its module in the whole process, and
    raises from its destructor where records are left.
    """

    def demand_partition(self, topic: str, partition: int) -> frozenset[int]:
        """The partitions of a topic that has ``partition``, else Refused.

        The stock client waits 60 s for a topic that is not there.
        """
        asked_ms = clock.monotonic_us() / 1000
        try:
            numbers = frozenset(self._wait_on_metadata(topic, _TOPIC_LIMIT_MS))
        except kafka_errors.KafkaTimeoutError:
            if self._metadata._last_successful_refresh_ms < asked_ms:
                raise  # the broker did not answer, so nothing is known about the topic
            raise unknown_topics([topic]) from None
        if partition not in numbers:
            raise unknown_topics([f"{topic}-{partition}"])
        return numbers

    def send_to(self, topic: str, partition: int, records: Sequence[OutRecord]) -> list[Ack]:
        """As ``send`` of each, which all are for this partition; what stands for their futures.

        What the stock client asks anew of every record, the transaction and the topic, it is
        asked once here.
        """
        if self._closed:
            raise kafka_errors.IllegalStateError("the producer is closed")
        if self._metadata.partitions_for_topic(topic) is None:  # known to a producer before it
            self._wait_on_metadata(topic, self.config["max_block_ms"])
        where = KafkaPartition(topic, partition)
        self._transaction_manager.maybe_add_partition_to_transaction(where)
        now_ms = clock.wall_us() // 1000
        timed = [
            (now_ms if record.timestamp_us is None else record.timestamp_us // 1000, tail(record))
            for record in records
        ]
        longest = max((len(written) for _, written in timed), default=0)
        self._ensure_valid_record_size(AROUND_BYTES + longest)
        acks, to_wake = append(self._accumulator, where, timed)
        if to_wake:
            self._sender.wakeup()
        return acks

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        try:
            super().close(timeout=timeout)
        except kafka_errors.KafkaTimeoutError:
            self._closed = True


def settle(producer: Producer, futures: Sequence[Any], limit_s: float) -> None:
    """Sends what is buffered and waits until every future is done, or the limit has passed."""
    until_us = clock.monotonic_us() + round(limit_s * 1e6)
    with suppress(kafka_errors.KafkaError):  # the futures tell
        producer.flush(limit_s)
    for future in futures:
        if not future.is_done:
            with suppress(kafka_errors.KafkaError):
                future.get(max(0.0, (until_us - clock.monotonic_us()) / 1e6))


class _NoSecrets(logging.Filter):
    """Keeps the admin client from writing its whole configuration, passwords too, to its log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Starting KafkaAdminClient with configuration")


logging.getLogger("kafka.admin.client").addFilter(_NoSecrets())


def setting_names() -> frozenset[str]:
    """The settings of kafka-python that ``kafka.client`` may hold."""
    names: set[str] = set()
    for client in (KafkaConsumer, KafkaProducer, KafkaAdminClient):
        names.update(client.DEFAULT_CONFIG)
    return frozenset(names - _OWNED)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises InvalidInput with every setting that is not one, or not the user's; shows no value."""
    known = setting_names()
    problems = [
        Problem(
            f"kafka.client.{name}",
            "",
            "motet sets it itself" if name in _OWNED else "kafka-python has no such setting",
            "leave it out" if name in _OWNED else "correct the name",
        )
        for name in settings
        if name not in known
    ]
    if problems:
        raise InvalidInput(*problems)


@dataclass(frozen=True)
class Clients:
    """Makes clients of one cluster; ``settings`` (secrets among them) show in no repr."""

    bootstrap: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reach_timeout_s: float = 30.0

    def consumer(self, group: str | None = None) -> KafkaConsumer:
        """A consumer that reads committed records of partitions that it is assigned."""
        owned = {
            "group_id": group,
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "auto_offset_reset": "none",
            "allow_auto_create_topics": False,
            "check_crcs": True,
        }
        return self._make(KafkaConsumer, _CONSUMER, owned)

    def transactional_producer(self, transactional_id: str) -> Producer:
        owned = {
            "transactional_id": transactional_id,
            "acks": "all",
            "allow_auto_create_topics": False,
        }
        producer: Producer = self._make(Producer, {**_PRODUCER, **_TRANSACTIONAL}, owned)
        version = producer.config["api_version"]
        if version < (2, 7):
            # older ones let a fenced producer fence its successor back
            producer.close(timeout=0)
            shown = ".".join(str(part) for part in version)
            raise Refused(f"Kafka at {self.bootstrap} is version {shown}: motet needs 2.7 or newer")
        return producer

    def producer(self) -> Producer:
        """A plain idempotent producer."""
        owned = {"acks": "all", "enable_idempotence": True, "allow_auto_create_topics": False}
        defaults = {**_PRODUCER, "delivery_timeout_ms": 60_000}
        producer: Producer = self._make(Producer, defaults, owned)
        return producer

    def admin(self, request_timeout_ms: int = 30_000) -> KafkaAdminClient:
        return self._make(KafkaAdminClient, {"request_timeout_ms": request_timeout_ms}, {})

    def _make(self, kind: Any, defaults: Mapping[str, Any], owned: Mapping[str, Any]) -> Any:
        check_settings(self.settings)
        check_settings_fit(self.settings)
        if importlib.util.find_spec("crc32c") is None:
            raise InvalidInput(
                "crc32c is not installed: without it every Kafka client is limited to about "
                "11 MB/s; install it (pip install crc32c)"
            )
        config = {**_SHARED, **defaults, **self.settings}
        config = {name: value for name, value in config.items() if name in kind.DEFAULT_CONFIG}
        made: list[NetClient] = []

        def net_client(**net_config: Any) -> NetClient:
            # what a consumer of ours asks is answered at once; a topic may take its time
            made.append(NetClient(kind is KafkaConsumer, **net_config))
            return made[-1]

        try:
            return kind(
                **config,
                **owned,
                bootstrap_servers=self.bootstrap,
                bootstrap_timeout_ms=round(self.reach_timeout_s * 1000),
                kafka_client=net_client,
            )
        except Exception as error:
            for client in made:  # a client that failed in its constructor would leave its thread
                client.close()
            told = [refused(client, self.bootstrap, self.settings) for client in made]
            reraise(error, next(filter(None, told), None) or self._not_made(error))

    def _not_made(self, error: Exception) -> MotetError:
        if isinstance(error, kafka_errors.RetriableError):
            return Unreachable(
                f"Kafka at {self.bootstrap} did not answer within {self.reach_timeout_s:g} s; "
                "start it (motet kafka start), or correct kafka.bootstrap (is it a Kafka's port?)"
            )
        if isinstance(error, RuntimeError) and "compression codec" in str(error):
            wanted = str(self.settings.get("compression_type"))
            package = _CODEC_PACKAGES.get(wanted, wanted)
            remedy = f"install it here (pip install {package}), or write gzip, which needs none"
            why = "the package that compresses so is missing"
            return InvalidInput(Problem("kafka.client.compression_type", wanted, why, remedy))
        if isinstance(error, kafka_errors.KafkaConfigurationError | ValueError | AssertionError):
            return InvalidInput(Problem("kafka.client", "", str(error), "correct the setting"))
        return translated(f"Kafka at {self.bootstrap}", error)
