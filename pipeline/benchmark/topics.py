"""The topics of a measurement: made, filled, and read to the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

from pipeline import clock
from pipeline.benchmark.jobs import PARTITIONS, SECOND_US, STREAMS, Job, Payloads
from pipeline.errors import MotetError
from pipeline.slot.ports import Connector, LogRecord, TopicPartition

QUIET_US = 30_000_000  # committed results of a run that has ended are read within this
AHEAD_US = 10_000_000  # event time of the newest record lies so far back


def input_topics(job: Job, source: str) -> list[str]:
    return [f"{source}.{each}" for each in job.inputs]


def output_topics(name: str) -> list[str]:
    return [f"{name}.results", f"{name}.late", f"{name}.dead-letter"]


def make_topics(connector: Connector, names: Iterable[str]) -> None:
    """With PARTITIONS partitions each, one replica."""
    with closing(connector.control()) as control:
        for name in names:
            control.create_topic(name, PARTITIONS, 1, {})


def drop_topics(connector: Connector, names: Iterable[str], group: str | None = None) -> None:
    """Of a broker that is not ours: nothing of the measurement stays there."""
    with closing(connector.control()) as control:
        there = [name for name, info in control.topics(list(names)).items() if info is not None]
        control.delete_topics(there)
        if group is not None:
            control.delete_group(group)


def event_begin_us(windows: int, now_us: int) -> int:
    """Where the event time of so many windows begins, so that all of it is past at ``now_us``."""
    seconds = -(-windows // STREAMS)
    return (now_us - AHEAD_US) // SECOND_US * SECOND_US - seconds * SECOND_US


def fill(
    connector: Connector, job: Job, source: str, begin_us: int, windows: int, payloads: Payloads
) -> int:
    """Publishes the records of so many windows; returns the bytes of their payload."""
    size_bytes = 0
    with closing(connector.publisher()) as publisher:
        for number in range(job.records(windows)):
            record = job.record(number, source, begin_us, payloads)
            size_bytes += len(record.value or b"")
            publisher.send(record)
        publisher.flush()
    return size_bytes


def read_committed(connector: Connector, topic: str, count: int) -> Iterator[LogRecord]:
    """Committed records of a topic up to its stable ends, and on until there were ``count``.

    A broker answers a commit before readers see it: it is waited for. MotetError where nothing
    comes for QUIET_US.
    """
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    with closing(connector.control()) as control, closing(connector.source()) as source:
        source.assign(control.beginnings(partitions))
        positions = dict.fromkeys(partitions, 0)
        came, newest_us = 0, clock.monotonic_us()
        while True:
            ends = control.stable_ends(partitions)
            while any(positions[each] < ends[each] for each in partitions):
                for fetch in source.poll(0.5):
                    positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position
                    came += len(fetch.records)
                    newest_us = clock.monotonic_us()
                    yield from fetch.records
                if clock.monotonic_us() - newest_us > QUIET_US:
                    raise MotetError(f"{topic}: {came} of {count} results came, then none for 30 s")
            if came >= count:
                return
            if clock.monotonic_us() - newest_us > QUIET_US:
                return  # too few: who checks them says which
