"""What a simulation does within the calls of the ports: it sees them, and lets them fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sim_faults import ENDS_TOLD, Crash, Kind, Point
from sim_host import Host
from sim_steps import HOSTS_MAX
from sim_world import MS

from pipeline.connectors.memory import MemoryConnector, MemoryControl, MemorySource
from pipeline.connectors.memory_sink import MemorySink
from pipeline.errors import Refused, Transient

if TYPE_CHECKING:
    from simulation import Simulation

STALL_US = 6_000 * MS  # longer than a transaction lives, and than an answer is good for
DEPTH_MAX = 2  # calls under way that wait for others' steps


@dataclass(frozen=True)
class HostConnector:
    """The broker's ports, each known to belong to one host (``hosts``, by the port's id)."""

    inner: MemoryConnector
    host: Callable[[], Host]
    hosts: dict[int, tuple[object, Callable[[], Host]]]

    def _known(self, port: Any) -> Any:
        self.hosts[id(port)] = port, self.host
        return port

    def source(self) -> Any:
        return self._known(self.inner.source())

    def sink(self, transactional_id: str, group: str) -> Any:
        return self._known(self.inner.sink(transactional_id, group))

    def control(self) -> Any:
        return self._known(self.inner.control())

    def publisher(self) -> Any:
        return self.inner.publisher()


class Ports:
    """Which host each port belongs to, who has opened which id, and what befalls their calls.

    ``lost_runs``: another run has opened one of their ids.
    """

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._hosts: dict[int, tuple[object, Callable[[], Host]]] = {}
        self._openers: dict[str, list[Host]] = {}  # of each transactional id
        self._given: set[tuple[str, Host]] = set()
        self.lost_runs: set[str] = set()

    def connector(self, host: Callable[[], Host]) -> HostConnector:
        return HostConnector(self._sim.connector, host, self._hosts)

    def hook(self, step: str, port: object) -> None:
        known = self._hosts.get(id(port))
        if known is None:
            return
        host = known[1]()
        at = Point(self._phase(host, step, port), step)
        if step == "commit-reply":
            self._sim.audit.look()
        if step == "open-reply" and isinstance(port, MemorySink):
            self._opened(host, port.transactional_id)
        self._sim.trace(host.name, *at)
        if host.phase != "ended":
            kind = self._sim.faults.draw(at, host.superseded)
            if kind is not None:
                self._befall(host, kind, port)
        if host.phase == "ended":  # meanwhile, in another of its threads
            raise Crash(host)

    def _phase(self, host: Host, step: str, port: object) -> str:
        if host.phase == "starting":
            return "start"
        if isinstance(port, MemorySource):
            return "read"
        taking = host.taking_owner
        if taking is not None and port in (taking._sink, taking._control):
            return "move"
        if step.removesuffix("-reply") not in ("open", "committed"):
            return "run"
        return "check" if isinstance(port, MemoryControl) and "check" in host.busy else "resolve"

    def _opened(self, host: Host, transactional_id: str) -> None:
        """Whoever had the id before has lost it for ever: an owner, and where it is of another
        run, that run as a whole."""
        before = self._openers.setdefault(transactional_id, [])
        self._given.discard((transactional_id, host))
        for other in before:
            if other is not host:
                other.superseded |= (transactional_id, other) not in self._given
                self.lost_runs |= {other.run_id} - {host.run_id}
        before.append(host)

    def gave(self, host: Host, slot: int) -> None:
        """It has given the slot up: who opens its id next takes nothing from it."""
        self._given.add((host.identity(slot).transactional_id, host))

    def holds(self, host: Host, slot: int) -> bool:
        """Whether nobody has opened the slot's id after this host."""
        return self._openers[host.owners[slot].identity.transactional_id][-1] is host

    def _befall(self, host: Host, kind: Kind, port: object) -> None:
        sim, what = self._sim, kind.what
        if what in ("takeover", "others") and sim.depth >= DEPTH_MAX:
            return
        if what == "takeover" and len(sim.living()) >= HOSTS_MAX:
            return
        if what == "others" and kind.at == ENDS_TOLD and not sim.world.rough:
            return  # as long as its answer takes, a record may stay unseen (sim_world)
        sim.count(str(kind))
        if what == "crash":
            raise Crash(host)
        if what == "stall":
            if kind.at == ENDS_TOLD:
                self.others()
            sim.advance(STALL_US)
        elif what == "takeover":
            restarts = host.phase == "running" and not host.replaced
            again = restarts and sim.rng.random() < 0.3
            sim.begin(sim.restart(host) if again else sim.new_run())
        elif what == "others":
            self.others()
        elif what == "refused":
            raise Refused(f"simulated: {kind}")
        else:
            if what == "timeout":
                sim.advance(sim.rng.choice((1_000 * MS, STALL_US)))
            elif what != "retriable":
                assert isinstance(port, MemorySink), kind
                port.interrupt(new_epoch=what == "fatal")
            raise Transient(f"simulated: {kind}")

    def others(self) -> None:
        """While a call is under way, everything else goes on."""
        sim = self._sim
        if sim.depth < DEPTH_MAX:
            sim.depth += 1
            for _ in range(sim.rng.randint(1, 12)):
                sim.steps.take()
            sim.depth -= 1
