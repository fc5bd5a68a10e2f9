"""The first connection to a cluster: what the broker says no to is told, not tried for 30 s.

The stock client tries again whatever comes, since most of it passes: a broker starts, a port is
forwarded late. A password that is refused does not pass. Other causes can be told from what comes
back, but a broker that is just stopping may look the same: these are tried for as long as before,
and named at the end.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pipeline.connectors.kafka.errors import causes
from pipeline.connectors.kafka.silence import Silence
from pipeline.errors import InvalidInput, MotetError, Problem, Unreachable

_METADATA_BACKOFF_MS = 10  # between two questions; after failures the client waits longer
# A broker that hangs takes a connection and says nothing: the client's 10 s for each of them would
# be most of what a failover may take. Twice as long after each failure, up to 30 s.
_CONNECT_MS = 3_000
_FINAL = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
    ssl.SSLCertVerificationError,
    TypeError,  # of a setting that the client takes and cannot work with
    ValueError,
)
_METADATA = "metadata"  # what the client calls its questions among the nodes that it backs off from
_PROTOCOL = "kafka.client.security_protocol"
_TLS_ALERT = 0x1503  # how a TLS record begins that says no: its kind, and the version
_TLS_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """Notes how the first connections fail; what is final ends the first contact at once.

    Later connections are the stock client's business: a run that goes on waits for its broker.
    """

    def __init__(self, *arguments: Any, **config: Any) -> None:
        super().__init__(*arguments, **config)
        self.last_failure: BaseException | None = None
        self.hung_up = False  # whether the broker spoke Kafka and then closed the connection
        self._final: BaseException | None = None

    def get_connection(
        self, node_id: Any, timeout_ms: float | None = None, *arguments: Any, **options: Any
    ) -> Any:
        """The stock client gives its first connection all the time that it has for any.

        Where several brokers are named and one of them hangs, the others would not be asked.
        """
        if timeout_ms is not None:
            timeout_ms = min(timeout_ms, self.socket_connection_setup_timeout_ms(node_id))
        known = self._conns.get(node_id)
        connection = super().get_connection(node_id, timeout_ms, *arguments, **options)
        if connection is not known and not self.bootstrapped:
            connection.init_future.add_errback(self._failed)
            connection.close_future.add_errback(partial(self._closed, connection))
        return connection

    def reset_backoff(self, node_id: Any) -> None:
        """Not after a connection that ended before it could be used.

        Where something accepts connections for a broker that is away, the stock client would be
        back at once, some hundred times a second, with all of a processor.
        """
        connection = self._conns.get(node_id)
        if node_id == _METADATA or (connection is not None and connection.connected):
            super().reset_backoff(node_id)
        else:
            self.update_backoff(node_id)

    def maybe_raise_auth_failure(self, node_id: Any) -> None:
        """Before every connection, so also before the next one of the bootstrap."""
        if self._final is not None and not self.bootstrapped:
            raise self._final
        super().maybe_raise_auth_failure(node_id)

    def _failed(self, error: BaseException) -> None:
        if self.bootstrapped:
            return
        self.last_failure, self.hung_up = error, False
        if _is_tls_alert(error) or any(_is_final(cause) for cause in causes(error)):
            self._final = error

    def _closed(self, connection: Any, error: BaseException) -> None:
        if connection.init_future.succeeded():
            self.last_failure, self.hung_up = error, True


class NetClient(KafkaNetClient):  # type: ignore[misc]
    """The client's network, with a manager that can say why nothing came of it."""

    def __init__(self, impatient: bool, **config: Any) -> None:
        """``impatient``: a broker that hangs is let go after seconds (see ``Silence``)."""
        net = NetworkSelector(**config)
        manager = _Manager(net, **config, socket_connection_setup_timeout_ms=_CONNECT_MS)
        super().__init__(net=net, manager=manager, **config)
        # the client leaves its own setting out here: a topic is first known after 100 ms
        self._manager.cluster.config["retry_backoff_ms"] = _METADATA_BACKOFF_MS
        if impatient:
            Silence(self._manager)

    @property
    def failure(self) -> BaseException | None:
        """Why the last connection came to nothing."""
        found: BaseException | None = self._manager.last_failure
        return found

    @property
    def hung_up(self) -> bool:
        return bool(self._manager.hung_up)


def refused(client: NetClient, bootstrap: str, settings: Mapping[str, Any]) -> MotetError | None:
    """The error for what a first contact failed of, where that can be told; no secret is shown.

    InvalidInput where it would fail so again, Unreachable where it may pass.
    """
    protocol = str(settings.get("security_protocol") or "PLAINTEXT")
    for cause in causes(client.failure):
        found = _of_sasl(cause, bootstrap, settings) or _of_tls(cause, bootstrap, protocol)
        if found is not None:
            return found
        if isinstance(cause, TypeError | ValueError):
            why = f"the client cannot work with it ({cause})"
            return _wrong("kafka.client", "", why, "complete or correct the settings")
    if client.hung_up and not protocol.startswith("SASL"):
        return Unreachable(
            f"{_PROTOCOL} = {protocol}: Kafka at {bootstrap} ends each connection at the first "
            "question, as a listener with SASL does; write SASL_PLAINTEXT or SASL_SSL, with "
            "sasl_mechanism and what it needs"
        )
    return None


def check_settings_fit(settings: Mapping[str, Any]) -> None:
    """Raises InvalidInput where a file of TLS is not there, or SASL lacks what it needs."""
    problems = []
    for name in _TLS_FILES:
        path = settings.get(name)
        if path and not Path(path).is_file():
            remedy = "give the path of a PEM file"
            problems.append(Problem(f"kafka.client.{name}", str(path), "no such file", remedy))
    if str(settings.get("security_protocol")).startswith("SASL"):
        problems += _missing_of_sasl(settings)
    if problems:
        raise InvalidInput(*problems)


def _missing_of_sasl(settings: Mapping[str, Any]) -> list[Problem]:
    mechanism = settings.get("sasl_mechanism")
    needed = ["sasl_mechanism"]
    if mechanism == "PLAIN" or str(mechanism).startswith("SCRAM-"):
        needed += ["sasl_plain_username", "sasl_plain_password"]
    why = f"{f'SASL {mechanism}' if mechanism else settings['security_protocol']} needs it"
    return [
        Problem(f"kafka.client.{name}", "", why, "add it")
        for name in needed
        if not settings.get(name)
    ]


def _of_sasl(
    cause: BaseException, bootstrap: str, settings: Mapping[str, Any]
) -> InvalidInput | None:
    mechanism = str(settings.get("sasl_mechanism"))
    if isinstance(cause, kafka_errors.SaslAuthenticationFailedError):
        said = str(cause).rpartition(": ")[2] or "no reason given"
        why = f"{bootstrap} refuses this user by {mechanism} ({said})"
        remedy = "correct sasl_plain_username and sasl_plain_password"
        if mechanism != "PLAIN" and not mechanism.startswith("SCRAM-"):
            remedy = "correct what the mechanism needs"
        return _wrong("kafka.client", "", why, remedy)
    if isinstance(cause, kafka_errors.UnsupportedSaslMechanismError):
        why = f"{bootstrap} has no such mechanism"
        return _wrong("kafka.client.sasl_mechanism", mechanism, why, "take one that it has")
    if isinstance(cause, kafka_errors.IllegalSaslStateError):
        why = f"{bootstrap} wants no SASL"
        remedy = "write PLAINTEXT or SSL, or name the port of the listener with SASL"
        return _wrong(_PROTOCOL, str(settings.get("security_protocol")), why, remedy)
    return None


def _of_tls(cause: BaseException, bootstrap: str, protocol: str) -> MotetError | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = (cause.verify_message or str(cause)).rstrip(".")
        why = f"the certificate of {bootstrap} is not accepted ({said})"
        remedy = "name its CA's certificate as ssl_cafile"
        if "not valid for" in said:
            remedy = "name the broker as its certificate does"
        elif "expired" in said or "not yet valid" in said:
            remedy = "have it renewed there, or set this machine's clock"
        return _wrong("kafka.client", "", why, remedy)
    if _wants_certificate(cause):
        why = f"{bootstrap} accepts only clients whose certificate it knows ({cause.reason})"
        remedy = "name one that it accepts as ssl_certfile, with its ssl_keyfile"
        return _wrong("kafka.client", "", why, remedy)
    if isinstance(cause, ssl.SSLError):
        return Unreachable(
            f"{_PROTOCOL} = {protocol}: {bootstrap} does not answer with TLS "
            f"({cause.reason or cause}); leave TLS out, or name the port of the listener with TLS"
        )
    if _is_tls_alert(cause):
        return _wrong(_PROTOCOL, protocol, f"{bootstrap} wants TLS", "write SSL or SASL_SSL")
    if isinstance(cause, kafka_errors.InvalidReceiveError):
        return Unreachable(f"what answers at {bootstrap} is no Kafka; correct kafka.bootstrap")
    return None


def _is_final(error: BaseException) -> bool:
    return isinstance(error, _FINAL) or _wants_certificate(error)


def _wants_certificate(error: BaseException) -> TypeGuard[ssl.SSLError]:
    """The broker's alert about ours: none was shown, or one that it does not take (RFC 8446)."""
    return isinstance(error, ssl.SSLError) and any(
        alert in (error.reason or "")
        for alert in ("ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA")
    )


def _is_tls_alert(error: BaseException) -> bool:
    """What came back begins with what would be its length, if it were an answer of Kafka's."""
    length = str(error).rpartition(" ")[2]
    read = isinstance(error, kafka_errors.InvalidReceiveError) and length.isdecimal()
    return read and int(length) >> 16 == _TLS_ALERT


def _wrong(key: str, value: str, why: str, remedy: str) -> InvalidInput:
    return InvalidInput(Problem(key, value, why, remedy))
