"""The way to the broker at start: tried for 30 s and said from the first second.

A client library that meets a closed port retries in silence, so the port itself is asked
first; what answers there is then the connector's business.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pipeline import clock
from pipeline.cli.terminal import interruptible, say
from pipeline.errors import InvalidInput, Problem, Unreachable
from pipeline.slot.ports import TopicPartition

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.slot.ports import Connector, Control, TopicInfo
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.starting import Layout

# The port that `motet kafka start` takes, and the variable that the starter files read.
BOOTSTRAP_DEFAULT = "127.0.0.1:9092"
BOOTSTRAP_VARIABLE = "KAFKA"
BOOTSTRAP_KEY = "kafka.bootstrap"  # where a pipeline file names it
WAIT_US = 30_000_000
TRY_S = 0.5
SAY_AGAIN_US = 5_000_000
PATIENCE_S = 1.0


def connect(
    bootstrap: str,
    client: Mapping[str, Any] | None = None,
    *,
    wait: bool = False,
    key: str = BOOTSTRAP_KEY,
) -> Connector:
    """A connector to the broker, once it answers; raises Unreachable (exit code 3).

    ``key`` is what names the address, as errors show it.
    """
    await_broker(bootstrap, wait=wait, key=key)
    from pipeline.connectors.kafka import KafkaConnector

    return KafkaConnector(bootstrap, dict(client or {}))


def connect_for(
    spec: PipelineSpec,
    bootstrap: str | None = None,
    client: Mapping[str, Any] | None = None,
    *,
    wait: bool = False,
) -> Connector:
    """The connector of a pipeline file's ``kafka`` section; what else is given goes before it."""
    settings = {**spec.kafka.client, **(client or {})}
    key = BOOTSTRAP_KEY if bootstrap is None else "--bootstrap"
    return connect(bootstrap or spec.kafka.bootstrap, settings, wait=wait, key=key)


def topics_of(control: Control, names: Collection[str]) -> dict[str, TopicInfo | None]:
    """The first question of a command: what took the connection may be slow, or no Kafka."""
    with _patience():
        return control.topics(names)


def partitions_of(
    control: Control, topics: Mapping[str, str], remedy: Callable[[str], str]
) -> list[TopicPartition]:
    """All partitions of topics; raises InvalidInput with every topic that is not there.

    ``topics``: each with the key or flag that names it. ``remedy`` is told the one missing.
    """
    infos = topics_of(control, topics)
    missing = [
        Problem(topics[name], name, "it is not there", remedy(name))
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


def demand_topics(connector: Connector, spec: PipelineSpec, create: str) -> Layout:
    """The first question of a run: the topics of its file are there and fit; or InvalidInput.

    ``create``: the command that makes those that are missing (``create_command``).
    """
    from pipeline.tasks.starting import check_topics

    with closing(connector.control()) as control, _patience():
        return check_topics(spec, control, create)


def create_remedy(file: Path) -> Callable[[str], str]:
    """What to do about a topic of a pipeline file that is not there."""
    return lambda _topic: f"`motet topics create {file}` makes it"


@contextmanager
def _patience() -> Iterator[None]:
    """Says so where the answer to what is asked inside does not come within a second.

    Ctrl-C and SIGTERM end the command at once meanwhile, whatever they do later
    (``terminal.stopping``): there is nothing to end cleanly yet.
    """
    late = threading.Timer(PATIENCE_S, say, ["motet: waiting for the broker: no answer yet"])
    late.daemon = True
    late.start()
    try:
        with interruptible():
            yield
    finally:
        late.cancel()


def bootstrap_default() -> str:
    return os.environ.get(BOOTSTRAP_VARIABLE) or BOOTSTRAP_DEFAULT


def await_broker(
    bootstrap: str, *, wait: bool, limit_us: int = WAIT_US, key: str = BOOTSTRAP_KEY
) -> None:
    """Returns once one of the addresses takes a connection; says at once that it waits."""
    addresses = [address(part, key) for part in bootstrap.split(",")]
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
                f"{key} = {bootstrap}: no broker answers there after {limit_us / 1e6:g} s ({why}); "
                f"{_own_broker(addresses)}, name another, or wait for it with --wait"
            )
        time.sleep(TRY_S)


def _own_broker(tried: Collection[tuple[str, int]]) -> str:
    """The remedy of who has started a Kafka with motet, which took another port, or has not."""
    from pipeline.broker import server

    broker = server.status()
    if broker is None or (broker.host, broker.port) in tried:
        return "start one with `motet kafka start`"
    return f"`motet kafka start` runs at {broker.bootstrap}: `export KAFKA={broker.bootstrap}`"


def address(text: str, key: str = BOOTSTRAP_KEY) -> tuple[str, int]:
    """``HOST:PORT`` or ``[V6]:PORT``; raises InvalidInput."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        why = "it is not HOST:PORT"
        raise InvalidInput(Problem(key, text, why, f"write it as {BOOTSTRAP_DEFAULT}"))
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
