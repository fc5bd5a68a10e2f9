"""The ports of this machine, the broker, and with a pipeline file all that it names."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import clock
from pipeline.cli.arguments import load_spec
from pipeline.cli.doctor_check import Check, State, error, ok, warning
from pipeline.errors import InvalidInput, MotetError, Problem
from pipeline.slot.ports import TopicPartition

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector, Control, TopicInfo
    from pipeline.spec import PipelineSpec

_REACH_S = 3.0
_SKEW_US = 1_000_000


def checks(file: Path | None, bootstrap: str | None, client: Mapping[str, Any]) -> Iterator[Check]:
    """What is checked depends on what is named: a file has its own broker, port and topics."""
    from pipeline.cli.client_option import broker_named
    from pipeline.spec import MetricsSpec

    if file is None:
        usual = MetricsSpec()
        yield kafka_port()
        yield page_port(usual.host, usual.port)
        yield from broker(broker_named(bootstrap)[0], client, demanded=bootstrap is not None)
        return
    try:
        spec = load_spec(file)
    except InvalidInput as wrong:
        yield from _errors(str(file), wrong)
        return
    yield ok("file", f"{file}: pipeline '{spec.name}' is valid")
    if spec.metrics.port:
        yield page_port(spec.metrics.host, spec.metrics.port)
    yield from _encoders(spec)
    where = bootstrap or spec.kafka.bootstrap
    settings = {**spec.kafka.client, **client}
    found = list(broker(where, settings, demanded=True))
    yield from found
    if all(check.state == "ok" for check in found):
        yield from _topics(_connector(where, settings), spec, file)


def kafka_port() -> Check:
    from pipeline.broker.ports import HOST, USUAL_PORT, is_free
    from pipeline.broker.probe import cluster_id

    if is_free(USUAL_PORT):
        return ok("port 9092", "free: `motet kafka start` takes it")
    if cluster_id(HOST, USUAL_PORT) is not None:
        return ok("port 9092", "a Kafka broker answers there")
    remedy = "`motet kafka start` takes another port and says which: export KAFKA=HOST:PORT"
    return warning("port 9092", "another program has it", remedy)


def page_port(host: str, port: int) -> Check:
    name = f"port {port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as failed:
        why = (failed.strerror or str(failed)).lower()
        remedy = "end what has it, perhaps a pipeline that runs, or set metrics.port"
        return warning(name, f"cannot be taken for the page and /metrics ({why})", remedy)
    return ok(name, "free: the page and /metrics")


def broker(where: str, client: Mapping[str, Any], *, demanded: bool) -> Iterator[Check]:
    """Whether one of the addresses takes a connection, and a Kafka answers there."""
    why = _refusal(where)
    if why is None:
        why = _no_kafka(where, client)
        demanded = True  # something is there, and a run would meet it
    if why is None:
        yield ok("broker", f"a Kafka answers at {where}")
        return
    remedy = "start one with `motet kafka start`, or name yours: --bootstrap HOST:PORT"
    if demanded:
        yield error("broker", why, remedy)
    else:
        yield warning("broker", f"none at {where}, where pipeline files look for it", remedy)


def _refusal(where: str) -> str | None:
    from pipeline.cli.connect import address, refusal

    why = refusal(map(address, where.split(",")))
    return why and f"{where} takes no connection ({why})"


def _no_kafka(where: str, client: Mapping[str, Any]) -> str | None:
    """What a client says that cannot ask its first question; None where it can."""
    try:
        with closing(_connector(where, client).control()) as control:
            control.topics([f"motet-doctor-{clock.monotonic_us()}"])
    except MotetError as failed:
        return str(failed).splitlines()[0]
    return None


def _connector(where: str, client: Mapping[str, Any]) -> Connector:
    from pipeline.connectors.kafka import KafkaConnector

    return KafkaConnector(where, dict(client), reach_timeout_s=_REACH_S)


def _encoders(spec: PipelineSpec) -> Iterator[Check]:
    from pipeline.encoders.checking import check_pipeline

    try:
        check_pipeline(spec)
    except InvalidInput as wrong:
        yield from _errors("encoders", wrong)
    else:
        yield ok("encoders", f"{len(spec.stages)} can be built, and fit what they read")


def _topics(connector: Connector, spec: PipelineSpec, file: Path) -> Iterator[Check]:
    from pipeline.cli.topic_plan import problems_of, wanted_topics

    wanted = wanted_topics(spec)
    control = connector.control()
    try:
        there = control.topics([topic.name for topic in wanted])
        errors, warnings = problems_of(wanted, there, f"`motet topics create {file}` makes it")
        yield from (_problem("error", problem) for problem in errors)
        yield from (_problem("warning", problem) for problem in warnings)
        if not errors and not warnings:
            yield ok("topics", f"{len(wanted)} are there and fit")
        yield from _skew(control, {t.name: there[t.name] for t in wanted if t.is_input})
    except MotetError as failed:
        yield error("topics", str(failed).splitlines()[0], "see the broker's log and its rights")
    finally:
        control.close()


def _skew(control: Control, inputs: dict[str, TopicInfo | None]) -> Iterator[Check]:
    """The broker's clock is seen in the records that it stamped: none is of the future."""
    ahead_us: int | None = None
    for topic, info in inputs.items():
        if info is None or not info.append_time:
            continue
        for number in range(info.partitions):
            record = control.last_record(TopicPartition(topic, number))
            if record is not None:
                found_us = record.timestamp_us - clock.wall_us()
                ahead_us = found_us if ahead_us is None else max(ahead_us, found_us)
    if ahead_us is None:
        return
    if ahead_us > _SKEW_US:
        found = f"this machine's is at least {ahead_us / 1e6:.1f} s behind the broker's"
        yield warning("clocks", found, "set both by NTP: idle times and lags are measured by them")
    else:
        yield ok("clocks", "the broker stamped no record later than now")


def _errors(check: str, wrong: InvalidInput) -> Iterator[Check]:
    for problem in wrong.problems:
        if isinstance(problem, Problem):
            yield _problem("error", problem)
        else:
            yield error(check, problem, "correct it")


def _problem(state: State, problem: Problem) -> Check:
    shown = f"{problem.key} = {problem.value}" if problem.value else problem.key
    return Check(problem.key, state, f"{shown}: {problem.why}", problem.remedy)
