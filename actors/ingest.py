"""The ingest half of an owner's slots."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayActorError

from actors.logged import Logged
from actors.packing import pack, pack_messages, unpack_results
from actors.watch import Ending, IngestStatus, Watched
from pipeline.batching.dispatch import Assignment
from pipeline.clock import monotonic_us
from pipeline.heap import settle_heap
from pipeline.lane import LaneCut
from pipeline.slot.ports import Connector, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.handed_over import Handed, HandedOver
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.ingest_runner import IngestRunner
from pipeline.tasks.messages import Deliveries
from pipeline.tracing import tracer_of

# A call costs 5 ms of processor time on all sides together, of which 2 MB of payload are 0.4.
CALL_BATCHES = 2


class IngestActor(Logged):
    """Reads its lanes, closes windows, sends them to encoders and what came of them to fusion.

    Every batch is pulled back by this actor, so that a replica's death loses nothing: the
    call fails, the replica gets no more, and the batch goes to others.
    """

    def __init__(self, spec: PipelineSpec, connector: Connector) -> None:
        """Only starts the process; ``meet`` gives it its slots."""
        self._begin_logs(spec, "ingest")
        self._spec = spec
        self._connector = connector
        self._watched = Watched("ingest")
        self._tracer = tracer_of(spec.name)
        self._handed = HandedOver(spec.outputs.dead_letter)
        self._encoders: dict[str, Any] = {}  # replica -> handle
        self._stages: dict[str, list[str]] = {}
        self._number = 0  # of the last change of replicas
        self._replicas_lock = threading.Lock()  # told by the supervisor, and by a batch's death
        settle_heap()

    def meet(
        self,
        cuts: Mapping[int, Mapping[int, LaneCut]],
        epochs: Mapping[int, int],
        ends: Mapping[TopicPartition, int] | None,
        message_bytes: Mapping[str, int],
        fusion: Any,
        encoders: Mapping[str, dict[str, Any]],
    ) -> None:
        """Will go on from the recovered cuts, under the epochs that the fusion half opened.

        What takes its time is done here and not when the run begins: the source is connected,
        and the modules of the others' classes are imported with their handles.
        """
        self._epochs = dict(epochs)
        self._owns(epochs)
        self._fusion = fusion
        self._runner = IngestRunner(
            IngestTask(self._spec, cuts, ends, message_bytes, CALL_BATCHES, self._tracer),
            self._connector.source(),
            self._encode,
            self._deliver,
            monotonic_us,
        )
        for stage, replicas in encoders.items():
            self.set_encoders(stage, replicas)

    def start(self) -> None:
        self._watched.start(self._runner.run)

    def take(self, slot: int, cuts: Mapping[int, LaneCut], epoch: int) -> None:
        """Goes on with a slot that the fusion half has claimed under this epoch; reads it then."""
        self._epochs[slot] = epoch
        self._owns(self._epochs)
        self._handed.begin(cuts)
        self._runner.moves.take(slot, cuts).result()

    def leave(self, slot: int) -> dict[int, int]:
        """Reads a slot no more and finishes what it has closed; by lane its last cut's number."""
        numbers = self._runner.moves.leave(slot).result()
        del self._epochs[slot]
        self._owns(self._epochs)
        return numbers

    def set_encoders(self, stage: str, replicas: dict[str, Any], number: int = 0) -> None:
        """``number`` grows: it comes back with ``IngestStatus.holding``."""
        with self._replicas_lock:
            self._encoders |= replicas
            self._stages[stage] = list(replicas)
            self._number = number
            self._runner.post_replicas(stage, list(replicas), number)

    def set_limits(self, stage: str, batch_max: int, timeout_us: int) -> None:
        self._runner.post_limits(stage, batch_max, timeout_us)

    def committed(self, slot: int, numbers: dict[int, int]) -> None:
        self._runner.post_committed(slot, numbers)

    def drain(self, patience_s: float) -> None:
        self._runner.drain(patience_s)

    def wait_drained(self) -> None:
        """Returns once nothing is in flight any more; a thread of the actor waits meanwhile."""
        self._runner.drained.wait()
        if self._tracer is not None:
            self._tracer.flush()

    def status(self, seen: Mapping[int, int]) -> IngestStatus:
        """``seen``: by lane, the newest cut that is known to be committed and counted."""
        runner = self._runner
        self._handed.forget(seen)
        self._let_go()
        return IngestStatus(
            runner.drained.is_set(),
            runner.delivered,
            runner.left,
            runner.waiting,
            runner.take_warnings(),
            runner.overdue,
            runner.holding,
            monotonic_us() - runner.stepped_us,
            runner.view,
            runner.not_ready,
        )

    def handed_over(self) -> Handed:
        """What of it may be committed without being counted: asked where its other half died."""
        return self._handed.held()

    def node(self) -> str:
        """Ray's id of the node that it runs on."""
        return str(ray.get_runtime_context().get_node_id())

    def pid(self) -> int:
        return os.getpid()

    def watch(self) -> Ending:
        """Returns when the loop has ended; its reference fails when the process dies."""
        return self._watched.wait()

    # -- from the runner's thread -----------------------------------------------------------

    def _deliver(self, deliveries: Deliveries) -> None:
        for messages in deliveries.values():
            self._handed.note(messages)
        packed = {
            (slot, self._epochs[slot]): pack_messages(messages)
            for slot, messages in deliveries.items()
        }
        self._fusion.deliver.remote(packed)

    def _encode(self, assignment: Assignment) -> None:
        handle = self._encoders[assignment.replica]
        ref: ObjectRef[Any] = handle.encode.remote(pack(assignment.jobs, monotonic_us()))
        ref.future().add_done_callback(lambda future: self._encoded(assignment, future))

    def _encoded(self, assignment: Assignment, future: Any) -> None:
        try:
            packed, run = future.result()
        except Exception as error:
            if isinstance(error, RayActorError):
                self._forget(assignment.stage, assignment.replica)
            cause = next(iter(str(error).strip().splitlines()), "")
            self._runner.post_lost(assignment.number, f"{type(error).__name__}: {cause}")
        else:
            self._runner.post_batch(assignment.number, unpack_results(packed), run)

    def _let_go(self) -> None:
        """Handles of replicas that are used no more: of those that came since nothing is known."""
        if self._runner.holding is None:
            return
        told, holding = self._runner.holding
        with self._replicas_lock:
            if told == self._number:
                used = holding.union(*self._stages.values())
                self._encoders = {n: each for n, each in self._encoders.items() if n in used}

    def _forget(self, stage: str, replica: str) -> None:
        """At once, not when the supervisor tells: or the batch would go to the dead again."""
        with self._replicas_lock:
            left = [name for name in self._stages[stage] if name != replica]
            self._stages[stage] = left
            self._runner.post_replicas(stage, left)
