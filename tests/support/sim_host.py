"""One process that owns a pipeline's slots, without threads: the simulation says when each moves.

It is the third host beside ``pipeline.local`` and ``actors``; what it calls is what they call,
one call a step, with any delay between. Its two halves have clocks of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

from sim_around import Around
from sim_reading import Reading
from sim_replicas import Replicas

from actors.fusion import FusionActor
from actors.packing import pack_messages
from pipeline.errors import Transient
from pipeline.lane import LaneCut
from pipeline.slot.committer import SlotIdentity
from pipeline.slot.ledger import Batch
from pipeline.slot.ports import Connector, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.messages import Message
from pipeline.tasks.starting import SlotOwner, check_topics, fence_ids, stale_ids

T = TypeVar("T")


class Host:
    """Everything of one owner of slots of a pipeline: of all of them when its run begins.

    ``phase``: starting, running, draining or ended. ``busy``: its threads that are in a call
    (``start``, ``ingest``, ``check``, or the number of a slot that commits); the others may go on.
    ``superseded``: another owner has opened one of its transactional ids. ``frozen``: its process
    stands still.
    """

    task: IngestTask
    fusion: FusionTask
    reading: Reading
    replicas: Replicas
    identity: Callable[[int], SlotIdentity]

    def __init__(
        self,
        name: str,
        run_id: str,
        spec: PipelineSpec,
        connector: Connector,
        around: Around,
        *,
        again: bool = False,
        slots: Collection[int] | None = None,
        ends: Mapping[TopicPartition, int] | None = None,
        on_claimed: Callable[[Host, int], None] = lambda _host, _slot: None,
    ) -> None:
        """``again``: the run had these slots before. ``ends``: run up to there, as --until-end.

        ``slots``: of a run that has started (None: all of them, and the run starts).
        """
        self.name = name
        self.run_id = run_id
        self.spec = spec
        self.phase = "starting"
        self.busy: set[str | int] = set()
        self.superseded = False
        self.frozen = False
        self.slots: set[int] = set(slots or ())  # as its run has it
        self.replaced = False  # another was started in its place
        self.began = again  # it had all its slots once, or another before it
        self.closed = False
        self.left: dict[int, dict[int, int]] = {}  # by slot that its ingest half has finished
        self.gave = False
        self.taking_owner: SlotOwner | None = None
        self.claims: dict[int, LaneCut] = {}
        self.floors: dict[int, int | None] = {}  # by lane, as last seen
        self.owners: dict[int, SlotOwner] = {}
        self.inboxes: dict[int, deque[list[Message]]] = {}
        self.committing: dict[int, Batch] = {}
        self.acks: list[tuple[int, Mapping[int, int]]] = []
        self._connector = connector
        self._around = around
        self._ends = ends
        self._on_claimed = on_claimed
        self._behind_us = {half: around.rng.randrange(1 << 40) for half in ("ingest", "fusion")}
        self._start = self._starting(again, slots)
        self._wall_off_us = 0
        stands_for = SimpleNamespace(deliver=self._delivered)
        self._actor: Any = SimpleNamespace(_owners=self.owners, _runner=stands_for)

    def _wall_us(self) -> int:
        """By a clock that somebody sets now and then: nothing may hang on it."""
        now_us, self._wall_off_us = self._around.walls.wall_us(self._wall_off_us)
        return now_us

    def _now_us(self, half: str) -> int:
        """Monotonic clocks of two machines: neither is the wall clock."""
        return self._around.now_us() - self._behind_us[half]

    @contextmanager
    def _in_call(self, thread: str | int) -> Iterator[None]:
        self.busy.add(thread)
        try:
            yield
        finally:
            self.busy.discard(thread)

    # -- starting, as pipeline.local.take_slots (tests/sim/test_take_slots holds it to this) --

    def start_step(self) -> None:
        """The next call of the start; at its end the host runs."""
        with self._in_call("start"):
            next(self._start, None)

    def _starting(self, again: bool, slots: Collection[int] | None) -> Iterator[None]:
        spec, connector, rng = self.spec, self._connector, self._around.rng
        control = connector.control()
        layout = check_topics(spec, control)
        self.identity = lambda slot: layout.identity(spec, slot, self.run_id)
        self.slots = set(layout.slots(spec) if slots is None else slots)
        self.owners |= {slot: self._owner(slot, again) for slot in sorted(self.slots)}
        first, others = list(self.owners)[:1], list(self.owners)[1:]
        yield
        rng.shuffle(others)  # a real host has them side by side
        for slot in (*first, *others):
            self._retried(self.owners[slot].fence)
            yield
        if slots is None:
            for stale in self._retried(partial(stale_ids, spec, layout, control)):
                self._retried(partial(fence_ids, spec, connector, [stale]))
                self._around.sometimes("a stale id fenced")
                yield
        rng.shuffle(others)
        cuts: dict[int, dict[int, LaneCut]] = {}
        for slot in (*first, *others):
            cuts[slot] = self._retried(partial(self.owners[slot].recover, spec))
            self.claims |= cuts[slot]
            self._on_claimed(self, slot)
            yield
        self._run(cuts, layout.message_bytes)

    def _owner(self, slot: int, again: bool) -> SlotOwner:
        identity = self.identity(slot)
        return SlotOwner(identity, self._connector, self._around.pause, again)

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
        batches = self._around.call_batches
        self.task = IngestTask(self.spec, cuts, self._ends, limits, batches)
        self.fusion = FusionTask(self.spec, self._around.lengths, cuts, limits)
        self.inboxes = {slot: deque() for slot in cuts}
        now_us = partial(self._now_us, "ingest")
        in_call = partial(self._in_call, "ingest")
        self.reading = Reading(self.task, self._connector.source(), self._around, now_us, in_call)
        self.replicas = Replicas(self.spec, self.task, self._around, now_us)
        self.phase = "running"
        self.began = True

    # -- the ingest half --------------------------------------------------------------------

    def pump(self) -> None:
        before = self._open_windows()
        self.task.pump(self._now_us("ingest"))
        for lane, (positions, windows) in self._open_windows().items():
            if positions == before[lane][0] and windows < before[lane][1]:
                self._around.sometimes("silence closed a window")

    def _open_windows(self) -> dict[int, tuple[dict[str, int], int]]:
        return {
            lane: (dict(feed.lane.positions), feed.lane.open_windows)
            for lane, feed in self.task.lanes.items()
        }

    def hand_on(self) -> None:
        self.replicas.take()
        for slot, messages in self.task.take_deliveries().items():
            self.inboxes[slot].append(messages)
        self.left |= self.task.take_left()
        if self.phase == "running":
            self.reading.take_pauses()

    def ingest_round(self) -> None:
        """As pipeline.tasks.ingest_runner."""
        self.reading.poll()
        self.pump()
        self.reading.ask_ends()
        self.pump()
        self.hand_on()
        if self._around.walls.look():
            self.task.view(self._now_us("ingest"), self._wall_us())

    def ack(self, number: int = 0) -> None:
        if number:
            self._around.sometimes("an acknowledgement overtook another")
        self.task.on_committed(*self.acks.pop(number))

    # -- the fusion half --------------------------------------------------------------------

    def deliver(self, slot: int) -> None:
        """The slot's next bundle, or its first part."""
        inbox = self.inboxes[slot]
        messages = inbox.popleft()
        if len(messages) > 1 and self._around.rng.random() < 0.5:
            first = self._around.rng.randrange(1, len(messages))
            inbox.appendleft(messages[first:])
            messages = messages[:first]
        self.fusion.on_messages(slot, messages)

    def deliver_of(self, other: Host) -> None:
        """What another owner of the same run has sent comes here, to the actor's own method."""
        packed = {
            (slot, other.owners[slot].epoch): pack_messages(inbox[0])
            for slot, inbox in other.inboxes.items()
            if inbox and slot in self.owners
        }
        if packed:
            self._around.sometimes("messages of another epoch")
            FusionActor.deliver(self._actor, packed)

    def _delivered(self, current: Mapping[int, list[Message]]) -> None:
        for slot, messages in current.items():
            self.fusion.on_messages(slot, messages)

    def look_for_due(self) -> None:
        self.committing |= self.fusion.due(self._now_us("fusion"))

    def commit(self, slot: int) -> None:
        """The slot's transaction, until it stands or raises."""
        batch = self.committing[slot]
        with self._in_call(slot):
            self.owners[slot].committer.commit(batch.cuts, batch.records)
        del self.committing[slot]
        self.acks.append((slot, self.fusion.on_committed(slot, self._wall_us())))

    def check_owner(self) -> None:
        """As an idle owner does now and then; a slot's committer is never asked by two at once."""
        for slot, owner in self.owners.items():
            if slot not in self.busy:
                try:
                    with self._in_call("check"):
                        owner.committer.check_owner()
                except Transient:
                    self._around.sometimes("an owner could not ask who owns it")

    # -- slots that come and go, as actors.fusion and actors.ingest ---------------------------

    def leave(self, slot: int) -> None:
        """The ingest half reads a slot no more."""
        self.reading.remove(self.task.leave_slot(slot))

    def may_give(self, slot: int) -> bool:
        return (
            slot in self.left
            and not self.inboxes[slot]
            and slot not in self.committing
            and self.fusion.has_left(slot, self.left[slot])
        )

    def give(self, slot: int) -> dict[int, LaneCut]:
        """The fusion half has the slot no more; by lane the newest cut that it has committed."""
        del self.left[slot], self.inboxes[slot]
        self.gave = True
        cuts = self.fusion.let_go(slot)
        self.owners.pop(slot).close()
        return cuts

    def taking(self, slot: int, handed: Mapping[int, LaneCut]) -> Iterator[None]:
        """The calls of a slot's way here, one at a time."""
        owner = self.taking_owner = self._owner(slot, again=True)
        with self._in_call("move"):
            self._retried(owner.fence)
        yield
        with self._in_call("move"):
            cuts = self._retried(partial(owner.recover, self.spec))
        owner.demand_handed(cuts, handed)
        self.owners[slot] = owner
        self.taking_owner = None
        self.claims |= cuts
        for lane in cuts:
            self.floors.pop(lane, None)
        self._on_claimed(self, slot)
        self.inboxes[slot] = deque()
        self.fusion.take_slot(slot)
        yield
        self.reading.add(self.task.take_slot(slot, cuts))

    # -- the whole --------------------------------------------------------------------------

    @property
    def awaited(self) -> bool:
        """Whether anything is on its way between its halves, its encoders and the log."""
        return bool(
            self.task.dispatcher.windows
            or not self.replicas.idle
            or any(self.inboxes.values())
            or self.committing
            or self.acks
            or not self.fusion.idle
        )

    def round(self) -> None:
        """All that there is to do, once, as an undisturbed host does it."""
        replicas = self.replicas
        if self.phase == "running":
            self.ingest_round()
        replicas.end_overdue()
        for stage in replicas.missing():
            replicas.join(stage)
        self.hand_on()
        while not replicas.idle:
            while replicas.batches:
                replicas.encode()
            while replicas.results:
                replicas.tell()
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
        lanes = self.task.lanes.items()
        return {
            "phase": self.phase,
            "windows": self.task.dispatcher.windows,
            "batches": len(self.replicas.batches),
            "in flight": self.task.in_flight_bytes,
            "open": {lane: feed.lane.open_windows for lane, feed in lanes},
            "positions": {lane: dict(feed.lane.positions) for lane, feed in lanes},
            "committing": list(self.committing),
            "fusion idle": self.fusion.idle,
        }
