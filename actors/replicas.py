"""The encoder actors of a run: started, told to be usable, and started anew where one ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.remote import control, encoder_actor, watch
from actors.view import ClusterView
from pipeline.errors import MotetError
from pipeline.spec import PipelineSpec
from pipeline.tasks.planning import Resources, cpus_per_actor, gpus_of

START_S_MAX = 120.0

Count = Callable[[str, str, str, str], None]  # role, word, what ended, cause


class Replicas:
    """Every stage's replicas, by stage and name.

    Invariant: as many are alive or loading as the file demands; batches go to those that have
    loaded, as long as there are any.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        lengths: Mapping[str, int],
        resources: Resources,
        view: ClusterView,
        count: Count,
    ) -> None:
        """``count`` is told of each that has ended."""
        self._spec = spec
        self._lengths = lengths
        self._gpus = {name: gpus_of(spec, name, resources) for name in spec.stages}
        self._cpus = cpus_per_actor(spec, resources)
        self._view = view
        self._count = count
        self._serial = 0
        self._watches: dict[Any, tuple[str, str]] = {}
        self._loading: dict[Any, tuple[str, str]] = {}  # reference -> one that was started anew
        self._hung: set[str] = set()  # those that were killed for it
        self.handles: dict[str, dict[str, Any]] = {name: {} for name in spec.stages}

    def start(self) -> None:
        for name, stage in self._spec.stages.items():
            for _ in range(stage.replicas_min):
                self._start(name)

    def _start(self, stage: str) -> tuple[str, Any]:
        self._serial += 1
        name = f"{stage}-{self._serial}"
        gpus = self._gpus[stage]
        handle = encoder_actor(self._cpus, gpus).remote(self._spec, stage, self._lengths, gpus)
        self.handles[stage][name] = handle
        self._watches[watch(handle)] = stage, name
        self._view.replica_started(name, handle)
        return name, handle

    @property
    def references(self) -> list[Any]:
        """Those that become ready when a replica has ended, or has loaded."""
        return [*self._watches, *self._loading]

    def looked_at(self, reference: Any) -> str | None:
        """What a ready reference means; gives the stage whose usable replicas have changed."""
        if reference in self._watches:
            return self._restarted(reference)
        if reference in self._loading:
            return self._loading.pop(reference)[0]  # where it died instead, its watch tells
        return None

    def _restarted(self, reference: Any) -> str:
        stage, name = self._watches.pop(reference)
        hung = name in self._hung
        self._hung.discard(name)
        del self.handles[stage][name]
        self._view.replica_ended(name)
        cause = "it held a batch for too long" if hung else "its process died"
        self._count("encoder", "hung" if hung else "died", name, cause)
        again, handle = self._start(stage)
        self._loading[control(handle.device).remote()] = stage, again
        return stage

    def usable(self, stage: str) -> dict[str, Any]:
        """Not those that still load, as long as there are others: what they got would wait."""
        loading = {name for _, name in self._loading.values()}
        replicas = self.handles[stage]
        loaded = {name: replicas[name] for name in replicas.keys() - loading}
        return loaded or dict(replicas)

    @property
    def all_usable(self) -> dict[str, dict[str, Any]]:
        return {stage: self.usable(stage) for stage in self.handles}

    def end(self, overdue: Iterable[str]) -> None:
        """Kills those that hang; their watches tell, and new ones are started."""
        for replicas in self.handles.values():
            for name in replicas.keys() & set(overdue):
                self._hung.add(name)
                ray.kill(replicas[name])

    def pids(self) -> list[int]:
        handles = [handle for replicas in self.handles.values() for handle in replicas.values()]
        return [int(told["pid"]) for told in ray.get([h.device.remote() for h in handles])]

    def close(self) -> None:
        for replicas in self.handles.values():
            for handle in replicas.values():
                ray.kill(handle)


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
