"""Nodes and what stands on them: where the next owner or replica goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_TINY = 1e-6  # shares of GPUs and CPUs are sums of fractions


class Node(NamedTuple):
    """A machine: CPUs and GPUs that are free for a run, memory of each GPU where it is known.

    ``network_bytes_s``: what its network carries, in one direction.
    """

    name: str
    cpus: float
    gpus: int = 0
    gpu_memory_bytes: int | None = None
    memory_bytes: int | None = None
    network_bytes_s: int | None = None


class Need(NamedTuple):
    """What one replica of a stage takes. ``gpus``: 0, 1/n or a whole number."""

    stage: str
    cpus: float
    gpus: float
    gpu_memory_bytes: int | None = None


class Spot(NamedTuple):
    """A replica's node and, by number on that node, its GPUs."""

    node: str
    gpus: tuple[int, ...] = ()


@dataclass(slots=True)
class _Gpu:
    share: float = 1.0
    memory_bytes: int | None = None

    def takes(self, share: float, memory_bytes: int | None) -> bool:
        if memory_bytes is not None and self.memory_bytes is not None:
            return memory_bytes <= self.memory_bytes and share <= self.share + _TINY
        return share <= self.share + _TINY


@dataclass(slots=True)
class _Place:
    node: Node
    cpus: float
    gpus: list[_Gpu]
    owners: int = 0
    replicas: Counter[str] = field(default_factory=Counter)


class Ground:
    """What is free on each node, and what stands there.

    Invariant: nothing is given out twice. Which node is taken depends on the nodes and on what
    stands alone, not on their order. Rules, the first that tells two nodes apart decides: the
    fewest of the same kind for what the node can take (so that a node that is lost takes few with
    it), an owner beside it (so that frames stay on the node), the most that is free.
    """

    def __init__(
        self, nodes: Iterable[Node], free: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        """``free``: by node, CPUs and GPUs that are left; without it nothing is taken.

        A node that it does not name has none.
        """
        self._places = {}
        for node in nodes:
            cpus, gpus = (node.cpus, float(node.gpus))
            if free is not None:
                cpus, gpus = free.get(node.name, (0.0, 0.0))
            # Which GPUs are shared Ray does not tell: as few as may be are taken to be.
            shares = [min(1.0, max(0.0, gpus - number)) for number in range(node.gpus)]
            each = [_Gpu(share, node.gpu_memory_bytes) for share in shares]
            self._places[node.name] = _Place(node, cpus, each)

    # -- told -----------------------------------------------------------------------------

    def stands(self, owners: Iterable[str], replicas: Mapping[str, Iterable[str]]) -> None:
        """What stands already, by node: its CPUs and GPUs are not among those that are free."""
        for name in owners:
            if name in self._places:
                self._places[name].owners += 1
        for stage, names in replicas.items():
            for name in names:
                if name in self._places:
                    self._places[name].replicas[stage] += 1

    # -- given out ------------------------------------------------------------------------

    def owner(self, cpus: float, *, near_gpus: bool) -> str | None:
        """A node for an ingest and a fusion actor, of ``cpus`` each; None where none has room.

        ``near_gpus``: where encoders will run on GPUs, so that frames need not travel.
        """
        found = [p for p in self._places.values() if p.cpus + _TINY >= 2 * cpus]
        if not found:
            return None

        def order(place: _Place) -> tuple[object, ...]:
            far = near_gpus and not place.gpus
            return far, (place.owners + 1) / max(place.node.cpus, _TINY), place.node.name

        chosen = min(found, key=order)
        chosen.cpus -= 2 * cpus
        chosen.owners += 1
        return chosen.node.name

    def replica(self, need: Need) -> Spot | None:
        """A node, and GPUs of it, for one more replica; None where none has room."""
        found = [p for p in self._places.values() if self._gpus(p, need) is not None]
        if not found:
            return None

        def order(place: _Place) -> tuple[object, ...]:
            most = max(1, _capacity(place.node, need))
            share = place.replicas[need.stage] / most
            busy = 1 - place.cpus / max(place.node.cpus, _TINY)
            return share, not place.owners, busy, place.node.name

        chosen = min(found, key=order)
        gpus = self._gpus(chosen, need)
        assert gpus is not None
        chosen.cpus -= need.cpus
        chosen.replicas[need.stage] += 1
        for number in gpus:
            gpu = chosen.gpus[number]
            gpu.share -= min(1.0, need.gpus)
            if gpu.memory_bytes is not None and need.gpu_memory_bytes is not None:
                gpu.memory_bytes -= need.gpu_memory_bytes
        return Spot(chosen.node.name, gpus)

    def room(self, need: Need, most: int) -> int:
        """For how many more replicas there is a place, counted up to ``most``; it is used up."""
        return next((n for n in range(most) if self.replica(need) is None), most)

    def lack(self, need: Need) -> str:
        """Why there is no place for one more, in words."""

        def somewhere(asked: Need) -> bool:
            return any(self._gpus(place, asked) is not None for place in self._places.values())

        device = need._replace(cpus=0.0)
        if need.gpus and not any(place.node.gpus for place in self._places.values()):
            return "no node has a GPU"
        if need.gpus and not somewhere(device._replace(gpu_memory_bytes=None)):
            return "all GPUs are given out, or no single node has as many"
        if need.gpus and not somewhere(device):
            return "no GPU that has a share left has so much memory left"
        return "no node that has what else it needs has CPUs left"

    # -- how ------------------------------------------------------------------------------

    def _gpus(self, place: _Place, need: Need) -> tuple[int, ...] | None:
        """The GPUs of a node that it would get; None where they, or CPUs, are not free.

        A fraction goes to the GPU with the least left that takes it, as Ray gives it.
        """
        if place.cpus + _TINY < need.cpus:
            return None
        if need.gpus == 0:
            return ()
        wanted = max(1, round(need.gpus))
        share = min(1.0, need.gpus)
        free = [
            number
            for number, gpu in enumerate(place.gpus)
            if gpu.takes(share, need.gpu_memory_bytes)
        ]
        free.sort(key=lambda number: (place.gpus[number].share, number))
        return tuple(sorted(free[:wanted])) if len(free) >= wanted else None


def _capacity(node: Node, need: Need) -> int:
    """Replicas that an empty node takes."""
    by_cpu = int(node.cpus / need.cpus + _TINY) if need.cpus else 1 << 30
    if need.gpus == 0:
        return by_cpu
    each = 1
    if need.gpus < 1:
        each = round(1 / need.gpus)
        if node.gpu_memory_bytes is not None and need.gpu_memory_bytes:
            each = min(each, node.gpu_memory_bytes // need.gpu_memory_bytes)
    return min(by_cpu, int(node.gpus * each / max(1, round(need.gpus))))
