"""One owner of slots: its ingest and its fusion actor, started and ended together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.remote import control, drained, fusion_actor, ingest_actor, watch
from actors.watch import Ending, FusionStatus, IngestStatus
from pipeline.errors import Fenced, MotetError, PositionLost
from pipeline.fusion.head_files import LoadedHead
from pipeline.lane import LaneCut
from pipeline.slot.ports import Connector, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.handed_over import Handed
from pipeline.tasks.owner_figures import OwnerFigures
from pipeline.tasks.starting import Layout
from pipeline.tasks.totals import Totals

STATUS_S = 10.0
LAST_S = 5.0  # of an owner that is killed then
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
        num_cpus: float,
    ) -> None:
        self.slots = list(slots)
        self._spec = spec
        self._connector = connector
        self._layout = layout
        self._num_cpus = num_cpus
        self._fusion_args = (spec, connector, layout, list(slots), run_id, dict(lengths))
        self._head = head
        self.fusion: Any = None
        self.ingest: Any = None
        self.watches: dict[Any, str] = {}  # reference -> role
        self.drained: Any = None  # reference, while it is not
        self.waiting: list[str] = []
        self.warnings: list[str] = []
        self.overdue: list[str] = []
        self._epochs: dict[int, int] = {}
        self._cuts: dict[int, dict[int, LaneCut]] = {}
        self.counted = OwnerFigures()
        self.not_ready: str | None = "starting"

    def spawn(self, again: bool = False) -> None:
        """Starts the processes of both halves and returns at once.

        ``again``: in place of ones that ended; they take nothing back from a run that took over.
        """
        self.fusion = fusion_actor(self._num_cpus).remote(*self._fusion_args, self._head, again)
        self.ingest = ingest_actor(self._num_cpus).remote(self._spec, self._connector)

    def fence(self) -> None:
        """Older owners of the slots can commit nothing from here on; both processes are up."""
        self._epochs = _answer(self.fusion.fence.remote())
        ray.get(self.ingest.pid.remote())

    def recover(self) -> None:
        """Claims the slots; all ids of the pipeline must have been fenced before."""
        self._cuts = _answer(self.fusion.recover.remote())
        lanes = {lane: cut for cuts in self._cuts.values() for lane, cut in cuts.items()}
        self.counted.recovered({lane: cut.number for lane, cut in lanes.items()})

    def introduce(
        self,
        ends: Mapping[TopicPartition, int] | None,
        encoders: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Both halves know what was recovered, each other and the replicas; nothing runs yet."""
        handles = {stage: dict(replicas) for stage, replicas in encoders.items()}
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

    def set_encoders(self, stage: str, replicas: Mapping[str, Any]) -> None:
        self.ingest.set_encoders.remote(stage, dict(replicas))

    def last_words(self, role: str) -> None:
        """What a half that lives still knows, where the other one or both (``role``) end."""
        if role == "ingest":
            _last(control(self.fusion.stop).remote())
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
        self.counted.ended()
        self.watches = {}
        self.drained = None

    def drain(self) -> None:
        control(self.ingest.drain).remote()

    def status(self) -> bool:
        """Whether it is drained and all is committed; refreshes what both halves tell.

        Raises GetTimeoutError where one does not answer, Hung where its loop does not come round.
        """
        ingest: IngestStatus
        fusion: FusionStatus
        ingest, fusion = ray.get(
            [
                control(self.ingest.status).remote(self.counted.seen),
                control(self.fusion.status).remote(),
            ],
            timeout=STATUS_S,
        )
        state = fusion.state
        self.counted.told(ingest.view, state)
        self.not_ready = ingest.not_ready
        self.waiting, self.overdue = ingest.waiting, ingest.overdue
        self.warnings += ingest.warnings
        if max(ingest.silent_us, fusion.silent_us) > HUNG_US:
            raise Hung("its loop hangs")
        # What ingest has sent may still be on its way: fusion must have taken all of it.
        return ingest.drained and state.taken == ingest.delivered and state.idle

    @property
    def totals(self) -> Totals:
        return self.counted.totals

    def stop(self) -> None:
        """Closes the producers properly, so that nothing waits for a transaction's timeout."""
        if not self.watches:
            return
        try:
            ray.get(control(self.fusion.stop).remote(), timeout=STATUS_S)
        except (GetTimeoutError, RayActorError):
            self.watches = {}  # a dead or stuck one is fenced by the next owner instead


def _last(ref: Any) -> Any:
    """What an actor answers before it is killed; None where it does not."""
    try:
        return ray.get(ref, timeout=LAST_S)
    except (GetTimeoutError, RayActorError, RayTaskError):
        return None


def _answer(ref: Any) -> Any:
    """What an actor answered; an Ending is raised as the error that it tells of."""
    answer = ray.get(ref)
    if isinstance(answer, Ending):
        raise error_of(answer)
    return answer


def error_of(ending: Ending) -> MotetError:
    kinds: dict[str, type[MotetError]] = {"fenced": Fenced, "refused": PositionLost}
    return kinds.get(ending.kind, MotetError)(ending.text)
