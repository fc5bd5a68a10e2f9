"""Where the actors of a run go: Ray's placement groups after the plan, and after what is free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.cluster import alive_nodes, free_of, group_prefix
from pipeline import clock
from pipeline.scaling.ground import Ground, Need
from pipeline.scaling.layout import Layout
from pipeline.scaling.preference import preference
from pipeline.spec import PipelineSpec
from pipeline.tasks.planning import Resources, cpus_per_actor, layout, need, owner_count

ROOM_MAX = 1000
_ALIVE_US = 1_000_000  # a node may have begun to leave since


class Places:
    """Gives every owner and every replica a placement group of its own.

    A group says which node is meant; where that has no room any more Ray takes another, or waits
    until one joins, for which its autoscaler is asked by the same group. An owner's two halves
    stand on one node wherever a node has room for both.

    Invariants: a group lives as long as what it was made for: ``gone`` frees what it holds. A
    node that Ray drains gets nothing. No replica is added beyond ``ray.cpus`` and ``ray.gpus``.
    """

    def __init__(self, spec: PipelineSpec, resources: Resources) -> None:
        self._cpus = cpus_per_actor(spec, resources)
        self._needs = {n: need(spec, n, resources, self._cpus) for n in spec.stages}
        self._prefix = group_prefix(spec.name)
        self._serial = 0
        self._autoscaler = spec.ray.autoscaler
        self._most = spec.ray.cpus, spec.ray.gpus
        self._groups: dict[str, PlacementGroup] = {}
        self._held: dict[str, tuple[float, float]] = {}  # by name, CPUs and GPUs
        self._nodes: dict[str, str] = {}  # by name, where it stands, or is to stand
        self._stages: dict[str, str] = {}  # replica -> stage
        planned = layout(spec, resources, owner_count(spec, resources))
        self._planned = _by_kind(planned)  # what is not given out yet, the next one last
        self._alive: frozenset[str] = frozenset()
        self._alive_until_us = 0
        self._together = max(node.cpus for node in resources.places) >= 2 * self._cpus

    @property
    def cpus(self) -> float:
        """Of each actor."""
        return self._cpus

    def need(self, stage: str) -> Need:
        return self._needs[stage]

    # -- given out ------------------------------------------------------------------------

    def owner(self, name: str) -> list[PlacementGroupSchedulingStrategy]:
        """For the ingest half and the fusion half of an owner."""
        node = self._next("")
        if node is None:
            node = self._ground().owner(self._cpus, near_gpus=self._uses_gpus)
        self._group(name, [{"CPU": self._cpus}] * 2, node)
        return [self._strategy(name, bundle) for bundle in range(2)]

    def replica(self, name: str, stage: str) -> PlacementGroupSchedulingStrategy:
        wanted = self._needs[stage]
        node = self._next(stage)
        if node is None:
            spot = self._ground().replica(wanted)
            node = None if spot is None else spot.node
        bundle = {"CPU": wanted.cpus} | ({"GPU": wanted.gpus} if wanted.gpus else {})
        self._group(name, [bundle], node)
        self._stages[name] = stage
        return self._strategy(name, 0)

    def gone(self, name: str) -> None:
        """It has ended: what it held is free."""
        group = self._groups.pop(name, None)
        self._held.pop(name, None)
        self._nodes.pop(name, None)
        self._stages.pop(name, None)
        if group is not None:
            remove_placement_group(group)

    def close(self) -> None:
        for name in list(self._groups):
            self.gone(name)

    # -- asked ----------------------------------------------------------------------------

    def room(self, stage: str) -> int:
        """For how many more replicas of a stage there is a place now, or will be.

        What waits for a place is what Ray's autoscaler adds nodes for.
        """
        allowed = self._allowed(self._needs[stage])
        return allowed if self._autoscaler else min(allowed, self.room_now(stage))

    def room_elsewhere(self, stage: str) -> int:
        """For how many replicas there is a place for what a node that will go has now."""
        return ROOM_MAX if self._autoscaler else self.room_now(stage)

    def room_now(self, stage: str) -> int:
        return self._ground().room(self._needs[stage], ROOM_MAX)

    def owner_room(self) -> bool:
        """Whether some node has room for an owner."""
        return self._ground().owner(self._cpus, near_gpus=False) is not None

    def waits(self, name: str) -> bool:
        """Whether no node has room for it yet."""
        group = self._groups.get(name)
        return group is not None and placement_group_table(group).get("state") != "CREATED"

    def where(self, name: str) -> str | None:
        """The node on which it stands, or is to stand."""
        return self._nodes.get(name)

    def stands(self, name: str, node: str) -> None:
        """Where Ray has put it."""
        if name in self._nodes:
            self._nodes[name] = node

    def near_first(self, owner: str, replicas: Mapping[str, Any]) -> dict[str, Any]:
        """An owner's own node first: of replicas that have as little to do it takes the first."""
        nodes = {name: self._nodes.get(name) for name in replicas}
        return {name: replicas[name] for name in preference(owner, self._nodes.get(owner), nodes)}

    # -- how ------------------------------------------------------------------------------

    @property
    def _uses_gpus(self) -> bool:
        return any(wanted.gpus for wanted in self._needs.values())

    def _next(self, kind: str) -> str | None:
        """Of the plan, where that node lives; ``kind``: a stage, or "" for owners.

        All of a large plan are given out in one go, and Ray is asked for its nodes once a second.
        """
        planned = self._planned.get(kind)
        node = planned.pop() if planned else None
        if node is None:
            return None
        now_us = clock.monotonic_us()
        if now_us >= self._alive_until_us:
            self._alive = frozenset(each.name for each in alive_nodes())
            self._alive_until_us = now_us + _ALIVE_US
        return node if node in self._alive else None

    def _allowed(self, wanted: Need) -> int:
        """For how many more ``ray.cpus`` and ``ray.gpus`` leave something."""
        cpus, gpus = self._most
        left = ROOM_MAX
        if cpus is not None and wanted.cpus:
            left = min(left, int((cpus - sum(c for c, _ in self._held.values())) / wanted.cpus))
        if gpus is not None and wanted.gpus:
            taken = sum(g for _, g in self._held.values())
            left = min(left, int((gpus - taken + 1e-6) / wanted.gpus))
        return max(0, left)

    def _ground(self) -> Ground:
        nodes = alive_nodes()
        ground = Ground(nodes, free_of(nodes))
        by_stage: dict[str, list[str]] = {}
        owners = []
        for name, node in self._nodes.items():
            if name in self._stages:
                by_stage.setdefault(self._stages[name], []).append(node)
            else:
                owners.append(node)
        ground.stands(owners, by_stage)
        return ground

    def _group(self, name: str, bundles: list[dict[str, float]], node: str | None) -> None:
        one_node = len(bundles) == 1 or self._together
        self._serial += 1  # Ray knows the name of a group that was just removed for a while
        self._held[name] = (
            sum(bundle["CPU"] for bundle in bundles),
            sum(bundle.get("GPU", 0.0) for bundle in bundles),
        )
        self._groups[name] = placement_group(
            bundles,
            name=f"{self._prefix}{name}/{self._serial}",
            strategy="STRICT_PACK" if one_node else "PACK",
            _soft_target_node_id=node if one_node else None,
        )
        if node is not None:
            self._nodes[name] = node

    def _strategy(self, name: str, bundle: int) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(
            placement_group=self._groups[name], placement_group_bundle_index=bundle
        )


def _by_kind(planned: Layout) -> dict[str, list[str | None]]:
    kinds: dict[str, Iterable[str | None]] = {"": planned.owners}
    for stage, spots in planned.replicas.items():
        kinds[stage] = [None if spot is None else spot.node for spot in spots]
    return {kind: list(reversed(list(nodes))) for kind, nodes in kinds.items()}
