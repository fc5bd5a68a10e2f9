"""One owner of a job on the broker in memory, without threads, and what each of its parts calls.

The parts are those of every host, in one order and on a clock of its own, so two runs call the
same. Counted are calls of Python functions; those of comprehensions and generator expressions are
not, since newer Pythons make none.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from pipeline.benchmark.checking import ResultCheck
from pipeline.benchmark.jobs import JOBS
from pipeline.benchmark.order import Order
from pipeline.benchmark.payloads import make_payloads
from pipeline.benchmark.topics import (
    fill,
    input_topics,
    make_topics,
    output_topics,
    read_committed,
)
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.encoders.checking import check_pipeline
from pipeline.local import take_slots
from pipeline.slot.ports import LogRecord
from pipeline.tasks.encode import encode_task
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.messages import Opened
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import check_topics, close_all

BEGIN_US = 1_790_000_000_000_000
FETCH_RECORDS = 256
ROUND_US = 130_000  # of the clock, a round of the loop: a commit every other round
WARM, STEADY = 0.4, 0.9  # of the records: what is counted lies between
BROKER = "/connectors/memory"  # what stands for the broker is none of motet's cost


class Calls:
    """Python calls by part, while ``counting`` is on; ``by_function`` says whose they are."""

    def __init__(self) -> None:
        self.part = ""
        self.counts: Counter[str] = Counter()
        self.by_function: Counter[tuple[str, str]] = Counter()
        self._in_broker: FrameType | None = None

    def _called(self, frame: FrameType, event: str, _argument: Any) -> None:
        if self._in_broker is not None:
            if event == "return" and frame is self._in_broker:
                self._in_broker = None
            return
        code = frame.f_code
        if event != "call" or code.co_name[0] == "<":
            return
        if BROKER in code.co_filename:
            self._in_broker = frame
        else:
            self.counts[self.part] += 1
            self.by_function[self.part, code.co_qualname] += 1

    @contextmanager
    def of(self, part: str, counting: bool) -> Iterator[None]:
        if not counting:
            yield
            return
        self.part = part
        before = sys.getprofile()
        sys.setprofile(self._called)
        try:
            yield
        finally:
            sys.setprofile(before)

    def dearest(self, part: str, count: int = 5) -> list[str]:
        """The functions of a part that are called most, with how often."""
        own = Counter({name: n for (of, name), n in self.by_function.items() if of == part})
        return [f"{name} {n}" for name, n in own.most_common(count)]


class CountedRun:
    """Runs ``windows`` of a job to the end; begin and end are not counted.

    Of what is counted: ``records`` were read, ``windows_closed`` came of them, ``batches`` have so
    many windows each, ``transactions`` so many records; ``steps`` are calls of the broker's ports,
    ``counted_us`` is how long it took by the clock of the run.
    """

    def __init__(self, job: str, windows: int) -> None:
        order = Order("host", job, "in", windows, BEGIN_US, name="counted")
        self.job, self.windows = JOBS[job], windows
        self.calls = Calls()
        self.steps: Counter[str] = Counter()
        self.records = self.windows_closed = self.counted_us = 0
        self.batches: list[int] = []
        self.transactions: list[int] = []
        self._counting = False
        broker = MemoryBroker(hook=self._hook)
        self.connector = MemoryConnector(broker, fetch_records=FETCH_RECORDS)
        make_topics(self.connector, [*input_topics(self.job, "in"), *output_topics("counted")])
        fill(self.connector, self.job, "in", BEGIN_US, windows, make_payloads())
        self.spec = spec = order.spec
        torch.set_num_threads(1)
        lengths = check_pipeline(spec)
        control = self.connector.control()
        layout = check_topics(spec, control)
        ends = control.stable_ends(layout.partitions(spec))
        self._owners, cuts = take_slots(spec, self.connector, layout, Retry(threading.Event()))
        self.ingest = IngestTask(spec, cuts, ends, layout.message_bytes, paced=False)
        self.fusion = FusionTask(spec, lengths, self._owners, layout.message_bytes)
        self._encoders = {
            name: encode_task(spec, name, torch.device("cpu"), lengths) for name in spec.stages
        }
        for name in spec.stages:
            self.ingest.set_replicas(name, [name])
        self._source = self.connector.source()
        self._source.assign(self.ingest.assignment())
        self.now_us = 0

    def _hook(self, step: str, _port: object) -> None:
        if self._counting and not step.endswith("-reply"):
            self.steps[step] += 1

    def run(self) -> None:
        total, read = self.job.records(self.windows), 0
        while not (self.ingest.finished and self.fusion.idle):
            self._counting = WARM * total <= read < STEADY * total
            read += self._round()
            self.now_us += ROUND_US
            self.counted_us += self._counting * ROUND_US
        self._counting = False
        close_all(self._owners)

    def per(self, part: str, unit: str) -> float:
        """Calls of a part for each unit of its work: record, window, job or result."""
        units = {"record": self.records, "window": self.windows_closed,
                 "job": sum(self.batches), "result": sum(self.transactions)}  # fmt: skip
        return self.calls.counts[part] / units[unit]

    def _of(self, part: str) -> Any:
        return self.calls.of(part, self._counting)

    def _round(self) -> int:
        ingest, now_us = self.ingest, self.now_us
        fetches = self._source.poll(0.0)
        with self._of("ingest"):
            ingest.on_fetches(fetches, now_us)
            while ingest.pump(now_us):
                pass
            assignments = ingest.take_assignments(now_us)
        while assignments:
            for assignment in assignments:
                if self._counting:
                    self.batches.append(len(assignment.jobs))
                with self._of("encode"):
                    results = self._encoders[assignment.stage].run(assignment.jobs)
                with self._of("ingest"):
                    ingest.on_batch(assignment.number, results, now_us)
            with self._of("ingest"):
                assignments = ingest.take_assignments(now_us)
        with self._of("ingest"):
            ingest.pump(now_us)
            deliveries = ingest.take_deliveries()
        if self._counting:
            self.records += sum(len(fetch.records) for fetch in fetches)
            self.windows_closed += sum(
                isinstance(message, Opened) for all_ in deliveries.values() for message in all_
            )
        with self._of("fusion"):
            for slot, messages in deliveries.items():
                self.fusion.on_messages(slot, messages)
            due = self.fusion.due(now_us)
        for slot, batch in due.items():
            if self._counting:
                self.transactions.append(len(batch.records))
            with self._of("commit"):
                self._owners[slot].committer.commit(batch.cuts, batch.records)
            with self._of("fusion"):
                numbers = self.fusion.on_committed(slot, now_us)
            with self._of("ingest"):
                ingest.on_committed(slot, numbers)
        return sum(len(fetch.records) for fetch in fetches)

    def results(self) -> list[LogRecord]:
        return list(read_committed(self.connector, "counted.results", self.windows))

    def check(self) -> None:
        """Every window once and right, so that what was counted did the work."""
        check = ResultCheck(self.job, BEGIN_US, self.windows)
        for record in self.results():
            check.take(record.value or b"{}")
        check.demand("the counted run")


def counted(job: str, windows: int, tell: Callable[[str], None] = lambda _line: None) -> CountedRun:
    run = CountedRun(job, windows)
    run.run()
    run.check()
    for part in ("ingest", "encode", "fusion", "commit"):
        tell(f"{job} {part}: {run.calls.counts[part]} calls; {run.calls.dearest(part)}")
    return run
