"""Where a run's actors go: owners, replicas, their CPUs and GPUs, and what is missing for them.

The rules by which a cluster host places a run, and ``motet plan`` says it beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import Problem
from pipeline.spec import PipelineSpec

CPUS_PER_OWNER = 4
CPU_SHARE = 0.9  # of all CPUs: the driver and Ray itself need some
CPU_PER_ACTOR_MAX = 1.0


class Resources(NamedTuple):
    """What a cluster, or a machine, has in all."""

    cpus: float
    gpus: float


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
    ``in_flight_bytes_max`` and ``open_bytes_max`` are the bounds of the file over all slots
    and lanes (None: the number of lanes is not known).
    """

    owners: tuple[OwnerPlan, ...]
    stages: tuple[StagePlan, ...]
    cpus_per_actor: float
    in_flight_bytes_max: int
    open_bytes_max: int | None
    missing: tuple[Problem, ...]

    @property
    def actors(self) -> int:
        return 2 * len(self.owners) + sum(stage.replicas for stage in self.stages)

    @property
    def gpus(self) -> float:
        """Of the replicas that a run starts with."""
        return sum(stage.gpus_per_replica * stage.replicas for stage in self.stages)


def place(spec: PipelineSpec, resources: Resources, lanes: int | None) -> Placement:
    """``lanes`` None: not known, so every slot counts as one that has some."""
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
        missing=tuple(missing(spec, resources)),
    )


def owner_count(spec: PipelineSpec, resources: Resources) -> int:
    return max(1, min(spec.slots, int(resources.cpus) // CPUS_PER_OWNER))


def cpus_per_actor(spec: PipelineSpec, resources: Resources) -> float:
    """An equal share each, so that every actor finds a place however few CPUs there are."""
    replicas = sum(stage.replicas_min for stage in spec.stages.values())
    actors = 2 * owner_count(spec, resources) + replicas
    return round(min(CPU_PER_ACTOR_MAX, CPU_SHARE * resources.cpus / actors), 4)


def gpus_of(spec: PipelineSpec, stage: str, resources: Resources) -> float:
    """GPUs of one replica. ``auto``: an equal share where there are some, else the CPU."""
    wanted = spec.stages[stage].num_gpus
    if wanted != "auto":
        return float(wanted)
    replicas = sum(entry.replicas_max for entry in spec.stages.values() if entry.num_gpus == "auto")
    if resources.gpus < 1:
        return 0.0
    share = resources.gpus / replicas
    return 1.0 if share >= 1 else 1.0 / -(-1 // share)


def _gpus(number: float) -> str:
    return f"{number:g} GPU" if number == 1 else f"{number:g} GPUs"


def missing(spec: PipelineSpec, resources: Resources) -> list[Problem]:
    """What is missing for the demands of the file, all at once."""
    demands = {
        name: float(entry.num_gpus) * entry.replicas_min
        for name, entry in spec.stages.items()
        if entry.num_gpus != "auto"
    }
    if sum(demands.values()) <= resources.gpus:
        return []
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
