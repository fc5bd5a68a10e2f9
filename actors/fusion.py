"""The fusion half of an owner's slots, and their transactions."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from actors.logged import Logged
from actors.packing import PackedMessages, unpack_messages
from actors.watch import Ending, FusionStatus, Watched, ending_of
from pipeline.clock import monotonic_us
from pipeline.fusion.head_files import LoadedHead
from pipeline.fusion.rules import Fuser
from pipeline.heap import settle_heap
from pipeline.lane import LaneCut
from pipeline.slot.ports import Connector
from pipeline.spec import PipelineSpec
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.fusion_runner import FusionRunner, FusionState
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import Layout, SlotOwner, close_all, fence_all, recover_all
from pipeline.tracing import tracer_of

_log = logging.getLogger(__name__)


class FusionActor(Logged):
    """Fences and recovers its slots, then joins, fuses and commits what ingest sends.

    Invariant: messages of another epoch than its producers' are dropped.
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
        again: bool,
    ) -> None:
        """``head``: as the driver read it; ``again``: in place of one of this run that ended."""
        self._begin_logs(spec, "fusion", slot=list(slots))
        self._spec = spec
        self._lengths = lengths
        self._identity = partial(layout.identity, spec, owner=run_id)
        self._connector = connector
        self._stop = threading.Event()
        self._retry = Retry(self._stop)
        self._owners = {slot: self._owner(slot, again) for slot in slots}
        self._coming: dict[int, SlotOwner] = {}  # of slots that it will take
        fuser = Fuser.under(spec, lengths, head)
        self._tracer = tracer_of(spec.name)
        self._task = FusionTask(spec, lengths, slots, layout.message_bytes, fuser, self._tracer)
        self._watched = Watched("fusion")
        self._runner: FusionRunner | None = None
        settle_heap()

    def fence(self) -> dict[int, int] | Ending:
        """The epochs of its slots, once every older owner of them is fenced."""
        try:
            fence_all(self._owners, self._retry)
        except Exception as error:
            return ending_of(error)
        epochs = {slot: owner.epoch for slot, owner in self._owners.items()}
        self._owns(epochs)
        return epochs

    def recover(self) -> dict[int, dict[int, LaneCut]] | Ending:
        """The claimed cuts of its slots; only after all ids of the pipeline were fenced."""
        try:
            cuts = recover_all(self._owners, self._spec, self._retry)
        except Exception as error:
            return ending_of(error)
        _log.info("recovered and claimed", extra={"facts": {"cuts": _numbers(cuts)}})
        return cuts

    def meet(self, ingest: Any) -> None:
        """Knows its other half: a handle that comes here has its class's module imported."""
        self._runner = FusionRunner(
            self._task,
            {slot: owner.committer for slot, owner in self._owners.items()},
            lambda slot, numbers: ingest.committed.remote(slot, dict(numbers)),
            monotonic_us,
        )

    def start(self) -> None:
        assert self._runner is not None, "start before meet"
        self._watched.start(self._runner.run)

    # -- slots that come and go while it runs -----------------------------------------------

    def prepare(self, slot: int) -> Ending | None:
        """Will take a slot that this run has: what may be done before is done, nobody is fenced."""
        try:
            self._coming[slot] = self._owner(slot, again=True)
            self._coming[slot].prepare()
        except Exception as error:
            return ending_of(error)
        return None

    def forget(self, slot: int) -> None:
        """It will not be taken after all."""
        owner = self._coming.pop(slot, None)
        if owner is not None:
            owner.close()

    def take(
        self, slot: int, handed: Mapping[int, LaneCut]
    ) -> tuple[int, dict[int, LaneCut]] | Ending:
        """Fences the slot's owner before, which has given it up, and claims it.

        ``handed``: by lane, what that has committed last. The epoch, and the claimed cuts.
        """
        assert self._runner is not None, "take before meet"
        owner = self._coming.pop(slot, None) or self._owner(slot, again=True)
        try:
            self._retry.call(owner.fence)
            cuts = self._retry.call(partial(owner.recover, self._spec))
            owner.demand_handed(cuts, handed)
        except Exception as error:
            owner.close()
            return ending_of(error)
        self._owners[slot] = owner
        self._tell_slots()
        self._runner.take_slot(slot, owner.committer)
        _log.info("slot %d taken", slot, extra={"facts": {"cuts": _numbers({slot: cuts})}})
        return owner.epoch, cuts

    def leave(
        self, slot: int, numbers: Mapping[int, int]
    ) -> tuple[FusionState, dict[int, LaneCut]]:
        """Gives a slot up once the last cuts of its ingest half, by lane, are committed.

        What it has counted by then, and by lane the newest cut that it has committed.
        """
        assert self._runner is not None, "leave before meet"
        cuts = self._runner.leave_slot(slot, numbers, self._owners[slot].close).result()
        state = self._runner.state
        del self._owners[slot]
        self._tell_slots()
        _log.info("slot %d given up", slot, extra={"facts": {"cuts": _numbers({slot: cuts})}})
        return state, cuts

    def _owner(self, slot: int, again: bool) -> SlotOwner:
        identity = self._identity(slot=slot)
        return SlotOwner(identity, self._connector, self._retry, again)

    def _tell_slots(self) -> None:
        self._owns({slot: owner.epoch for slot, owner in self._owners.items()})

    def deliver(self, packed: dict[tuple[int, int], PackedMessages]) -> None:
        """Messages by slot and epoch."""
        current = {
            slot: unpack_messages(messages)
            for (slot, epoch), messages in packed.items()
            if slot in self._owners
            if epoch == self._owners[slot].epoch
        }
        if current and self._runner is not None:
            self._runner.deliver(current)

    def swap(self, head: LoadedHead | None) -> None:
        """Another head, for the windows that come from now on."""
        assert self._runner is not None, "swap before start"
        self._runner.swap(Fuser.under(self._spec, self._lengths, head))

    def status(self) -> FusionStatus:
        runner = self._runner
        assert runner is not None, "status before start"
        return FusionStatus(runner.state, monotonic_us() - runner.stepped_us)

    def pid(self) -> int:
        return os.getpid()

    def watch(self) -> Ending:
        """Returns when the loop has ended; its reference fails when the process dies."""
        return self._watched.wait()

    def stop(self, patience_s: float) -> None:
        """Ends the loop after the transactions that are under way, and closes the producers.

        ``patience_s``: for these; where the broker is away they are tried no more after it.
        """
        if self._runner is not None:
            self._runner.stop()
            self._watched.wait(patience_s)
        self._stop.set()
        if self._runner is not None:
            self._watched.wait()
        if self._tracer is not None:
            self._tracer.flush()
        close_all(self._owners)


def _numbers(cuts: Mapping[int, Mapping[int, LaneCut]]) -> dict[int, int]:
    """By lane, the number of its newest cut."""
    return {lane: cut.number for of_slot in cuts.values() for lane, cut in of_slot.items()}
