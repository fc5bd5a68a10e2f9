"""The whole graph in one process, without Ray: ``motet run --local``.

The same tasks as on a cluster; threads stand in for actors. They overlap where it pays:
fetching and lanes, features (torch and codecs release the GIL), fusion, and commits.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

from pipeline.batching.dispatch import Assignment
from pipeline.batching.pace import BatchPace
from pipeline.clock import monotonic_us, thread_us
from pipeline.connectors.environment import keep_buffers
from pipeline.encoders.checking import check_pipeline
from pipeline.encoders.decode_pool import DecodePool, decode_threads
from pipeline.errors import MotetError
from pipeline.fusion.rules import Fuser
from pipeline.heap import settle_heap
from pipeline.lane import LaneCut
from pipeline.slot.ports import Connector, Control, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.spec.user_class import one_line
from pipeline.tasks.encode import encode_task
from pipeline.tasks.ending import CLOSE_S, ENCODERS_SHARE, await_readable, left_behind, unfinished
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.fusion_runner import FusionRunner
from pipeline.tasks.head_watch import HeadWatch
from pipeline.tasks.host import RunControl
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.ingest_runner import IngestRunner
from pipeline.tasks.micro_batcher import MicroBatcher, Outcome
from pipeline.tasks.retry import Retry
from pipeline.tasks.showing import LocalView, Showing
from pipeline.tasks.starting import (
    Layout,
    SlotOwner,
    check_topics,
    close_all,
    fence_all,
    fence_ids,
    recover_all,
    stale_ids,
)
from pipeline.tasks.stuck import leave_behind
from pipeline.tasks.telling import Telling
from pipeline.tasks.totals import Totals
from pipeline.tasks.view import ReplicaView
from pipeline.tracing import Tracer, tracer_of

HUNG_US = 60_000_000  # above all waits of a healthy loop, those for an absent broker included


class EncoderThreads:
    """The stages' replicas as threads; each owns its encoder.

    They are daemons: one whose encoder hangs must not keep the process from ending.
    """

    def __init__(self, spec: PipelineSpec, lengths: Mapping[str, int]) -> None:
        import torch

        keep_buffers()
        torch.set_num_threads(1)  # replicas side by side beat one operation spread over cores
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._pool = DecodePool(decode_threads(os.cpu_count() or 1), thread_us)
        self._batchers: dict[str, MicroBatcher] = {}
        self._threads: list[threading.Thread] = []
        self.replicas: dict[str, list[str]] = {}
        self.shown: list[ReplicaView] = []
        for name, stage in spec.stages.items():
            for number in range(stage.replicas_min):
                replica = f"{name}-{number}"
                task = encode_task(spec, name, device, lengths, self._pool)
                pace = BatchPace(stage.batch_max, stage.latency_target_us)
                batcher = MicroBatcher(task.finish, pace, monotonic_us, task.begin)
                self._batchers[replica] = batcher
                thread = threading.Thread(target=batcher.serve, name=replica, daemon=True)
                thread.start()
                self._threads.append(thread)
                self.replicas.setdefault(name, []).append(replica)
                self.shown.append(ReplicaView(replica, name, str(device)))

    def run(self, assignment: Assignment, runner: IngestRunner) -> None:
        """Hands a batch to its replica's thread, which posts what came of it."""

        def reply(outcome: Outcome) -> None:
            if isinstance(outcome, BaseException):
                runner.post_lost(assignment.number, one_line(outcome))
            else:
                runner.post_batch(assignment.number, *outcome)

        self._batchers[assignment.replica].put(assignment.jobs, reply)

    def close(self) -> None:
        """Drops batches that are still waiting, and gives those that run CLOSE_S to end.

        A thread that is inside a library in C when the interpreter ends takes the process with it.
        """
        for batcher in self._batchers.values():
            batcher.close()
        self._pool.close()
        until_us = monotonic_us() + round(CLOSE_S * 1e6)
        threads = (*self._threads, *self._pool.running)
        for thread in threads:
            thread.join(max(0.0, (until_us - monotonic_us()) / 1e6))
        leave_behind(threads)


@dataclass
class Running:
    """What a local run consists of while it runs."""

    ingest: IngestRunner
    fusion: FusionRunner
    tracer: Tracer | None = None
    threads: list[threading.Thread] = field(default_factory=list)
    failure: BaseException | None = None
    changed: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> bool:
        """Whether nothing is in flight any more, and all of it is committed or left."""
        ingest = self.ingest
        return ingest.drained.is_set() and self.fusion.state.ended(ingest.delivered, ingest.left)

    def start(self) -> None:
        for name, target in (("ingest", self.ingest.run), ("fusion", self.fusion.run)):
            thread = threading.Thread(target=self._guard, args=(target,), name=name, daemon=True)
            thread.start()
            self.threads.append(thread)

    def _guard(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            self.failure = self.failure or error
            self.changed.set()

    def stop(self) -> None:
        """Gives both loops CLOSE_S to end: one may be in a call that its broker does not answer."""
        self.ingest.stop()
        self.fusion.stop()
        until_us = monotonic_us() + round(CLOSE_S * 1e6)
        for thread in self.threads:
            thread.join(max(0.0, (until_us - monotonic_us()) / 1e6))


def run_local(
    spec: PipelineSpec, connector: Connector, control: RunControl
) -> tuple[Totals, float]:
    """Runs a pipeline in this process; raises MotetError (Fenced where another run took over)."""
    lengths = check_pipeline(spec)
    with closing(HeadWatch(spec, lengths)) as heads, closing(connector.control()) as log:
        return _run(spec, connector, control, lengths, heads, log)


def _run(
    spec: PipelineSpec,
    connector: Connector,
    control: RunControl,
    lengths: Mapping[str, int],
    heads: HeadWatch,
    log: Control,
) -> tuple[Totals, float]:
    layout = check_topics(spec, log)
    view = LocalView(heads)
    control.show(view)
    ends = log.stable_ends(layout.partitions(spec)) if control.until_end else None
    retry = Retry(control.stop)
    owners, cuts = take_slots(spec, connector, layout, retry)
    abandoned = threading.Event()
    retry.until(abandoned)  # a drain finishes its transactions: being told to stop ends none
    encoders = EncoderThreads(spec, lengths)
    settle_heap()
    fuser = heads.fuser()
    running = _wire(spec, connector, layout, owners, cuts, lengths, encoders, ends, fuser)
    began_us = monotonic_us()
    running.start()
    if control.swap_heads:
        heads.start()
    view.started(running.ingest, running.fusion, encoders.shown)
    control.ready.set()
    try:
        _wait(running, control, view.showing, spec.windows.size_us, heads)
        seconds = (monotonic_us() - began_us) / 1e6
        await_readable(spec, layout, log, control.say)
    finally:
        abandoned.set()  # a transaction that is tried without end must not outlive the run
        running.stop()
        encoders.close()
        close_all(owners)
        if running.tracer is not None:
            running.tracer.close()
    return running.fusion.state.totals, seconds


def take_slots(
    spec: PipelineSpec, connector: Connector, layout: Layout, retry: Retry
) -> tuple[dict[int, SlotOwner], dict[int, dict[int, LaneCut]]]:
    """Every slot of the pipeline: all ids are fenced before any is recovered."""
    run_id = uuid.uuid4().hex[:12]
    owners: dict[int, SlotOwner] = {}
    with closing(connector.control()) as control, ExitStack() as opened:
        for slot in layout.slots(spec):
            owners[slot] = SlotOwner(layout.identity(spec, slot, run_id), connector, retry)
            opened.callback(owners[slot].close)
        fence_all(owners, retry)
        stale = retry.call(partial(stale_ids, spec, layout, control))
        retry.call(partial(fence_ids, spec, connector, stale))
        cuts = recover_all(owners, spec, retry)
        opened.pop_all()  # from here on they are the caller's to close
    return owners, cuts


def _wire(
    spec: PipelineSpec,
    connector: Connector,
    layout: Layout,
    owners: Mapping[int, SlotOwner],
    cuts: Mapping[int, Mapping[int, LaneCut]],
    lengths: Mapping[str, int],
    encoders: EncoderThreads,
    ends: Mapping[TopicPartition, int] | None,
    fuser: Fuser,
) -> Running:
    tracer = tracer_of(spec.name)
    task = IngestTask(spec, cuts, ends, layout.message_bytes, tracer=tracer)
    fusion_task = FusionTask(spec, lengths, owners, layout.message_bytes, fuser, tracer)
    fusion = FusionRunner(
        fusion_task,
        {slot: owner.committer for slot, owner in owners.items()},
        lambda slot, numbers: ingest.post_committed(slot, numbers),
        monotonic_us,
    )
    ingest: IngestRunner = IngestRunner(
        task,
        connector.source(),
        lambda assignment: encoders.run(assignment, ingest),
        fusion.deliver,
        monotonic_us,
    )
    for stage, replicas in encoders.replicas.items():
        task.set_replicas(stage, replicas)
    return Running(ingest, fusion, tracer)


def _wait(
    running: Running,
    control: RunControl,
    showing: Showing,
    window_us: int,
    heads: HeadWatch,
) -> None:
    """Until all is done, told to stop (what is in flight is finished), or something has failed."""
    draining_until_us: int | None = None
    telling = Telling(control.say, window_us)
    while True:
        running.changed.wait(0.02)
        if heads.changed():
            running.fusion.swap(heads.fuser())
            control.say(heads.line)
        warnings = [*running.ingest.take_warnings(), *heads.news()]
        if warnings:
            showing.warn(warnings)
        state = running.fusion.state
        telling.look(
            monotonic_us(),
            state.totals.windows,
            running.ingest.waiting if state.not_ready is None else [state.not_ready],
            warnings,
            running.ingest.view.troubles,
        )
        if running.failure is not None:
            raise running.failure
        if monotonic_us() - min(running.ingest.stepped_us, running.fusion.stepped_us) > HUNG_US:
            raise MotetError("the run hangs: no step of its loops for 60 s; start it again")
        if control.stop.is_set() and draining_until_us is None:
            running.ingest.drain(control.drain_s * ENCODERS_SHARE)
            draining_until_us = monotonic_us() + int(control.drain_s * 1e6)
        ending = control.until_end or draining_until_us is not None
        if ending and running.done:
            if running.ingest.left:
                control.say(left_behind(running.ingest.left))
            return
        if draining_until_us is not None and monotonic_us() > draining_until_us:
            raise unfinished(control.drain_s, running.ingest.not_ready or state.not_ready)
