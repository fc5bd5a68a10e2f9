"""Where a measurement takes place, and how a run is begun there."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.benchmark.jobs import Job
from pipeline.benchmark.order import Order
from pipeline.benchmark.part import Part
from pipeline.benchmark.payloads import make_payloads
from pipeline.benchmark.processes import Processes
from pipeline.benchmark.topics import (
    drop_topics,
    event_begin_us,
    fill,
    input_topics,
    make_topics,
    output_topics,
)
from pipeline.clock import wall_us
from pipeline.errors import MotetError
from pipeline.slot.ports import Connector

START_S = 180.0  # a local Ray on a busy machine
RUN_S = 3_600.0


@dataclass(frozen=True)
class Ground:
    """``connector`` and ``bootstrap`` None: the broker in memory, in the process of each run.

    ``broker_pid``: of a broker of our own, whose topics need not be taken away. ``program``: what
    begins a part.
    """

    program: tuple[str, ...]
    bootstrap: str | None
    connector: Connector | None
    broker_pid: int | None
    say: Callable[[str], None]

    def demand_connector(self) -> Connector:
        if self.connector is None:
            raise MotetError("this measurement needs a Kafka")
        return self.connector

    def part(self, order: Order, mark: str) -> Part:
        return Part(order, mark, self.program)

    @contextmanager
    def topics(self, names: list[str], group: str | None = None) -> Iterator[None]:
        """Topics of a measurement; of a broker that is not ours they are taken away again."""
        if self.connector is None:
            yield
            return
        make_topics(self.connector, names)
        try:
            yield
        finally:
            if self.broker_pid is None:
                drop_topics(self.connector, names, group)


class Filled(NamedTuple):
    """A job's records in their topics, ``source`` before their names (in memory: to be made)."""

    job: Job
    source: str
    windows: int
    begin_us: int
    payload_bytes: int

    def order(self, ground: Ground, name: str, local: bool) -> Order:
        """Runs ``name`` up to the end of these records."""
        return Order(
            role="host",
            job=self.job.name,
            source=self.source,
            windows=self.windows,
            begin_us=self.begin_us,
            bootstrap=ground.bootstrap,
            name=name,
            local=local,
        )


@contextmanager
def filled(ground: Ground, job: Job, windows: int) -> Iterator[Filled]:
    """The records of so many windows of a job, all of them in their topics."""
    source = f"bench-{uuid.uuid4().hex[:8]}"
    begin_us = event_begin_us(windows, wall_us())
    payloads = make_payloads()
    with ground.topics(input_topics(job, source)):
        size = job.window_bytes(payloads) * windows
        if ground.connector is not None:
            ground.say(f"motet: {job.name}: publishing {job.records(windows)} records")
            size = fill(ground.connector, job, source, begin_us, windows, payloads)
        yield Filled(job, source, windows, begin_us, size)


@contextmanager
def run_name(ground: Ground) -> Iterator[str]:
    """A pipeline's name with topics for what comes out of it."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    with ground.topics(output_topics(name), name):
        yield name


@contextmanager
def watched() -> Iterator[tuple[str, Processes]]:
    """A mark for processes, and who looks at those that have it."""
    mark = uuid.uuid4().hex
    processes = Processes(mark)
    try:
        yield mark, processes
    finally:
        processes.close()
