"""One run of the demo: a live feed, the pipeline on its host, and a reader of the results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline import clock
from pipeline.connectors.files import merge
from pipeline.connectors.publish import send, usable
from pipeline.demo.assets import PASS_US, STREAMS, timelines
from pipeline.demo.measure import Measured, Seen
from pipeline.errors import MotetError
from pipeline.slot.ports import Connector, Source, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.host import Host, RunControl
from pipeline.tasks.totals import Totals
from pipeline.tasks.view import View

POLL_S = 0.2
SAY_AGAIN_US = 5_000_000
FIRST_RESULT_US_MAX = 90_000_000
SILENCE_US_MAX = 90_000_000
READ_TO_END_US_MAX = 15_000_000
JOIN_S = 30.0
DRAIN_S = 120.0  # of a demo that ends by itself: nobody waits to kill it
JOIN_FAILED_S = 3.0  # a producer without its broker may hang for minutes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to. ``lag`` is in records: sent, and not covered by a committed offset."""

    measured: Measured
    totals: Totals
    lag: int


@dataclass
class Show:
    """Runs the host in the thread that calls, the feed and the reader in threads beside it.

    Invariant: the three end together and in this order: the feed, the host (it drains: what is
    closed is committed), the reader (it reads to the end of what was committed). ``stop`` ends
    the feed, from outside or where a part fails; the first failure is what ``run`` raises.

    ``seconds`` count from the first result; None is until ``stop``. ``say`` is told the steps,
    ``seen`` every result.
    """

    spec: PipelineSpec
    connector: Connector
    host: Host
    seconds: float | None
    stop: threading.Event
    say: Callable[[str], None]
    seen: Callable[[Seen], None]
    show: Callable[[View], None] = lambda _view: None
    measured: Measured = field(default_factory=Measured)
    _ready: threading.Event = field(default_factory=threading.Event)
    _drain: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _fed_us: int | None = None
    _drained: bool = False
    _failure: BaseException | None = None
    _steering: RunControl = field(init=False)

    def __post_init__(self) -> None:
        self._steering = RunControl(
            stop=self._drain, ready=self._ready, say=self.say, show=self.show
        )

    def run(self) -> Outcome:
        """Raises what the pipeline, the feed or the reader failed with."""
        threads = [
            threading.Thread(target=self._guard, args=(part,), name=name, daemon=True)
            for name, part in (("demo-feed", self._feed), ("demo-reader", self._read))
        ]
        for thread in threads:
            thread.start()
        try:
            totals, _seconds = self.host(self.spec, self.connector, self._steering)
            self._drained = True
        finally:
            self.stop.set()
            self._ended.set()
            for thread in threads:
                thread.join(JOIN_S if self._failure is None else JOIN_FAILED_S)
        if self._failure is not None:
            raise self._failure
        return Outcome(self.measured, totals, self._lag())

    def _guard(self, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:
            self._failure = self._failure or error
            self.stop.set()
            self._drain.set()

    # -- feed -------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Plays the media from the moment the pipeline runs; its end is what drains the host."""
        try:
            if self._await_pipeline():
                self._play()
        finally:
            self._drain.set()

    def _await_pipeline(self) -> bool:
        """Whether the pipeline runs and the media may begin; False where it shall end first."""
        say_at_us = clock.monotonic_us() + SAY_AGAIN_US
        while not self._ready.wait(POLL_S):
            if self.stop.is_set():
                self.say("stopping once the pipeline has started")
                return False
            if clock.monotonic_us() >= say_at_us:
                say_at_us += SAY_AGAIN_US
                self.say("still starting: each stage's process loads torch, which takes a while")
        return True

    def _play(self) -> None:
        lines = timelines(self.spec)
        control = self.connector.control()
        try:
            topics = usable(control.topics({line.target.topic for line in lines}), "")
        finally:
            control.close()
        # The first window lies in the past, so it closes as soon as its records are sent, and
        # nobody waits for it; from then on media play in real time.
        now_us, size_us = clock.wall_us(), self.spec.windows.size_us
        closes_us = size_us + max(rule.bound_us for rule in self.spec.lane_spec().inputs)
        start_us = (now_us - closes_us) // size_us * size_us
        self._fed_us = clock.monotonic_us()
        self.measured.live_us = now_us
        self.say(f"the pipeline runs; live streams: {', '.join(STREAMS)}")
        publisher = self.connector.publisher()
        try:
            records = merge(lines, start_us, PASS_US, None)
            send(publisher, records, topics, self._until_due, lambda _record: None)
            self.say("the streams have stopped; what is in flight is finished")
        finally:
            publisher.close()

    def _until_due(self, due_us: int) -> bool:
        return self.stop.wait(max(0, due_us - clock.wall_us()) / 1e6)

    # -- read -------------------------------------------------------------------------------

    def _read(self) -> None:
        """Reads the results as any read_committed reader would, from the first to the last."""
        control = self.connector.control()
        source = self.connector.source()
        try:
            topic = self.spec.outputs.results
            info = usable(control.topics([topic]), "")[topic]
            positions = {TopicPartition(topic, n): 0 for n in range(info.partitions)}
            source.assign(positions)
            while not self._ended.is_set():
                self._poll(source, positions)
                self._look_at_the_time()
            if self._drained:
                self._read_to(control.stable_ends(positions), source, positions)
        finally:
            source.close()
            control.close()

    def _poll(self, source: Source, positions: dict[TopicPartition, int]) -> None:
        for fetch in source.poll(POLL_S):
            now_us = clock.wall_us()
            for record in fetch.records:
                seen = Seen.of(record, now_us)
                self.measured.add(seen)
                self.seen(seen)
            positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position

    def _look_at_the_time(self) -> None:
        """Ends the run after its time, and where nothing comes any more."""
        now_us, first_us = clock.monotonic_us(), self.measured.began_us
        if first_us is None:
            since_us, limit_us, what = self._fed_us, FIRST_RESULT_US_MAX, "the first record"
        else:
            since_us, limit_us, what = self.measured.newest_us, SILENCE_US_MAX, "the last one"
            if self.seconds is not None and now_us - first_us >= self.seconds * 1e6:
                self._steering.drain_s = DRAIN_S
                self.stop.set()
        if since_us is not None and now_us - since_us >= limit_us:
            raise MotetError(
                f"no fused result for {limit_us // 1_000_000} s since {what}; look whether the "
                "broker runs (`motet kafka status`) and the machine has memory and time to spare"
            )

    def _read_to(
        self,
        ends: Mapping[TopicPartition, int],
        source: Source,
        positions: dict[TopicPartition, int],
    ) -> None:
        until_us = clock.monotonic_us() + READ_TO_END_US_MAX
        while any(positions[partition] < end for partition, end in ends.items()):
            self._poll(source, positions)
            if clock.monotonic_us() > until_us:
                topic = self.spec.outputs.results
                raise MotetError(
                    f"topic {topic}: its committed results cannot be read to their end within "
                    f"{READ_TO_END_US_MAX // 1_000_000} s; look at the broker's log"
                )

    def _lag(self) -> int:
        """Records that no committed offset covers: those of the windows that are still open."""
        control = self.connector.control()
        try:
            inputs = [given.topic for given in self.spec.inputs.values()]
            partitions = [
                TopicPartition(topic, number)
                for topic, info in usable(control.topics(inputs), "").items()
                for number in range(info.partitions)
            ]
            ends = control.stable_ends(partitions)
            committed = control.committed(self.spec.name, partitions)
        finally:
            control.close()
        return sum(
            ends[partition] - (0 if offset is None else offset.offset)
            for partition, offset in committed.items()
        )
