"""The way to the broker at start: tried for 30 s and said from the first second.

A client library that meets a closed port retries in silence, so the port itself is asked
first; what answers there is then the connector's business.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pipeline import clock
from pipeline.cli.terminal import say
from pipeline.errors import InvalidInput, Problem, Unreachable
from pipeline.slot.ports import TopicPartition

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector, Control, TopicInfo
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.starting import Layout

# The port that `motet kafka start` takes, and the variable that the starter files read.
BOOTSTRAP_DEFAULT = "127.0.0.1:9092"
BOOTSTRAP_VARIABLE = "KAFKA"
WAIT_US = 30_000_000
TRY_S = 0.5
SAY_AGAIN_US = 5_000_000
PATIENCE_S = 1.0


def connect(
    bootstrap: str, client: Mapping[str, Any] | None = None, *, wait: bool = False
) -> Connector:
    """A connector to the broker, once it answers; raises Unreachable (exit code 3)."""
    await_broker(bootstrap, wait=wait)
    from pipeline.connectors.kafka import KafkaConnector

    return KafkaConnector(bootstrap, dict(client or {}))


def connect_for(
    spec: PipelineSpec, bootstrap: str | None = None, *, wait: bool = False
) -> Connector:
    """The connector of a pipeline file's ``kafka`` section; ``bootstrap`` goes before it."""
    return connect(bootstrap or spec.kafka.bootstrap, spec.kafka.client, wait=wait)


def topics_of(control: Control, names: Collection[str]) -> dict[str, TopicInfo | None]:
    """The first question of a command: what took the connection may be slow, or no Kafka."""
    with _patience():
        return control.topics(names)


def partitions_of(control: Control, names: Collection[str]) -> list[TopicPartition]:
    """All partitions of topics; raises InvalidInput with every topic that is not there."""
    infos = topics_of(control, names)
    remedy = "`motet topics create FILE` makes the topics of a pipeline file"
    missing = [
        Problem("topic", name, "it is not there", remedy)
        for name, info in infos.items()
        if info is None
    ]
    if missing:
        raise InvalidInput(*missing)
    return [
        TopicPartition(name, number)
        for name, info in infos.items()
        if info is not None
        for number in range(info.partitions)
    ]


def demand_topics(connector: Connector, spec: PipelineSpec) -> Layout:
    """The first question of a run: the topics of its file are there and fit; or InvalidInput."""
    from pipeline.tasks.starting import check_topics

    with closing(connector.control()) as control, _patience():
        return check_topics(spec, control)


@contextmanager
def _patience() -> Iterator[None]:
    """Says so where the answer to what is asked inside does not come within a second."""
    late = threading.Timer(PATIENCE_S, say, ["motet: waiting for the broker: no answer yet"])
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


def bootstrap_default() -> str:
    return os.environ.get(BOOTSTRAP_VARIABLE) or BOOTSTRAP_DEFAULT


def await_broker(bootstrap: str, *, wait: bool, limit_us: int = WAIT_US) -> None:
    """Returns once one of the addresses takes a connection; says at once that it waits."""
    addresses = [address(part) for part in bootstrap.split(",")]
    began_us = clock.monotonic_us()
    said_us: int | None = None
    while True:
        why = refusal(addresses)
        if why is None:
            return
        now_us = clock.monotonic_us()
        left_us = began_us + limit_us - now_us
        again = said_us is not None and now_us - said_us >= SAY_AGAIN_US
        if said_us is None or (again and (wait or left_us > 0)):
            left = "" if wait else f", for {max(left_us, 0) / 1e6:.0f} s more"
            say(f"motet: waiting for a broker at {bootstrap} ({why}){left}")
            said_us = now_us
        if not wait and left_us <= 0:
            raise Unreachable(
                f"kafka.bootstrap = {bootstrap}: no broker answers there after "
                f"{limit_us / 1e6:g} s ({why}); start one with `motet kafka start`, "
                "name another, or wait for it with --wait"
            )
        time.sleep(TRY_S)


def address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[V6]:PORT``; raises InvalidInput."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        why = "it is not HOST:PORT"
        raise InvalidInput(Problem("bootstrap", text, why, f"write it as {BOOTSTRAP_DEFAULT}"))
    return host.removeprefix("[").removesuffix("]"), int(port)


def refusal(addresses: Iterable[tuple[str, int]]) -> str | None:
    """Why none of the addresses takes a connection; None where one does."""
    why = "no address"
    for host, port in addresses:
        try:
            socket.create_connection((host, port), timeout=2.0).close()
        except OSError as error:
            why = (error.strerror or str(error) or type(error).__name__).lower()
        else:
            return None
    return why
