"""Where a run's actors go: owners, replicas, their CPUs and GPUs, and what is missing for them.

The rules by which a cluster host places a run, and ``motet plan`` says it beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import Problem
from pipeline.scaling.ground import Need, Node
from pipeline.scaling.layout import Layout, lay_out
from pipeline.spec import PipelineSpec, format_size

CPUS_PER_OWNER = 4
CPU_SHARE = 0.9  # of all CPUs: the driver and Ray itself need some
CPU_PER_ACTOR_MAX, CPU_PER_ACTOR_MIN = 1.0, 0.01
CPU_PER_ACTOR_LEAST = 0.001  # Ray counts in ten thousandths
CPU_STEP = 0.9  # by which a share is made smaller until all find a place, node by node
ANY_NODE = "the cluster"


class Resources(NamedTuple):
    """What a cluster, or a machine, has in all, and its nodes where they are known.

    ``free``: by node, CPUs and GPUs that others have left (None: all of them).
    """

    cpus: float
    gpus: float
    nodes: tuple[Node, ...] = ()
    free: Mapping[str, tuple[float, float]] | None = None

    @classmethod
    def of(
        cls, nodes: Sequence[Node], free: Mapping[str, tuple[float, float]] | None = None
    ) -> Resources:
        cpus, gpus = sum(n.cpus for n in nodes), float(sum(n.gpus for n in nodes))
        return cls(cpus, gpus, tuple(nodes), free)

    def within(self, spec: PipelineSpec) -> Resources:
        """No more in all than ``ray.cpus`` and ``ray.gpus`` let this pipeline have."""
        cpus, gpus = spec.ray.cpus, spec.ray.gpus
        return self._replace(
            cpus=self.cpus if cpus is None else min(self.cpus, cpus),
            gpus=self.gpus if gpus is None else min(self.gpus, gpus),
        )

    @property
    def left(self) -> tuple[float, float]:
        """CPUs and GPUs that it may take now."""
        if self.free is None:
            return self.cpus, self.gpus
        cpus = sum(cpus for cpus, _ in self.free.values())
        return min(self.cpus, cpus), min(self.gpus, sum(gpus for _, gpus in self.free.values()))

    @property
    def places(self) -> tuple[Node, ...]:
        """One node that has all, where nothing is known of them."""
        return self.nodes or (Node(ANY_NODE, self.cpus, int(self.gpus)),)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Replicas of a stage that a run starts with, and what each of them gets."""

    name: str
    encoder: str
    replicas: int
    replicas_max: int
    gpus_per_replica: float


@dataclass(frozen=True, slots=True)
class OwnerPlan:
    """An ingest and a fusion actor and the slots that they own; ``lanes`` by slot."""

    number: int
    lanes: dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Placement:
    """A run as it would be placed; ``missing`` holds what it lacks (empty: it can run).

    ``owners`` have slots without lanes where the number of lanes is not known.
    ``layout``: the node of each owner and replica.
    What Ray's autoscaler may add is not missing.
    ``in_flight_bytes_max`` and ``open_bytes_max`` are the bounds of the file over all slots
    and lanes (None: the number of lanes is not known).
    """

    owners: tuple[OwnerPlan, ...]
    stages: tuple[StagePlan, ...]
    cpus_per_actor: float
    in_flight_bytes_max: int
    open_bytes_max: int | None
    missing: tuple[Problem, ...]
    layout: Layout

    @property
    def actors(self) -> int:
        return 2 * len(self.owners) + sum(stage.replicas for stage in self.stages)

    @property
    def gpus(self) -> float:
        """Of the replicas that a run starts with."""
        return sum(stage.gpus_per_replica * stage.replicas for stage in self.stages)


def place(spec: PipelineSpec, resources: Resources, lanes: int | None) -> Placement:
    """``lanes`` None: not known, so every slot counts as one that has some."""
    resources = resources.within(spec)
    count = owner_count(spec, resources)
    slots = list(range(spec.slots if lanes is None else min(spec.slots, lanes)))
    owners = []
    for number in range(count):
        owned = {
            slot: () if lanes is None else tuple(range(slot, lanes, spec.slots))
            for slot in slots[number::count]
        }
        if owned:
            owners.append(OwnerPlan(number, owned))
    stages = tuple(
        StagePlan(
            name, stage.encoder, stage.replicas_min, stage.replicas_max,
            gpus_of(spec, name, resources),
        )
        for name, stage in spec.stages.items()
    )  # fmt: skip
    return Placement(
        owners=tuple(owners),
        stages=stages,
        cpus_per_actor=cpus_per_actor(spec, resources),
        in_flight_bytes_max=spec.limits.in_flight_bytes * len(slots),
        open_bytes_max=None if lanes is None else spec.limits.open_bytes * lanes,
        missing=() if spec.ray.autoscaler else tuple(missing(spec, resources)),
        layout=layout(spec, resources, len(owners)),
    )


def owner_count(spec: PipelineSpec, resources: Resources) -> int:
    if spec.ray.owners is not None:
        return min(spec.slots, spec.ray.owners)
    resources = resources.within(spec)
    return max(1, min(spec.slots, int(resources.cpus) // CPUS_PER_OWNER))


def cpus_per_actor(spec: PipelineSpec, resources: Resources) -> float:
    """An equal share each, so that every actor finds a place however few CPUs there are.

    Those that scaling may add have their share too, and where a node is lost the others have a
    place for what a run starts with: a share is a number in Ray's books, it slows nothing down.
    What others hold is left to them.
    """
    resources = resources.within(spec)
    most = {name: replicas_most(spec, name, resources) for name in spec.stages}
    owners = owner_count(spec, resources)
    actors = 2 * owners + sum(most.values())
    share = round(min(CPU_PER_ACTOR_MAX, CPU_SHARE * resources.left[0] / actors), 4)
    if spec.ray.autoscaler and share < CPU_PER_ACTOR_MIN:
        share = CPU_PER_ACTOR_MAX  # of nodes that are still to come
    if len(resources.nodes) > 1:  # on one node they fit, by the sum
        least = {name: stage.replicas_min for name, stage in spec.stages.items()}
        left = sorted(resources.nodes, key=lambda node: node.cpus)[:-1]
        while share > CPU_PER_ACTOR_MIN and not (
            _fits(resources, resources.nodes, owners, share, most)
            and _fits(resources, left, owners, share, least)
        ):
            share = round(share * CPU_STEP, 4)
    return max(CPU_PER_ACTOR_LEAST, share)


def _fits(
    resources: Resources,
    nodes: Sequence[Node],
    owners: int,
    share: float,
    replicas: Mapping[str, int],
) -> bool:
    needs = [(Need(name, share, 0), number) for name, number in replicas.items()]
    return not lay_out(nodes, owners, share, needs, resources.free).lacking


def layout(spec: PipelineSpec, resources: Resources, owners: int, *, most: bool = False) -> Layout:
    """Which node each owner and each of the replicas that a run starts with goes to.

    ``most``: of the replicas that it may come to have.
    """
    resources = resources.within(spec)
    cpus = cpus_per_actor(spec, resources)
    needs = [
        (need(spec, name, resources, cpus), stage.replicas_max if most else stage.replicas_min)
        for name, stage in spec.stages.items()
    ]
    return lay_out(resources.places, owners, cpus, needs, resources.free)


def need(spec: PipelineSpec, stage: str, resources: Resources, cpus: float) -> Need:
    """What one replica of a stage takes; ``cpus``: of each actor."""
    gpus = gpus_of(spec, stage, resources)
    memory_bytes = spec.stages[stage].gpu_memory_bytes if gpus else None
    return Need(stage, cpus, gpus, memory_bytes)


def replicas_most(spec: PipelineSpec, stage: str, resources: Resources) -> int:
    """Replicas that a stage may come to have here: more than there are CPUs would only wait."""
    resources = resources.within(spec)
    declared = spec.stages[stage]
    return max(declared.replicas_min, min(declared.replicas_max, int(resources.cpus)))


def neighbours(spec: PipelineSpec, stage: str, resources: Resources) -> int:
    """Replicas of a stage that a node may come to have: they share its cores for decoding."""
    return -(-replicas_most(spec, stage, resources) // len(resources.places))


def gpus_of(spec: PipelineSpec, stage: str, resources: Resources) -> float:
    """GPUs of one replica. ``auto``: an equal share of those that no stage demands by number,
    else the CPU.
    """
    wanted = spec.stages[stage].num_gpus
    if wanted != "auto":
        return float(wanted)
    resources = resources.within(spec)
    replicas = sum(entry.replicas_max for entry in spec.stages.values() if entry.num_gpus == "auto")
    left = int(resources.left[1] - _demanded_gpus(spec) + 1e-6)
    if left < 1:
        return 0.0
    on_one = -(-replicas // left)
    memory_bytes = spec.stages[stage].gpu_memory_bytes
    known = [n.gpu_memory_bytes for n in resources.nodes if n.gpus and n.gpu_memory_bytes]
    if memory_bytes is not None and known:
        on_one = min(on_one, max(1, min(known) // memory_bytes))
    return 1.0 / on_one


def _demanded_gpus(spec: PipelineSpec) -> float:
    return sum(
        float(entry.num_gpus) * entry.replicas_min
        for entry in spec.stages.values()
        if entry.num_gpus != "auto"
    )


def _gpus(number: float) -> str:
    return f"{number:g} GPU" if number == 1 else f"{number:g} GPUs"


def missing(spec: PipelineSpec, resources: Resources) -> list[Problem]:
    """What is missing for the demands of the file, all at once."""
    resources = resources.within(spec)
    demands = {
        name: float(entry.num_gpus) * entry.replicas_min
        for name, entry in spec.stages.items()
        if entry.num_gpus != "auto"
    }
    if sum(demands.values()) <= resources.gpus:
        return _misplaced(spec, resources)
    return [
        Problem(
            f"stages.{name}.num_gpus",
            f"{spec.stages[name].num_gpus:g}",
            f"the stages demand {_gpus(sum(demands.values()))} and {resources.gpus:g} are there",
            "lower the demand (`auto` takes what is there), or join GPU nodes",
        )
        for name, demand in demands.items()
        if demand > 0
    ]


def _misplaced(spec: PipelineSpec, resources: Resources) -> list[Problem]:
    """There are GPUs enough in all, and yet no place on any one node."""
    if not any(gpus_of(spec, name, resources) for name in spec.stages):
        return []
    found = layout(spec, resources, owner_count(spec, resources)).lacking
    return [
        Problem(
            f"stages.{name}.{'gpu_memory' if 'memory' in why else 'num_gpus'}",
            _declared(spec, name, why),
            f"{count} of {spec.stages[name].replicas_min} replicas find no place: {why}",
            "lower it or replicas.min, or join GPU nodes",
        )
        for name, (count, why) in found.items()
        if name in spec.stages and gpus_of(spec, name, resources)
    ]


def _declared(spec: PipelineSpec, stage: str, why: str) -> str:
    declared = spec.stages[stage]
    if "memory" in why and declared.gpu_memory_bytes is not None:
        return format_size(declared.gpu_memory_bytes)
    return "auto" if declared.num_gpus == "auto" else f"{declared.num_gpus:g}"
