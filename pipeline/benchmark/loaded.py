"""Runs under an open-loop load: their latency, and how soon they go on after a part was killed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from pipeline import clock
from pipeline.benchmark.ground import RUN_S, START_S, Ground, run_name, watched
from pipeline.benchmark.jobs import PARTITIONS, STREAMS, Job
from pipeline.benchmark.latency import LatencyReader, Load
from pipeline.benchmark.order import Order
from pipeline.benchmark.part import Part
from pipeline.benchmark.percentiles import Latencies, summary
from pipeline.benchmark.schedule import Schedule, Sent
from pipeline.benchmark.sending import send_load
from pipeline.benchmark.topics import event_begin_us, input_topics, output_topics
from pipeline.errors import MotetError
from pipeline.slot.ports import Connector
from pipeline.tasks.host import Host, RunControl

AHEAD_US = 500_000  # between the word to begin and the first send,
AHEAD_RECORD_US = 10  # and more, since the reader first writes down when each is due
KEPT_UP = 0.98


class Asked(NamedTuple):
    """``windows_per_second`` are offered for ``seconds``, after ``warm_seconds`` that do not count.

    ``local``: without Ray.
    """

    job: Job
    local: bool
    windows_per_second: float
    seconds: float
    warm_seconds: float

    @property
    def windows(self) -> int:
        """Whole seconds of event time of all streams, as many as cover the time."""
        offered = self.windows_per_second * (self.seconds + self.warm_seconds)
        return max(1, -(-int(offered) // STREAMS)) * STREAMS

    def first_send_us(self) -> int:
        """Soon, by the monotonic clock."""
        records = self.job.records(self.windows)
        return clock.monotonic_us() + AHEAD_US + records * AHEAD_RECORD_US

    def load(self, begin_us: int, send_us: int) -> Load:
        rate = self.windows_per_second * self.job.records_per_window
        return Load(self.job, self.windows, begin_us, Schedule(send_us, rate))


class Answered(NamedTuple):
    """What came of it. ``sent.late_us`` is the sender's own lag, which latencies contain."""

    load: Load
    latencies: Latencies
    sent: Sent
    last_us: int  # when the last result was seen
    cpu_seconds: float | None
    memory_bytes: int | None

    def as_json(self, asked: Asked) -> dict[str, Any]:
        counted_us = self.load.schedule.begin_us + round(asked.warm_seconds * 1e6)
        offered_s = (self.load.end_us - self.load.schedule.begin_us) / 1e6
        took_s = (self.last_us - self.load.schedule.begin_us) / 1e6
        return {
            "windows_per_second": asked.windows_per_second,
            "records_per_second": self.load.schedule.rate,
            "seconds": asked.seconds,
            "warm_seconds": asked.warm_seconds,
            "latency": summary(self.latencies.since(counted_us)),
            "sender_late_max": self.sent.late_us / 1e6,
            # Of a rate above what it can take the last result comes long after the last send.
            "kept_up": offered_s / max(took_s, 1e-9) >= KEPT_UP or took_s - offered_s < 1.0,
            "cpu_seconds_per_second": None
            if self.cpu_seconds is None
            else self.cpu_seconds / max(took_s, 1e-9),
            "memory_bytes": self.memory_bytes,
            "by_second": self.latencies.by_second(counted_us),
        }


def in_memory(asked: Asked, connector: Connector, host: Host, spec_of: Order) -> Answered:
    """Host, sender and reader as threads of this process, on a broker that is in it too.

    They share one interpreter, so latencies are those of a process that is its own client.
    """
    spec = spec_of.spec
    control = RunControl()
    failed: list[BaseException] = []
    sents: list[Sent] = []

    def guarded(work: Callable[[], Any]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)
                control.stop.set()
                control.ready.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def alive() -> None:
        if failed:
            raise failed[0]

    hosting = guarded(lambda: host(spec, connector, control))
    try:
        if not control.ready.wait(START_S):
            raise MotetError(f"{spec.name}: not ready within {START_S:g} s")
        alive()
        load = asked.load(spec_of.begin_us, asked.first_send_us())
        sending = guarded(
            lambda: sents.append(send_load(connector, load, spec_of.source, control.stop.wait))
        )
        reader = LatencyReader(connector, spec.outputs.results, PARTITIONS, load)
        reader.read(alive)
        sending.join()
    finally:
        control.stop.set()
        hosting.join()
    alive()
    reader.check.demand(f"{asked.job.name}, in memory")
    return Answered(load, reader.latencies, sents[0], reader.seen_us, None, None)


Watch = Callable[[int], None]


class OnKafka:
    """A run on a Kafka under load: host and sender are processes, this one reads the results.

    Invariant: whatever ends it, no process of it is left.
    """

    def __init__(self, ground: Ground, asked: Asked) -> None:
        self.ground = ground
        self.asked = asked
        self._stack = ExitStack()
        self._source = f"bench-{asked.job.name}-{clock.wall_us() % 10**10}"
        self._begin_us = event_begin_us(asked.windows, clock.wall_us())

    def __enter__(self) -> OnKafka:
        with ExitStack() as opened:
            topics = input_topics(self.asked.job, self._source)
            opened.enter_context(self.ground.topics(topics))
            self.name = opened.enter_context(run_name(self.ground))
            self.mark, self.processes = opened.enter_context(watched())
            self._hosts = opened.enter_context(ExitStack())
            self.host = self.start_host()
            self.host.wait_for("ready", START_S)
            self._sender = opened.enter_context(self.ground.part(self._order("send"), "send"))
            self._sender.wait_for("ready", START_S)
            self._stack = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def start_host(self) -> Part:
        """Another process that hosts the same pipeline, in place of one that has ended."""
        self._hosts.close()
        self.host = self._hosts.enter_context(self.ground.part(self._order("host"), self.mark))
        return self.host

    def _order(self, role: Any) -> Order:
        asked = self.asked
        return Order(
            role=role,
            job=asked.job.name,
            source=self._source,
            windows=asked.windows,
            begin_us=self._begin_us,
            bootstrap=self.ground.bootstrap,
            name=self.name,
            local=asked.local,
            until_end=False,
            wait_ms=0,
            rate=asked.windows_per_second * asked.job.records_per_window,
        )

    def run(
        self,
        alive: Callable[[], None] | None = None,
        on_result: Callable[[int, int], None] = lambda _due_us, _seen_us: None,
        begun: Watch = lambda _send_us: None,
    ) -> Answered:
        """The whole load. ``alive``: in place of looking whether the host lives.

        ``begun`` is told when the first send is due; ``on_result``: as in ``LatencyReader.read``.
        """
        send_us = self.asked.first_send_us()
        load = self.asked.load(self._begin_us, send_us)
        results = output_topics(self.name)[0]
        reader = LatencyReader(self.ground.demand_connector(), results, PARTITIONS, load)
        self._sender.go(send_us)
        begun(send_us)
        reader.read(alive or self.host.demand_alive, on_result)
        sent = self._sender.wait_for("done", RUN_S)
        what = f"{self.asked.job.name}, {'local' if self.asked.local else 'ray'}"
        reader.check.demand(what)
        return Answered(
            load,
            reader.latencies,
            Sent(sent["records"], sent["late_us"]),
            reader.seen_us,
            self.processes.cpu_s(send_us, reader.seen_us),
            self.processes.peak_bytes,
        )
