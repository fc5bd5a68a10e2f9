"""Recorded topics once more through the lanes and encoders of a pipeline, into a callback.

What is trained on is so what is served: the same windows, contents and vectors. Nothing is
written to the broker, and no committed offset is read or moved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.batching.batch import RecordId, StageJob
from pipeline.batching.dispatch import Assignment
from pipeline.clock import monotonic_us
from pipeline.lane import LaneCut
from pipeline.local import EncoderThreads
from pipeline.record import MediaRecord
from pipeline.slot.ledger import Entry, Ledger
from pipeline.slot.ports import Connector, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.host import RunControl
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.ingest_runner import IngestRunner
from pipeline.tasks.messages import Cut, Deliveries, Message, Opened, Produced, Settled
from pipeline.tasks.span import Wanted
from pipeline.tasks.starting import Layout, start_positions
from pipeline.tasks.telling import Telling

_LOOK_S = 0.1
_PATIENCE_US = 365 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """A window with what its stages gave, and why those that failed gave nothing.

    ``records`` by input, in log order: what its stages read, contexts included (where asked for).
    """

    window: Opened
    outputs: Mapping[str, Any]
    failed: Mapping[str, str]
    records: Mapping[str, Sequence[MediaRecord]] = field(default_factory=dict)


Take = Callable[[Replayed], None]


@dataclass(slots=True)
class _Pending:
    opened: Opened
    entry: Entry
    outputs: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Collector:
    """Stands where the fusion half would: hands on each window once all its stages are settled.

    Invariant: windows are handed on in the order of their lane, each once, before the lane's
    memory for them is given back.
    """

    def __init__(self, take: Take, keep_records: bool) -> None:
        self._take = take
        self._keep_records = keep_records
        self._records: dict[tuple[str, int], dict[RecordId, MediaRecord]] = {}
        self._ledgers: dict[int, Ledger] = {}
        self._pending: dict[tuple[int, int], _Pending] = {}

    def on_jobs(self, jobs: Iterable[StageJob]) -> None:
        """What stages are about to read; told before their windows are settled."""
        if self._keep_records:
            for job in jobs:
                held = self._records.setdefault((job.stream, job.start_us), {})
                for record in job.records:
                    held[record.log.topic, record.log.partition, record.log.offset] = record

    def on_messages(self, slot: int, messages: list[Message]) -> dict[int, int]:
        """By lane, the number of the cut up to which all is handed on now."""
        ledger = self._ledgers.setdefault(slot, Ledger())
        for message in messages:
            if isinstance(message, Opened):
                key = message.lane, message.window
                self._pending[key] = _Pending(message, ledger.add(message.lane))
            elif isinstance(message, Settled):
                self._settled(ledger, message)
            elif isinstance(message, Cut):
                ledger.cut(message.lane, message.cut)
            else:
                assert isinstance(message, Produced)  # for a topic, and none is written here
        batch = ledger.take()
        if batch is None:
            return {}
        for replayed in batch.records:
            self._take(replayed)
        return {lane: cut.number for lane, cut in batch.cuts.items()}

    def _settled(self, ledger: Ledger, message: Settled) -> None:
        key = message.lane, message.window
        pending = self._pending[key]
        if message.failure is None:
            pending.outputs[message.stage] = message.output
        else:
            pending.failed[message.stage] = message.failure
        if len(pending.outputs) + len(pending.failed) == len(pending.opened.stages):
            del self._pending[key]
            opened = pending.opened
            by_input: dict[str, list[MediaRecord]] = {}
            held = self._records.pop((opened.stream, opened.start_us), {})
            for _, record in sorted(held.items()):
                by_input.setdefault(record.input, []).append(record)
            replayed = Replayed(opened, pending.outputs, pending.failed, by_input)
            ledger.complete(pending.entry, [replayed])


def replay(
    spec: PipelineSpec,
    connector: Connector,
    layout: Layout,
    lengths: Mapping[str, int],
    take: Take,
    control: RunControl,
    keep_records: bool = False,
    progress: Callable[[float], None] = lambda _share: None,
    wanted: Wanted | None = None,
) -> int:
    """Replays up to the stable ends as of now; gives how many records were read.

    Begins where ``start`` says (``spanned`` moves it), and passes windows of the span only. No
    stage times out: a backlog closes all at once, and what is slow live need not be missing here.
    ``take`` is called in one thread; ``control`` takes what is to be said, and its ``stop`` ends
    it early. ``progress`` is told the share of the records that is done. ``wanted`` (None: all):
    windows that are replayed; the records of others are read, as lanes need them, and not encoded.
    Raises MotetError.
    """
    spec = _patient(spec)
    partitions = layout.partitions(spec)
    log = connector.control()
    try:
        ends = log.stable_ends(partitions)
        begin = start_positions(spec, log, partitions)
    finally:
        log.close()
    cuts: dict[int, dict[int, LaneCut]] = {slot: {} for slot in layout.slots(spec)}
    for lane in range(layout.lanes):
        at = {n: begin[TopicPartition(entry.topic, lane)] for n, entry in spec.inputs.items()}
        cuts[lane % spec.slots][lane] = LaneCut(0, at, dict(at))
    collector = Collector(take, keep_records)
    encoders = EncoderThreads(spec, lengths)
    task = IngestTask(spec, cuts, ends, layout.message_bytes, wanted=wanted, paced=False)
    counted = _Counted()

    def deliver(deliveries: Deliveries) -> None:
        for slot, messages in deliveries.items():
            counted.look(messages)
            numbers = collector.on_messages(slot, messages)
            if numbers:
                runner.post_committed(slot, numbers)

    def encode(assignment: Assignment) -> None:
        collector.on_jobs(assignment.jobs)
        encoders.run(assignment, runner)

    runner: IngestRunner = IngestRunner(
        task,
        connector.source(),
        encode,
        deliver,
        monotonic_us,
    )
    for stage, replicas in encoders.replicas.items():
        task.set_replicas(stage, replicas)
    try:
        total = sum(ends[at] - begin[at] for at in partitions)
        _run(runner, counted, control, lambda: progress(min(1.0, counted.records / max(1, total))))
    finally:
        encoders.close()
    return counted.records


def _patient(spec: PipelineSpec) -> PipelineSpec:
    stages = {
        name: stage.model_copy(update={"timeout_us": _PATIENCE_US})
        for name, stage in spec.stages.items()
    }
    return spec.model_copy(update={"stages": stages})


@dataclass(slots=True)
class _Counted:
    records: int = 0
    settled: int = 0  # stages of windows: while this grows nothing is waited for

    def look(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Cut):
                self.records += sum(message.counts.records.values())
            elif isinstance(message, Settled):
                self.settled += 1


def _run(
    runner: IngestRunner, counted: _Counted, control: RunControl, show: Callable[[], None]
) -> None:
    """The loop in a thread of its own, so that a signal can end it; says what it waits for."""
    telling = Telling(control.say)
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            runner.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded, name="replay", daemon=True)
    thread.start()
    while thread.is_alive() and not runner.drained.wait(_LOOK_S) and not control.stop.is_set():
        show()
        warnings = runner.take_warnings()
        telling.look(monotonic_us(), counted.settled, runner.waiting, warnings)
    runner.stop()
    thread.join()
    if failures:
        raise failures[0]
