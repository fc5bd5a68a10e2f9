"""Where the actors of a run go: Ray's placement groups after the plan, and after what is free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.cluster import alive_nodes
from pipeline.scaling.ground import Ground, Need
from pipeline.scaling.layout import Layout
from pipeline.spec import PipelineSpec
from pipeline.tasks.planning import Resources, cpus_per_actor, layout, need, owner_count

ROOM_MAX = 1000


class Places:
    """Gives every owner and every replica a placement group of its own.

    A group says which node is meant; where that has no room any more Ray takes another, or waits
    until one joins, for which its autoscaler is asked by the same group. An owner's two halves
    stand on one node wherever a node has room for both.

    Invariant: a group lives as long as what it was made for: ``gone`` frees what it holds.
    """

    def __init__(self, spec: PipelineSpec, resources: Resources) -> None:
        self._cpus = cpus_per_actor(spec, resources)
        self._needs = {n: need(spec, n, resources, self._cpus) for n in spec.stages}
        self._groups: dict[str, PlacementGroup] = {}
        self._nodes: dict[str, str] = {}  # by name, where it stands, or is to stand
        self._stages: dict[str, str] = {}  # replica -> stage
        planned = layout(spec, resources, owner_count(spec, resources))
        self._planned = _by_kind(planned)  # what is not given out yet, the next one last
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
        node = self._next("") or self._ground().owner(self._cpus, near_gpus=self._uses_gpus)
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
        self._nodes.pop(name, None)
        self._stages.pop(name, None)
        if group is not None:
            remove_placement_group(group)

    def close(self) -> None:
        for name in list(self._groups):
            self.gone(name)

    # -- asked ----------------------------------------------------------------------------

    def room(self, stage: str) -> int:
        """For how many more replicas of a stage there is a place now."""
        return self._ground().room(self._needs[stage], ROOM_MAX)

    def stands(self, name: str, node: str) -> None:
        """Where Ray has put it."""
        if name in self._nodes:
            self._nodes[name] = node

    def near_first(self, owner: str, replicas: Mapping[str, Any]) -> dict[str, Any]:
        """An owner's own node first: of replicas that have as little to do it takes the first."""
        own = self._nodes.get(owner)
        order = sorted(replicas, key=lambda name: self._nodes.get(name) != own)
        return {name: replicas[name] for name in order}

    # -- how ------------------------------------------------------------------------------

    @property
    def _uses_gpus(self) -> bool:
        return any(wanted.gpus for wanted in self._needs.values())

    def _next(self, kind: str) -> str | None:
        """Of the plan; ``kind``: a stage, or "" for owners."""
        planned = self._planned.get(kind)
        return planned.pop() if planned else None

    def _ground(self) -> Ground:
        nodes = alive_nodes()
        free = ray._private.state.available_resources_per_node()
        left = {
            node.name: (
                free.get(node.name, {}).get("CPU", 0.0), free.get(node.name, {}).get("GPU", 0.0)
            )
            for node in nodes
        }  # fmt: skip
        ground = Ground(nodes, left)
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
        self._groups[name] = placement_group(
            bundles,
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
