"""``kafka.client``: the settings of kafka-python, by name, without importing it.

A test holds the names to the DEFAULT_CONFIG of its consumer, producer and admin client.
"""

from __future__ import annotations

from typing import Any

from pipeline.spec.environment import Substituted, typed
from pipeline.spec.problems import BROKEN, suggestion
from pipeline.spec.secret import Secret, is_secret_name
from pipeline.spec.units import Wrong

TEXT = frozenset({
    "client_dns_lookup", "client_id", "client_rack", "compression_type", "metric_group_prefix",
    "proxy_url", "sasl_kerberos_domain_name", "sasl_kerberos_name", "sasl_kerberos_service_name",
    "sasl_mechanism", "sasl_plain_password", "sasl_plain_username", "security_protocol",
    "socks5_proxy", "ssl_cafile", "ssl_certfile", "ssl_ciphers", "ssl_crlfile", "ssl_keyfile",
    "ssl_password",
})  # fmt: skip
TRUTH = frozenset({
    "check_crcs", "enable_incremental_fetch_sessions", "metrics_enabled", "ssl_check_hostname",
})  # fmt: skip
NUMBER = frozenset({
    "batch_size", "bootstrap_timeout_ms", "connections_max_idle_ms", "delivery_timeout_ms",
    "fetch_max_bytes", "fetch_max_wait_ms", "fetch_min_bytes", "linger_ms", "max_block_ms",
    "max_in_flight_requests_per_connection", "max_partition_fetch_bytes", "max_poll_records",
    "max_request_size", "metadata_max_age_ms", "metrics_num_samples",
    "metrics_sample_window_ms", "receive_buffer_bytes", "receive_message_max_bytes",
    "reconnect_backoff_max_ms", "reconnect_backoff_ms", "request_timeout_ms",
    "retry_backoff_ms", "send_buffer_bytes", "transaction_timeout_ms",
})  # fmt: skip
VERSION = frozenset({"api_version"})

_GROUP = "motet assigns partitions itself, without a consumer group's members"
_OBJECT = "it takes a Python object, which a file cannot hold"
# Settings of which exactly-once depends, or that other keys of the file set.
OWNED = {
    "acks": "exactly-once needs all",
    "allow_auto_create_topics": "a missing topic is an error; `motet topics create` makes them",
    "auto_commit_interval_ms": "offsets are committed with the results, in their transaction",
    "auto_offset_reset": "`start` says where a new pipeline begins; a lost position is an error",
    "bootstrap_servers": "it is kafka.bootstrap",
    "consumer_timeout_ms": "motet polls with its own timeout",
    "default_offset_commit_callback": _OBJECT,
    "enable_auto_commit": "offsets are committed with the results, in their transaction",
    "enable_idempotence": "exactly-once needs it",
    "exclude_internal_topics": _GROUP,
    "group_id": "it is the pipeline's name",
    "group_instance_id": _GROUP,
    "heartbeat_interval_ms": _GROUP,
    "isolation_level": "exactly-once needs read_committed",
    "kafka_client": _OBJECT,
    "key_deserializer": "keys are the bytes of the stream id",
    "key_serializer": "keys are the bytes of the stream id",
    "max_poll_interval_ms": _GROUP,
    "metric_reporters": _OBJECT,
    "partition_assignment_strategy": _GROUP,
    "partitioner": "a result keeps the partition of its lane",
    "retries": "delivery_timeout_ms bounds them",
    "sasl_oauth_token_provider": _OBJECT,
    "selector": _OBJECT,
    "session_timeout_ms": _GROUP,
    "socket_options": _OBJECT,
    "ssl_context": _OBJECT,
    "transactional_id": "it is the pipeline's name and the slot; fencing depends on it",
    "value_deserializer": "values are bytes",
    "value_serializer": "values are bytes",
}
NAMES = TEXT | TRUTH | NUMBER | VERSION | OWNED.keys()
SETTABLE = TEXT | TRUTH | NUMBER | VERSION

_CHOICES = {
    "security_protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
}


def check_setting(name: str, value: Any) -> Any:
    """One setting as kafka-python takes it; a Secret where it is one. Raises Wrong.

    Everything that came from the environment counts as secret here.
    """
    if name in OWNED:
        raise Wrong(f"is set by motet: {OWNED[name]}", "leave it out")
    if name not in NAMES:
        raise Wrong(
            "is no setting of kafka-python",
            suggestion(name, SETTABLE, "its documentation lists them (KafkaConsumer, -Producer)"),
        )
    if value is None:
        return None
    if name in TEXT:
        return _text(name, value)
    value = typed(value)
    if isinstance(value, Secret):
        raise Wrong("is no text, so it cannot come from a secret file", "write the value")
    if name in TRUTH and not isinstance(value, bool):
        raise Wrong("must be true or false", "write true or false")
    if name in NUMBER and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise Wrong("must be a whole number", "kafka-python counts it in the unit of its name")
    return _version(value) if name in VERSION else value


def is_harmless(name: str, value: Any) -> bool:
    """Whether an error may show the value: a known setting's own, that is no secret."""
    hidden = isinstance(value, Secret | Substituted) or is_secret_name(name)
    return name in NAMES and not hidden


def _text(name: str, value: Any) -> str:
    if value is BROKEN or not isinstance(value, str):
        raise Wrong("must be text", "put it in quotes, or write {file: PATH}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise Wrong(f"is not one of {', '.join(_CHOICES[name])}", "choose one of them")
    hidden = isinstance(value, Secret | Substituted) or is_secret_name(name)
    return Secret(value) if hidden else value


def _version(value: Any) -> tuple[int, ...]:
    """``[3, 7]`` or ``"3.7.0"`` as the tuple that kafka-python wants."""
    parts: list[Any] = value.split(".") if isinstance(value, str) else value
    try:
        return tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        raise Wrong("is no version", 'write it as text, such as "3.7"') from None
