"""The names of a cluster's topics: to say which one was meant."""

from __future__ import annotations

from pipeline.connectors.kafka import KafkaConnector
from pipeline.connectors.kafka.clients import Clients
from pipeline.connectors.kafka.errors import reraise, translated
from pipeline.connectors.kafka.watchdog import close_within


def topic_names(connector: KafkaConnector) -> list[str]:
    """Topics that this user may see, internal ones left out, sorted."""
    clients = Clients(connector.bootstrap, dict(connector.client), connector.reach_timeout_s)
    admin = clients.admin()
    try:
        names = [str(name) for name in admin.list_topics()]
    except Exception as error:
        reraise(error, translated("topics", error))
    finally:
        close_within(5.0, "kafka-admin", admin.close)
    return sorted(name for name in names if not name.startswith("__"))
