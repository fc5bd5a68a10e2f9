"""The one door to kafka-python: the ports of ``pipeline.slot.ports`` on a Kafka cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.connectors.kafka.clients import Clients, check_settings, setting_names
from pipeline.connectors.kafka.control import KafkaControl
from pipeline.connectors.kafka.publisher import KafkaPublisher
from pipeline.connectors.kafka.receiving import receive_fast
from pipeline.connectors.kafka.sink import KafkaSink
from pipeline.connectors.kafka.source import KafkaSource

receive_fast()

__all__ = ["KafkaConnector", "check_settings", "setting_names"]


@dataclass(frozen=True)
class KafkaConnector:
    """Builds the ports where they are used; picklable as long as its settings are.

    ``client`` holds settings of kafka-python (``setting_names``), secrets among them, and
    shows in no repr. The first connection of a port raises Unreachable after
    ``reach_timeout_s``, and InvalidInput at once where the broker refuses the settings.
    """

    bootstrap: str
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reach_timeout_s: float = 30.0

    def source(self) -> KafkaSource:
        return KafkaSource(self._clients())

    def sink(self, transactional_id: str, group: str) -> KafkaSink:
        return KafkaSink(self._clients(), transactional_id, group)

    def control(self) -> KafkaControl:
        return KafkaControl(self._clients())

    def publisher(self) -> KafkaPublisher:
        return KafkaPublisher(self._clients())

    def _clients(self) -> Clients:
        return Clients(self.bootstrap, dict(self.client), self.reach_timeout_s)
