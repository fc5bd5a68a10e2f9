"""One process that owns a pipeline's slots, without threads: the simulation says when each moves.

It is the third host beside ``pipeline.local`` and ``actors``; what it calls is what they call,
one call a step, with any delay between. Its two halves have clocks of their own.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pipeline.batching.batch import JobResult
from pipeline.batching.dispatch import DEATHS_MAX, Assignment
from pipeline.encoders.running import EncodeTask
from pipeline.errors import Transient
from pipeline.lane import LaneCut
from pipeline.slot.ledger import Batch
from pipeline.slot.ports import Connector, Source, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.messages import Message
from pipeline.tasks.starting import SlotOwner, check_topics, fence_ids, stale_ids

T = TypeVar("T")


@dataclass(frozen=True)
class Surroundings:
    """What a host is given by the world it runs in."""

    rng: random.Random
    now_us: Callable[[], int]
    pause: Callable[[int], None]
    sometimes: Callable[[str], None]
    encoders: Mapping[str, EncodeTask]
    lengths: Mapping[str, int]
    replicas: int
    lonely_deaths_max: int  # how often a window that is alone in its batch may be lost


class Host:
    """Everything of one owner of all slots of a pipeline.

    ``phase``: starting, running, draining or ended. ``busy``: its threads that are in a call
    (``start``, ``ingest``, or the number of a slot that commits); the others may go on.
    """

    def __init__(
        self,
        name: str,
        run_id: str,
        spec: PipelineSpec,
        connector: Connector,
        around: Surroundings,
        ends: Mapping[TopicPartition, int] | None = None,
        again: bool = False,
    ) -> None:
        self.name = name
        self.run_id = run_id
        self.spec = spec
        self.phase = "starting"
        self.busy: set[str | int] = set()
        self.superseded = False  # another one has begun to take over
        self.claims: dict[int, LaneCut] = {}
        self.floors: dict[int, int | None] = {}  # by lane, as last seen
        self._connector = connector
        self._around = around
        self._ends = ends
        self._again = again
        self._skew_us = {half: around.rng.randrange(1 << 40) for half in ("ingest", "fusion")}
        self._start: Iterator[None] = self._starting()
        self.owners: dict[int, SlotOwner] = {}
        self.task: IngestTask
        self.fusion: FusionTask
        self._source: Source
        self.inboxes: dict[int, deque[list[Message]]] = {}
        self.batches: dict[int, Assignment] = {}
        self.results: list[tuple[int, list[JobResult]]] = []
        self.committing: dict[int, Batch] = {}
        self.acks: deque[tuple[int, Mapping[int, int]]] = deque()
        self._replicas: dict[str, list[str]] = {}
        self._replica_serial = 0
        self._lonely_deaths: dict[tuple[str, str, int], int] = {}
        self.on_claimed: Callable[[Host, int], None] = lambda _host, _slot: None

    def _now_us(self, half: str) -> int:
        """Monotonic clocks of two machines: neither is the wall clock."""
        return self._around.now_us() - (1 << 41) + self._skew_us[half]

    # -- starting, as pipeline.local.take_slots ---------------------------------------------

    def start_step(self) -> None:
        """The next call of the start; at its end the host runs."""
        with self._in_call("start"):
            next(self._start, None)

    @contextmanager
    def _in_call(self, thread: str | int) -> Iterator[None]:
        self.busy.add(thread)
        try:
            yield
        finally:
            self.busy.discard(thread)

    def _starting(self) -> Iterator[None]:
        spec, connector = self.spec, self._connector
        control = connector.control()
        layout = check_topics(spec, control)
        pause = self._around.pause
        self.owners = {
            slot: SlotOwner(layout.identity(spec, slot, self.run_id), connector, pause, self._again)
            for slot in layout.slots(spec)
        }
        yield
        first, *others = self.owners
        self._around.rng.shuffle(others)  # side by side
        for slot in (first, *others):
            self._retried(self.owners[slot].fence)
            yield
        for stale in self._retried(partial(stale_ids, spec, layout, control)):
            self._retried(partial(fence_ids, spec, connector, [stale]))
            self._around.sometimes("a stale id fenced")
            yield
        cuts: dict[int, dict[int, LaneCut]] = {}
        for slot in (first, *others):
            cuts[slot] = self._retried(partial(self.owners[slot].recover, spec))
            self.claims |= cuts[slot]
            self.on_claimed(self, slot)
            yield
        self._run(cuts, layout.message_bytes)

    def _retried(self, work: Callable[[], T]) -> T:
        """As pipeline.tasks.retry."""
        attempt = 0
        while True:
            try:
                return work()
            except Transient:
                attempt += 1
                self._around.pause(attempt)

    def _run(self, cuts: dict[int, dict[int, LaneCut]], limits: Mapping[str, int]) -> None:
        self.task = IngestTask(self.spec, cuts, self._ends, limits)
        self.fusion = FusionTask(self.spec, self._around.lengths, cuts, limits)
        self.inboxes = {slot: deque() for slot in cuts}
        self._source = self._connector.source()
        self._source.assign(self.task.assignment())
        for stage in self.spec.stages:
            self._replicas[stage] = []
            for _ in range(self._around.replicas):
                self.join(stage)
        if self.task.replaying:
            self._around.sometimes("a replay")
        self.phase = "running"

    # -- the ingest half --------------------------------------------------------------------

    def poll(self, leave_out: int = 0) -> bool:
        """One fetch of a random part of the partitions; a broker that is away is asked again."""
        held: list[TopicPartition] = []
        if leave_out:
            partitions = list(self.task.assignment())
            held = self._around.rng.sample(partitions, min(leave_out, len(partitions)))
            self._source.pause(held)
        try:
            with self._in_call("ingest"):
                fetches = self._source.poll(0)
        except Transient:
            fetches = []
        finally:
            if held:
                self._source.resume([p for p in held if p not in self._paused])
        replaying = self.task.replaying
        if fetches:
            self.task.on_fetches(fetches, self._now_us("ingest"))
        if replaying and any(fetch.records for fetch in fetches):
            self._around.sometimes("a replay with records")
        return bool(fetches)

    _paused: frozenset[TopicPartition] = frozenset()

    def pump(self) -> None:
        before = self._quiet_state()
        self.task.pump(self._now_us("ingest"))
        for lane, (records, windows) in self._quiet_state().items():
            if records == before[lane][0] and windows < before[lane][1]:
                self._around.sometimes("silence closed a window")
        if any(bytes_ < 0 for bytes_ in self.task.in_flight_bytes.values()):
            raise AssertionError(f"{self.name}: in flight {self.task.in_flight_bytes}")

    def _quiet_state(self) -> dict[int, tuple[dict[str, int], int]]:
        return {
            lane: (dict(feed.lane.positions), feed.lane.open_windows)
            for lane, feed in self.task.lanes.items()
        }

    def ask_ends(self) -> None:
        wanted = self.task.ends_wanted(self._now_us("ingest"))
        if wanted:
            self.task.on_ends(self._source.stable_ends(wanted), self._now_us("ingest"))

    def hand_on(self) -> None:
        for assignment in self.task.take_assignments(self._now_us("ingest")):
            assert assignment.replica in self._replicas[assignment.stage]
            self.batches[assignment.number] = assignment
        for slot, messages in self.task.take_deliveries().items():
            self.inboxes[slot].append(messages)
        if self.phase == "running":
            pause, resume = self.task.take_pauses()
            self._source.pause(pause)
            self._source.resume(resume)
            self._paused = self._paused.union(pause) - resume

    def encode(self) -> None:
        """A replica runs one of its batches; what came of it is on its way."""
        number = self._around.rng.choice(list(self.batches))
        assignment = self.batches.pop(number)
        self.results.append((number, self._around.encoders[assignment.stage].run(assignment.jobs)))

    def apply_results(self) -> None:
        number, results = self.results.pop(self._around.rng.randrange(len(self.results)))
        self.task.on_batch(number, results, self._now_us("ingest"))

    def ack(self) -> None:
        self.task.on_committed(*self.acks.popleft())

    # -- replicas ---------------------------------------------------------------------------

    def join(self, stage: str) -> None:
        self._replica_serial += 1
        self._replicas[stage].append(f"{stage}-{self._replica_serial}")
        self.task.set_replicas(stage, self._replicas[stage])

    def short_of_replicas(self) -> list[str]:
        return [n for n, have in self._replicas.items() if len(have) < self._around.replicas]

    def lose(self) -> None:
        """A replica dies with all that it has; at times only a batch's call fails."""
        rng = self._around.rng
        chosen = rng.choice(list(self.batches.values()))
        before = self.lost_before()
        if before and rng.random() < 0.8:
            chosen = rng.choice(before)
        dies = rng.random() < 0.7
        lost = [a for a in self.batches.values() if a.replica == chosen.replica and dies] or [chosen]
        alone = [self._only_window(a) for a in lost if len(a.jobs) == 1]
        most = self._around.lonely_deaths_max
        if any(self._lonely_deaths.get(window, 0) >= most for window in alone):
            return
        for window in alone:
            self._lonely_deaths[window] = self._lonely_deaths.get(window, 0) + 1
            if self._lonely_deaths[window] == DEATHS_MAX:
                self._around.sometimes("a window lost alone as often as it may be")
        if dies:
            self._leave(chosen.stage, chosen.replica)
        rng.shuffle(lost)
        for assignment in lost:
            if len(assignment.jobs) > 1:
                self._around.sometimes("suspects")
            self._lost(assignment)
        self._around.sometimes("a replica died" if dies else "a batch's call failed")

    def lost_before(self) -> list[Assignment]:
        """Batches of a window that was alone in a lost one: it may be to blame."""
        batches = self.batches.values()
        return [a for a in batches if self._lonely_deaths.get(self._only_window(a))]

    def end_overdue(self) -> None:
        """A replica that hangs is killed; its windows have failed by then."""
        for replica in self.task.dispatcher.overdue(self._now_us("ingest")):
            held = [a for a in self.batches.values() if a.replica == replica]
            for assignment in held:
                self._leave(assignment.stage, replica)
                self._lost(assignment)
                self._around.sometimes("a replica that hung was killed")

    def _leave(self, stage: str, replica: str) -> None:
        self._replicas[stage] = [name for name in self._replicas[stage] if name != replica]
        self.task.set_replicas(stage, self._replicas[stage])

    def _lost(self, assignment: Assignment) -> None:
        del self.batches[assignment.number]
        self.task.on_batch_lost(assignment.number, "its replica died", self._now_us("ingest"))

    @staticmethod
    def _only_window(assignment: Assignment) -> tuple[str, str, int]:
        job = assignment.jobs[0]
        return assignment.stage, job.stream, job.start_us

    # -- the fusion half --------------------------------------------------------------------

    def deliver(self, slot: int) -> None:
        """The slot's next bundle, or its first part."""
        inbox = self.inboxes[slot]
        messages = inbox.popleft()
        if len(messages) > 1 and self._around.rng.random() < 0.5:
            cut = self._around.rng.randrange(1, len(messages))
            inbox.appendleft(messages[cut:])
            messages = messages[:cut]
        self.fusion.on_messages(slot, messages)

    def look_for_due(self) -> None:
        self.committing |= self.fusion.due(self._now_us("fusion"))

    def commit(self, slot: int) -> None:
        """The slot's transaction, until it stands or raises."""
        committer, batch = self.owners[slot].committer, self.committing[slot]
        with self._in_call(slot):
            committer.commit(batch.cuts, batch.records)
        del self.committing[slot]
        self.acks.append((slot, self.fusion.on_committed(slot)))

    def check_owner(self) -> None:
        for slot, owner in self.owners.items():
            if slot in self.busy:
                continue
            try:
                with self._in_call("check"):
                    owner.committer.check_owner()
            except Transient:
                self._around.sometimes("an owner could not ask who owns it")

    # -- the whole --------------------------------------------------------------------------

    @property
    def awaited(self) -> bool:
        """Whether anything is on its way between its halves, its encoders and the log."""
        return bool(
            self.task.dispatcher.windows
            or self.batches
            or self.results
            or any(self.inboxes.values())
            or self.committing
            or self.acks
            or not self.fusion.idle
        )

    def round(self) -> None:
        """All that there is to do, once, as an undisturbed host does it."""
        if self.phase == "running":
            self.poll()
            self.pump()
            self.ask_ends()
            self.pump()
        self.end_overdue()
        for stage in self.short_of_replicas():
            self.join(stage)
        self.hand_on()
        while self.batches or self.results:
            while self.batches:
                self.encode()
            while self.results:
                self.apply_results()
            self.hand_on()
        for slot, inbox in self.inboxes.items():
            while inbox:
                self.deliver(slot)
        self.look_for_due()
        for slot in list(self.committing):
            if slot in self.committing and slot not in self.busy:
                self.commit(slot)
        while self.acks:
            self.ack()

    def close(self) -> None:
        """A clean end; a crash is a host that is let go as it stands."""
        self.phase = "ended"
        for owner in self.owners.values():
            owner.close()

    def state(self) -> dict[str, Any]:
        """For error messages."""
        if self.phase == "starting" or not hasattr(self, "task"):
            return {"phase": self.phase}
        return {
            "phase": self.phase,
            "windows": self.task.dispatcher.windows,
            "batches": len(self.batches),
            "in flight": self.task.in_flight_bytes,
            "open": {n: f.lane.open_windows for n, f in self.task.lanes.items()},
            "positions": {n: dict(f.lane.positions) for n, f in self.task.lanes.items()},
            "committing": list(self.committing),
            "fusion idle": self.fusion.idle,
        }
