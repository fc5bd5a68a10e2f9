"""The encoder actors of a run: started, told to be usable, drained, and started anew where one
ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from actors.answers import ROOM_S_MAX, answered, why_of
from actors.placement import Places
from actors.remote import control, encoder_actor, watch
from actors.view import ClusterView
from pipeline.clock import monotonic_us
from pipeline.scaling.draining import Stands
from pipeline.spec import PipelineSpec
from pipeline.tasks.planning import Resources, neighbours
from pipeline.tasks.stage_scaling import Numbers

Count = Callable[[str, str, str, str], None]  # role, word, what ended, cause


@dataclass(slots=True)
class _Replica:
    """``added``: while it runs, by scaling; it has not been ready yet while ``loading``.

    ``follows``: the one whose place it takes once it is ready.
    """

    stage: str
    handle: Any
    since_us: int
    loading: bool
    added: bool = False
    draining: bool = False
    hung: bool = False  # it was killed for it
    follows: str | None = None
    waited: bool = False  # it was ended since no node had room for it


class Replicas:
    """Every stage's replicas, by name.

    Invariants: as many are alive or loading as ``scale`` was told last, at first as the file
    demands; batches go to those that have loaded, as long as there are any. One that is taken
    away gets no more, and ends once no owner may have a batch with it. One that follows another
    counts in its place: as long as both are there, only the one before is counted.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        lengths: Mapping[str, int],
        resources: Resources,
        places: Places,
        view: ClusterView,
        count: Count,
        say: Callable[[str], None],
    ) -> None:
        """``count`` is told of each that has ended, ``say`` lines for the user."""
        self._spec = spec
        self._lengths = lengths
        self._places = places
        self._neighbours = {name: neighbours(spec, name, resources) for name in spec.stages}
        self._view = view
        self._count = count
        self._say = say
        self._serial = 0
        self._replicas: dict[str, _Replica] = {}
        self._watches: dict[Any, str] = {}
        self._loading: dict[Any, str] = {}
        self._failed = dict.fromkeys(spec.stages, 0)
        self._load_s = dict.fromkeys(spec.stages, 0.0)
        self.wanted = {name: stage.replicas_min for name, stage in spec.stages.items()}

    def start(self) -> None:
        """What the file demands at first; ``ClusterView.await_devices`` waits for them."""
        for stage, wanted in self.wanted.items():
            for _ in range(wanted):
                self._start(stage)

    def _start(
        self,
        stage: str,
        *,
        loading: bool = False,
        added: bool = False,
        follows: str | None = None,
    ) -> None:
        """``loading``: others work meanwhile, and it is told of once it is ready."""
        self._serial += 1
        name = f"{stage}-{self._serial}"
        need, where = self._places.need(stage), self._places.replica(name, stage)
        handle = encoder_actor(need.cpus, need.gpus, where).remote(
            self._spec, stage, self._lengths, need.gpus, self._neighbours[stage]
        )
        self._replicas[name] = _Replica(
            stage, handle, monotonic_us(), loading, added, follows=follows
        )
        self._watches[watch(handle)] = name
        if loading:
            self._loading[control(handle.device).remote()] = name
        self._view.replica_started(name, handle)

    # -- asked ----------------------------------------------------------------------------

    @property
    def references(self) -> list[Any]:
        """Those that become ready when a replica has ended, or has loaded."""
        return [*self._watches, *self._loading]

    @property
    def handles(self) -> dict[str, dict[str, Any]]:
        """By stage and name, those that are taken away not among them."""
        found: dict[str, dict[str, Any]] = {stage: {} for stage in self._spec.stages}
        for name, replica in self._replicas.items():
            if not replica.draining:
                found[replica.stage][name] = replica.handle
        return found

    def usable(self, stage: str) -> dict[str, Any]:
        """Not those that still load, as long as there are others: what they got would wait."""
        replicas = self.handles[stage]
        loaded = {n: handle for n, handle in replicas.items() if not self._replicas[n].loading}
        return loaded or replicas

    @property
    def all_usable(self) -> dict[str, dict[str, Any]]:
        return {stage: self.usable(stage) for stage in self._spec.stages}

    def numbers(self, stage: str) -> Numbers:
        mine = [
            replica
            for replica in self._replicas.values()
            if replica.stage == stage and not self._stands_by(replica)
        ]
        staying = [replica for replica in mine if not replica.draining]
        loading = sum(replica.loading for replica in staying)
        ready, draining = len(staying) - loading, len(mine) - len(staying)
        return Numbers(ready, loading, draining, self._failed[stage], self._load_s[stage])

    def standing(self, nodes: Mapping[str, str]) -> tuple[Stands, ...]:
        """Those that are not taken away; ``nodes``: by name, the node, where it is known."""
        followed = {replica.follows for replica in self._replicas.values()}
        return tuple(
            Stands(name, each.stage, nodes.get(name), not each.loading, name in followed)
            for name, each in self._replicas.items()
            if not each.draining
        )

    def pids(self) -> list[int]:
        handles = [handle for replicas in self.handles.values() for handle in replicas.values()]
        return [int(told["pid"]) for told in ray.get([h.device.remote() for h in handles])]

    # -- told -----------------------------------------------------------------------------

    def scale(self, stage: str, wanted: int, leaving: Collection[str] = ()) -> None:
        """So many from now on; the owners must be told of ``usable`` after it.

        ``leaving``: those whose nodes will go.
        """
        self.wanted[stage] = wanted
        found = self.handles[stage]
        staying = [name for name in found if not self._stands_by(self._replicas[name])]
        for _ in range(wanted - len(staying)):
            self._start(stage, loading=True, added=True)
        # Those whose nodes will go are the first to go, then those that load, then the newest.
        staying.reverse()
        staying.sort(key=lambda n: (n not in leaving, not self._replicas[n].loading))
        for name in staying[: max(0, len(staying) - wanted)]:
            self.release(name)
            for replica in self._replicas.values():
                replica.draining |= replica.follows == name

    def replace(self, name: str) -> None:
        """Another one is started elsewhere; once it is ready this one gets no more batches."""
        self._start(self._replicas[name].stage, loading=True, follows=name)

    def release(self, name: str) -> str:
        """It gets no more batches, once the owners are told; its stage."""
        replica = self._replicas[name]
        replica.draining = True
        return replica.stage

    def give_up_waiting(self) -> None:
        """Ends those that were added and for which no node has had room for long."""
        long_ago_us = monotonic_us() - round(ROOM_S_MAX * 1e6)
        for name, replica in self._replicas.items():
            if not replica.added or not replica.loading or replica.waited:
                continue
            if replica.since_us < long_ago_us and self._places.waits(name):
                replica.waited = True
                ray.kill(replica.handle)

    def respec(self, spec: PipelineSpec, stages: Iterable[str]) -> None:
        """The file with other limits of these stages; replicas that start later have them too."""
        self._spec = spec
        for replica in self._replicas.values():
            if replica.stage in stages:
                limits = spec.stages[replica.stage]
                control(replica.handle.set_limits).remote(
                    limits.batch_max, limits.latency_target_us
                )

    def looked_at(self, reference: Any) -> str | None:
        """What a ready reference means; gives the stage whose usable replicas have changed."""
        if reference in self._watches:
            return self._ended(self._watches.pop(reference), reference)
        name = self._loading.pop(reference, None)
        replica = None if name is None else self._replicas.get(name)
        if replica is None or not answered(reference):
            return None  # where it died instead, its watch tells
        replica.loading = False
        if replica.follows in self._replicas:
            self._replicas[replica.follows].draining = True
        replica.follows = None
        self._load_s[replica.stage] = (monotonic_us() - replica.since_us) / 1e6
        return replica.stage

    def _ended(self, name: str, reference: Any) -> str:
        replica = self._replicas.pop(name)
        self._view.replica_ended(name)
        self._places.gone(name)
        if replica.draining:
            return replica.stage
        if replica.loading and (replica.added or self._stands_by(replica)):
            if replica.added:
                self._failed[replica.stage] += 1
                self.wanted[replica.stage] -= 1
            why = "no node had room for it" if replica.waited else why_of(reference)
            self._say(f"motet: warning: replica {name} did not start ({why})")
            return replica.stage
        cause = "it held a batch for too long" if replica.hung else "its process died"
        self._count("encoder", "hung" if replica.hung else "died", name, cause)
        if not any(other.follows == name for other in self._replicas.values()):
            self._start(replica.stage, loading=True)
        return replica.stage

    def _stands_by(self, replica: _Replica) -> bool:
        """Whether it only loads for the place of one that still works."""
        if not replica.loading or replica.follows is None:
            return False
        before = self._replicas.get(replica.follows)
        return before is not None and not before.draining

    def end(self, overdue: Iterable[str]) -> None:
        """Kills those that hang; their watches tell, and new ones are started."""
        for name in self._replicas.keys() & set(overdue):
            self._replicas[name].hung = True
            ray.kill(self._replicas[name].handle)

    def let_go(self, holding: Collection[str]) -> None:
        """Ends those that are taken away and that no owner may have a batch with any more.

        ``holding``: what the owners told, after the last one that does not live any more.
        """
        for name, replica in self._replicas.items():
            if replica.draining and name not in holding:
                ray.kill(replica.handle)

    def close(self) -> None:
        for replica in self._replicas.values():
            ray.kill(replica.handle)
