"""One owner of slots: its ingest and its fusion actor, started and ended together."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.placement import Places
from actors.remote import control, drained, fusion_actor, ingest_actor, watch
from actors.watch import Ending, FusionStatus, IngestStatus
from pipeline.clock import monotonic_us
from pipeline.errors import Fenced, MotetError, PositionLost, TakenOver
from pipeline.fusion.head_files import LoadedHead
from pipeline.lane import LaneCut
from pipeline.slot.ports import Connector, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.handed_over import Handed
from pipeline.tasks.owner_figures import OwnerFigures
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import Layout, SlotOwner, close_all
from pipeline.tasks.totals import Totals

LOOK_S = 0.2  # between two looks at whether the run is told to stop
STATUS_S = 10.0
LAST_S = 5.0  # of an owner that is killed then
TAKE_S = 3.0  # of one that takes its slots while the run is told to stop
CLAIM_S = 8.0  # within which one that took over has claimed the slots
PATIENCE_S = 2.0  # of them for its transactions that are under way
HUNG_US = 60_000_000  # above all waits of a healthy loop, those for an absent broker included


class Hung(Exception):
    """A loop answers but does not come round."""


class OwnerPair:
    """Both halves under one epoch; where one ends, both are killed and begin anew.

    Kafka is the only point of recovery: the fusion half fences and recovers first and its
    cuts go to ingest.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        connector: Connector,
        layout: Layout,
        slots: Sequence[int],
        run_id: str,
        lengths: Mapping[str, int],
        head: LoadedHead | None,
        places: Places,
        stop: threading.Event,
        name: str = "",
    ) -> None:
        """``stop``: the run is told to stop, and waits for no slot any more."""
        self.slots = list(slots)  # those that it has now: they come and go
        self._stop = stop
        self._spec = spec
        self._connector = connector
        self._layout = layout
        self._places = places
        self.name = name or f"owner-{slots[0]}"
        self._fusion_args = (spec, connector, layout, self.slots, run_id, dict(lengths))
        self._head = head
        self.fusion: Any = None
        self.ingest: Any = None
        self.watches: dict[Any, str] = {}  # reference -> role
        self.drained: Any = None  # reference, while it is not
        self.left = 0
        self.waiting: list[str] = []
        self.warnings: list[str] = []
        self._asked: list[Any] = []  # what its halves were asked, and have not been read yet
        self.overdue: list[str] = []
        # Replicas that get batches of its, or have some; None: not told since they were changed.
        self.holding: frozenset[str] | None = None
        self._told = 0  # how often they were changed
        self._epochs: dict[int, int] = {}
        self._cuts: dict[int, dict[int, LaneCut]] = {}
        self.counted = OwnerFigures()
        self.not_ready: str | None = "starting"
        self.leaving = False  # it is drained here, to go on on another node
        self.retiring = False  # it gives its slots away, and ends when it has none
        self.since_s: float | None = None  # when it has come, beside those that were there
        self._up: list[Any] = []

    def spawn(self, again: bool = False) -> None:
        """Starts the processes of both halves and returns at once.

        ``again``: in place of ones that ended; they take nothing back from a run that took over.
        """
        cpus = self._places.cpus
        ingest_at, fusion_at = self._places.owner(self.name)
        self.fusion = fusion_actor(cpus, fusion_at).remote(*self._fusion_args, self._head, again)
        self.ingest = ingest_actor(cpus, ingest_at).remote(self._spec, self._connector)

    def ask_up(self) -> None:
        """Of one without slots: asks its processes whether they are there; ``is_up`` says it."""
        self._up = [self.fusion.fence.remote(), self.ingest.node.remote()]

    def is_up(self) -> bool:
        """Whether both are there, or one has ended."""
        return len(ray.wait(self._up, num_returns=len(self._up), timeout=0)[0]) == len(self._up)

    def fence(self) -> None:
        """Older owners of the slots can commit nothing from here on; both processes are up."""
        self._epochs = self._answer(self.fusion.fence.remote())
        self._places.stands(self.name, ray.get(self.ingest.node.remote()))

    def recover(self) -> None:
        """Claims the slots; all ids of the pipeline must have been fenced before."""
        self._cuts = self._answer(self.fusion.recover.remote())
        lanes = {lane: cut for cuts in self._cuts.values() for lane, cut in cuts.items()}
        self.counted.recovered({lane: cut.number for lane, cut in lanes.items()})

    def introduce(
        self,
        ends: Mapping[TopicPartition, int] | None,
        encoders: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Both halves know what was recovered, each other and the replicas; nothing runs yet."""
        handles = {
            stage: self._places.near_first(self.name, replicas)
            for stage, replicas in encoders.items()
        }
        fusion = self.fusion.meet.remote(self.ingest)
        ingest = self.ingest.meet.remote(
            self._cuts, self._epochs, ends, self._layout.message_bytes, self.fusion, handles
        )
        ray.get([fusion, ingest])

    def begin(self) -> None:
        """Starts both loops."""
        ray.get([self.fusion.start.remote(), self.ingest.start.remote()])
        self.watches = {watch(self.fusion): "fusion", watch(self.ingest): "ingest"}
        self.drained = drained(self.ingest)

    def swap(self, head: LoadedHead | None) -> None:
        """Another head; one that is started again has it too."""
        self._head = head
        control(self.fusion.swap).remote(head)

    def demand_ours(self) -> None:
        """Raises Fenced where another run has claimed slots of this owner, which was fenced.

        A claim follows a takeover within moments. Where none does nobody took over: a coordinator
        that failed amid our own transaction may hold an epoch that it has given to nobody.
        """
        spec, connector, layout, slots, run_id, _ = self._fusion_args
        retry = Retry(self._stop)
        ours = {
            slot: SlotOwner(layout.identity(spec, slot, run_id), connector, retry, again=True)
            for slot in slots
        }
        until_us, answered = monotonic_us() + round(CLAIM_S * 1e6), False
        try:
            while not (answered and monotonic_us() > until_us) and not self._stop.is_set():
                answered = all(slot.is_ours() for slot in ours.values())
                self._stop.wait(LOOK_S)
        finally:
            close_all(ours)

    def respec(self, spec: PipelineSpec, stages: Iterable[str]) -> None:
        """The file with other limits of these stages; one that is started again has them too."""
        self._spec = spec
        self._fusion_args = (spec, *self._fusion_args[1:])
        for stage in stages:
            limits = spec.stages[stage]
            self.ingest.set_limits.remote(stage, limits.batch_max, limits.timeout_us)

    def set_encoders(self, stage: str, replicas: Mapping[str, Any]) -> None:
        self._told += 1
        self.holding = None
        near_first = self._places.near_first(self.name, replicas)
        self.ingest.set_encoders.remote(stage, near_first, self._told)

    def last_words(self, role: str) -> None:
        """What a half that lives still knows, where the other one or both (``role``) end."""
        if role == "ingest":
            _last(control(self.fusion.stop).remote(PATIENCE_S))
            fusion: FusionStatus | None = _last(control(self.fusion.status).remote())
            if fusion is not None:
                self.counted.told(None, fusion.state)
        else:
            handed: Handed = _last(control(self.ingest.handed_over).remote()) or {}
            self.counted.ended(handed)

    def kill(self) -> None:
        self.not_ready = f"slots {self.slots} have no owner yet"
        for handle in (self.ingest, self.fusion):
            if handle is not None:
                ray.kill(handle)
        self._places.gone(self.name)
        self.counted.ended()
        self.watches = {}
        self.drained = self.holding = None
        self._asked = []
        self._told = self.left = 0
        self.leaving = False

    def drain(self, patience_s: float = inf) -> None:
        """``patience_s``: for encoders; windows that they still have then are ``left``."""
        control(self.ingest.drain).remote(patience_s)

    def ask(self) -> None:
        """Asks both halves; ``status`` waits for the answers."""
        self._asked = [
            control(self.ingest.status).remote(self.counted.seen),
            control(self.fusion.status).remote(),
        ]

    def status(self) -> bool:
        """Whether it is drained and all is committed or left; refreshes what both halves tell.

        Raises GetTimeoutError where one does not answer, Hung where its loop does not come round.
        """
        ingest: IngestStatus
        fusion: FusionStatus
        if not self._asked:
            self.ask()
        asked, self._asked = self._asked, []
        ingest, fusion = ray.get(asked, timeout=STATUS_S)
        state = fusion.state
        self.counted.told(ingest.view, state)
        self.not_ready = ingest.not_ready or state.not_ready
        self.waiting = ingest.waiting if state.not_ready is None else [state.not_ready]
        self.overdue = ingest.overdue
        told, holding = ingest.holding or (0, None)
        self.holding = holding if told == self._told else None
        self.warnings += ingest.warnings
        if max(ingest.silent_us, fusion.silent_us) > HUNG_US:
            raise Hung("its loop hangs")
        self.left = ingest.left
        # What ingest has sent may still be on its way: fusion must have taken all of it.
        return ingest.drained and state.ended(ingest.delivered, ingest.left)

    @property
    def node(self) -> str | None:
        """Ray's id of the node on which it stands, or is to stand."""
        return self._places.where(self.name)

    @property
    def totals(self) -> Totals:
        return self.counted.totals

    def stop(self) -> list[Any]:
        """Closes the producers properly, so that nothing waits for a transaction's timeout.

        The reference that is ready when it is done; a dead or stuck one is fenced by the next
        owner instead.
        """
        return [control(self.fusion.stop).remote(PATIENCE_S)] if self.watches else []

    def _answer(self, ref: Any) -> Any:
        """What an actor answered; an Ending is raised as the error that it tells of.

        It waits for a broker that is away as long as it takes, or until the run is told to stop.
        """
        while not ray.wait([ref], timeout=LOOK_S)[0]:
            if self._stop.is_set() and not ray.wait([ref], timeout=TAKE_S)[0]:
                raise MotetError("stopped before all slots were taken; run again to go on")
        answer = ray.get(ref)
        if isinstance(answer, Ending):
            raise error_of(answer)
        return answer


def _last(ref: Any) -> Any:
    """What an actor answers before it is killed; None where it does not."""
    try:
        return ray.get(ref, timeout=LAST_S)
    except (GetTimeoutError, RayActorError, RayTaskError):
        return None


def error_of(ending: Ending) -> MotetError:
    kinds: dict[str, type[MotetError]] = {
        "taken": TakenOver,
        "fenced": Fenced,
        "refused": PositionLost,
    }
    return kinds.get(ending.kind, MotetError)(ending.text)
