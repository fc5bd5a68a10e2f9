"""What a run on a cluster shows: the figures of its owners, and the devices of its replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import ray
from ray.exceptions import RayActorError

from actors.owner import OwnerPair
from actors.remote import control
from pipeline.tasks.figures import Figures
from pipeline.tasks.head_watch import HeadWatch
from pipeline.tasks.owner_figures import OwnerFigures
from pipeline.tasks.showing import Showing
from pipeline.tasks.stage_health import StageTrouble, together
from pipeline.tasks.view import (
    DrainingView,
    LaneView,
    OwnerView,
    ReplicaView,
    ScalingView,
    Snapshot,
)

_NOT_KNOWN: Mapping[str, object] = {"device": "starting", "gpus": []}


class ClusterView:
    """Told by the supervisor, asked from any thread: as of the last round of answers."""

    def __init__(self, heads: HeadWatch) -> None:
        self._showing = Showing("ray", heads)
        self._counted = Figures()
        for role in ("owner", "ingest", "fusion", "encoder"):
            self._counted.count("motet_actor_restarts_total", 0, role, "died")
        self.gone = OwnerFigures()  # of owners that are no more
        self.devices: dict[str, dict[str, object]] = {}  # replica -> what it runs on
        self._asked: dict[Any, str] = {}  # reference -> replica
        self._scaling: tuple[ScalingView, ...] = ()
        self._draining: tuple[DrainingView, ...] = ()
        self.values: Mapping[str, object] = {}  # of keys that may change while it runs
        self._shown = self._showing.snapshot(Figures(), "starting")

    def snapshot(self) -> Snapshot:
        return self._shown

    # -- told by the supervisor -------------------------------------------------------------

    def restarted(self, role: str, cause: str) -> None:
        """``cause``: one of a few words, as the metric has it."""
        self._counted.count("motet_actor_restarts_total", 1, role, cause)

    def slot_moved(self, outcome: str, pause_s: float | None) -> None:
        """``pause_s``: for how long nobody had the slot; None where it did not move as planned."""
        self._counted.count("motet_slot_moves_total", 1, outcome)
        if pause_s is not None:
            self._counted.observe("motet_slot_move_pause_seconds", pause_s)

    def replica_started(self, replica: str, handle: Any) -> None:
        self._asked[control(handle.device).remote()] = replica

    def replica_ended(self, replica: str) -> None:
        self.devices.pop(replica, None)

    def scaled(self, stages: Iterable[ScalingView]) -> None:
        """How many replicas the stages have, and are to have."""
        self._scaling = tuple(stages)

    def drains(self, nodes: Iterable[DrainingView]) -> None:
        """Nodes that will go."""
        self._draining = tuple(nodes)

    def moved(self, role: str) -> None:
        """An actor of a node that will go is started elsewhere."""
        self._counted.count("motet_actor_moves_total", 1, role)

    def await_devices(self, answer: Callable[[str, Any], dict[str, object]]) -> None:
        """``answer(replica, reference)`` waits for what one runs on."""
        asked, self._asked = self._asked, {}
        for ref, replica in asked.items():
            self.devices[replica] = answer(replica, ref)

    def show(
        self,
        owners: Iterable[OwnerPair],
        encoders: Mapping[str, Mapping[str, Any]],
        warnings: Iterable[str] = (),
    ) -> None:
        """Makes the next snapshot of what is known now; asks nobody."""
        self._look_at_devices()
        self._showing.warn(warnings)
        figures = self._counted.copy()
        figures.add(self.gone.figures)
        lanes: list[LaneView] = []
        troubles: list[StageTrouble] = []
        told: set[str | None] = set()
        not_ready: str | None = None
        owning: list[OwnerView] = []
        for owner in owners:
            slots, leaving = sorted(owner.slots), owner.retiring or owner.leaving
            owning.append(OwnerView(owner.name, owner.node, slots, leaving))
            told.add(owner.counted.head)
            figures.add(owner.counted.figures)
            if owner.counted.ingest is not None:
                lanes += owner.counted.ingest.lanes
                troubles += owner.counted.ingest.troubles
            not_ready = not_ready or owner.not_ready
        replicas = [
            self._replica(name, stage) for stage, names in encoders.items() for name in names
        ]
        lanes.sort(key=lambda lane: lane.lane)
        for one in self._scaling:
            figures.gauge("motet_stage_replicas", one.wanted, one.stage, "wanted")
            figures.gauge("motet_stage_replicas", one.ready, one.stage, "ready")
        figures.gauge("motet_draining_nodes", len(self._draining))
        shown = self._showing.snapshot(
            figures, not_ready, lanes, replicas, together(troubles), told
        )
        self._shown = replace(
            shown, owners=owning, scaling=self._scaling, draining=self._draining, values=self.values
        )

    # -- how --------------------------------------------------------------------------------

    def _replica(self, name: str, stage: str) -> ReplicaView:
        told = self.devices.get(name, _NOT_KNOWN)
        gpus = tuple(map(str, cast("list[str]", told["gpus"])))
        return ReplicaView(name, stage, str(told["device"]), gpus)

    def _look_at_devices(self) -> None:
        """Those of replicas that were started anew."""
        if not self._asked:
            return
        asked = list(self._asked)
        for ref in ray.wait(asked, num_returns=len(asked), timeout=0)[0]:
            replica = self._asked.pop(ref)
            with suppress(RayActorError):  # its watch tells
                self.devices[replica] = ray.get(ref)
