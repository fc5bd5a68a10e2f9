"""The encoder actors of a run: started, told to be usable, drained, and started anew where one
ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.placement import Places
from actors.remote import control, encoder_actor, watch
from actors.view import ClusterView
from pipeline.clock import monotonic_us
from pipeline.errors import MotetError
from pipeline.spec import PipelineSpec
from pipeline.tasks.planning import Resources, neighbours
from pipeline.tasks.stage_scaling import Numbers

START_S_MAX = 120.0

Count = Callable[[str, str, str, str], None]  # role, word, what ended, cause


@dataclass(slots=True)
class _Replica:
    """``added``: while it runs, by scaling; it has not been ready yet while ``loading``."""

    stage: str
    handle: Any
    since_us: int
    loading: bool
    added: bool = False
    draining: bool = False
    hung: bool = False  # it was killed for it


class Replicas:
    """Every stage's replicas, by name.

    Invariants: as many are alive or loading as ``scale`` was told last, at first as the file
    demands; batches go to those that have loaded, as long as there are any. One that is taken
    away gets no more, and ends once no owner may have a batch with it.
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

    def _start(self, stage: str, *, loading: bool = False, added: bool = False) -> None:
        """``loading``: others work meanwhile, and it is told of once it is ready."""
        self._serial += 1
        name = f"{stage}-{self._serial}"
        need, where = self._places.need(stage), self._places.replica(name, stage)
        handle = encoder_actor(need.cpus, need.gpus, where).remote(
            self._spec, stage, self._lengths, need.gpus, self._neighbours[stage]
        )
        self._replicas[name] = _Replica(stage, handle, monotonic_us(), loading, added)
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
        mine = [replica for replica in self._replicas.values() if replica.stage == stage]
        staying = [replica for replica in mine if not replica.draining]
        loading = sum(replica.loading for replica in staying)
        ready, draining = len(staying) - loading, len(mine) - len(staying)
        return Numbers(ready, loading, draining, self._failed[stage], self._load_s[stage])

    def pids(self) -> list[int]:
        handles = [handle for replicas in self.handles.values() for handle in replicas.values()]
        return [int(told["pid"]) for told in ray.get([h.device.remote() for h in handles])]

    # -- told -----------------------------------------------------------------------------

    def scale(self, stage: str, wanted: int) -> None:
        """So many from now on; the owners must be told of ``usable`` after it."""
        self.wanted[stage] = wanted
        staying = list(self.handles[stage])
        for _ in range(wanted - len(staying)):
            self._start(stage, loading=True, added=True)
        # Those that load go first, then those that came last.
        staying.sort(key=lambda name: not self._replicas[name].loading)
        loading = sum(self._replicas[name].loading for name in staying)
        leaving = [*reversed(staying[:loading]), *reversed(staying[loading:])]
        for name in leaving[: max(0, len(staying) - wanted)]:
            self._replicas[name].draining = True

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
        if replica is None or not _answered(reference):
            return None  # where it died instead, its watch tells
        replica.loading = False
        self._load_s[replica.stage] = (monotonic_us() - replica.since_us) / 1e6
        return replica.stage

    def _ended(self, name: str, reference: Any) -> str:
        replica = self._replicas.pop(name)
        self._view.replica_ended(name)
        self._places.gone(name)
        if replica.draining:
            return replica.stage
        if replica.added and replica.loading:
            self._failed[replica.stage] += 1
            self.wanted[replica.stage] -= 1
            self._say(f"motet: warning: replica {name} did not start ({_why(reference)})")
            return replica.stage
        cause = "it held a batch for too long" if replica.hung else "its process died"
        self._count("encoder", "hung" if replica.hung else "died", name, cause)
        self._start(replica.stage, loading=True)
        return replica.stage

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


def _answered(reference: Any) -> bool:
    try:
        ray.get(reference)
    except (RayActorError, RayTaskError):
        return False
    return True


def _why(reference: Any) -> str:
    try:
        ray.get(reference)
    except (RayActorError, RayTaskError) as error:
        return cause_of(error)
    return "it ended"


def device_of(name: str, reference: Any) -> dict[str, object]:
    """Waits for a replica: one whose device is not as demanded ends the run here."""
    try:
        told: dict[str, object] = ray.get(reference, timeout=START_S_MAX)
    except GetTimeoutError as error:
        raise MotetError(
            f"stage replica {name}: Ray placed it nowhere within "
            f"{START_S_MAX:g} s; free CPUs or GPUs, or lower replicas and num_gpus"
        ) from error
    except (RayActorError, RayTaskError) as error:
        raise MotetError(f"stage replica {name}: {cause_of(error)}") from error
    return told


def cause_of(error: BaseException) -> str:
    """The line of one of Ray's errors that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # behind that stand half a page of guesses about the machine
    return lines[-1].partition(" Worker exit type:")[0] if lines else repr(error)
