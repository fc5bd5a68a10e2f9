"""A plain idempotent producer that is bounded in memory."""

from __future__ import annotations

from collections import deque
from typing import Any

from kafka import errors as kafka_errors

from pipeline.connectors.kafka.clients import Clients, Producer, settle
from pipeline.connectors.kafka.errors import is_too_large, largest_error, reraise, translated
from pipeline.connectors.limits import batch_bytes
from pipeline.errors import MotetError
from pipeline.slot.ports import OutRecord

_IN_FLIGHT_BYTES_MAX = 32 << 20
_CLOSE_LIMIT_S = 5.0


class KafkaPublisher:
    """At most 32 MiB are on their way: ``send`` waits for the oldest record before it takes more.

    The client itself would buffer without a bound. One refused record makes its producer
    useless for good, and takes along what was in flight: the error says so by being raised,
    and the next ``send`` makes another producer.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._producer: Producer | None = clients.producer()
        self._delivery_s = self._producer.config["delivery_timeout_ms"] / 1000 + 1
        self._in_flight: deque[tuple[OutRecord, int, Any]] = deque()
        self._in_flight_bytes = 0
        self._partitions: dict[str, frozenset[int]] = {}

    def send(self, record: OutRecord) -> None:
        size = batch_bytes(record)
        try:
            while self._in_flight and (
                self._in_flight[0][2].is_done or self._in_flight_bytes + size > _IN_FLIGHT_BYTES_MAX
            ):
                self._settle_oldest()
            future = self._hand_over(record)
        except BaseException as error:
            reraise(error, self._failed(error, record))
        self._in_flight.append((record, size, future))
        self._in_flight_bytes += size

    def flush(self) -> None:
        try:
            if self._producer is not None and self._in_flight:
                settle(self._producer, [f for _, _, f in self._in_flight], self._delivery_s)
            while self._in_flight:
                self._settle_oldest()
        except BaseException as error:
            reraise(error, self._failed(error))

    def close(self) -> None:
        """Closes without waiting for records: ``flush`` first where they matter."""
        producer, self._producer = self._producer, None
        self._in_flight.clear()
        self._in_flight_bytes = 0
        if producer is not None:
            producer._sender.force_close()
            producer.close(timeout=_CLOSE_LIMIT_S)

    def _hand_over(self, record: OutRecord) -> Any:
        if self._producer is None:
            self._producer = self._clients.producer()
        if record.partition not in self._partitions.get(record.topic, ()):
            known = self._producer.demand_partition(record.topic, record.partition)
            self._partitions[record.topic] = known
        at_us = record.timestamp_us
        return self._producer.send(
            record.topic,
            record.value,
            record.key,
            # the client takes no header without a value: an empty one is nearest to it
            [(name, value or b"") for name, value in record.headers],
            record.partition,
            None if at_us is None else at_us // 1000,
        )

    def _settle_oldest(self) -> None:
        _, size, future = self._in_flight[0]
        future.get(self._delivery_s)
        self._in_flight.popleft()
        self._in_flight_bytes -= size

    def _failed(self, error: BaseException, *also: OutRecord) -> BaseException:
        """Throws the producer away with all that is in flight; returns what to raise."""
        if isinstance(error, MotetError) or not isinstance(error, Exception):
            return error  # nothing was handed to the client
        suspects = [record for record, _, _ in self._in_flight] + list(also)
        self.close()
        if is_too_large(error):
            return largest_error(suspects)
        if isinstance(error, kafka_errors.KafkaTimeoutError):
            return translated("publishing: the broker acknowledged nothing in time", error)
        return translated("publishing", error)
