"""Latency of a run under an open-loop load: from when a send was due to its committed result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from pipeline import clock
from pipeline.benchmark.checking import ResultCheck
from pipeline.benchmark.jobs import Job, Window
from pipeline.benchmark.percentiles import Latencies
from pipeline.benchmark.schedule import Schedule
from pipeline.errors import MotetError
from pipeline.slot.ports import Connector, TopicPartition

POLL_S = 0.05
QUIET_US = 60_000_000  # so long without a result, and all sent: the rest does not come


class Load(NamedTuple):
    """``windows`` of a job, sent by a schedule on the monotonic clock of this machine."""

    job: Job
    windows: int
    begin_us: int  # of the event time
    schedule: Schedule  # of records

    @property
    def records(self) -> int:
        return self.job.records(self.windows)

    @property
    def end_us(self) -> int:
        """When the last send is due."""
        return self.schedule.due_us(self.records - 1)

    def due_us(self) -> dict[Window, int]:
        """By window when the send that completes it is due."""
        found = {}
        for number in range(self.records):
            window = self.job.completes(number)
            if window is not None:
                found[window] = self.schedule.due_us(number)
        return found


class LatencyReader:
    """Reads committed results of a load as they come; a result counts from when it was read.

    Invariant: each window of the load has at most one latency, and none is left out; a repeated
    or wrong result is found by the check.
    """

    def __init__(self, connector: Connector, topic: str, partitions: int, load: Load) -> None:
        self._connector = connector
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._load = load
        self._due_us = load.due_us()
        self.check = ResultCheck(load.job, load.begin_us, load.windows)
        self.latencies = Latencies()
        self.seen_us = 0  # the newest result

    def read(
        self,
        alive: Callable[[], None] = lambda: None,
        on_result: Callable[[int, int], None] = lambda _due_us, _seen_us: None,
    ) -> None:
        """Until every window has come. ``alive`` is called often and raises where the run is gone.

        ``on_result`` is told of each window that came first: when its send was due, and when its
        result was seen. MotetError where results stop to come.
        """
        with closing(self._connector.control()) as control:
            begin = control.beginnings(self._partitions)
        with closing(self._connector.source()) as source:
            source.assign(begin)
            while self.check.missing:
                fetches = source.poll(POLL_S)
                now_us = clock.monotonic_us()
                for record in (record for fetch in fetches for record in fetch.records):
                    due_us = self._due_us.pop(self.check.take(record.value or b"{}"), None)
                    if due_us is not None:
                        self.seen_us = now_us
                        self.latencies.add(due_us, now_us)
                        on_result(due_us, now_us)
                alive()
                if now_us - max(self.seen_us, self._load.end_us) > QUIET_US:
                    raise MotetError("; ".join(self.check.problems()))
