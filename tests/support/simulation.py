"""A whole pipeline in one thread on a virtual clock: a seed decides all that happens to it.

The ingest and fusion tasks, the dispatcher, the encoders, the ledger, the committer and the
recovery are the real ones, and so is the broker's behaviour (``pipeline.connectors.memory``).
What stands here moves them: one step at a time, in any order, with faults at every step of the
commit and recovery protocols, while one of their calls is under way too.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sim_around import Around
from sim_audit import Audit, demand
from sim_end import Ending
from sim_faults import Crash, Faults, Kind, Point
from sim_host import Host
from sim_steps import HOSTS_MAX, Steps
from sim_world import MS, OUTPUTS, TOPICS, Producers, draw_world

from pipeline.batching.dispatch import DEATHS_MAX
from pipeline.connectors.memory import MemoryConnector, MemorySink, MemorySource
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import Fenced, Transient
from pipeline.spec import PipelineSpec
from pipeline.tasks.encode import encode_task

EPOCH_US = 1_700_000_000_000_000
TRANSACTION_TIMEOUT_US = 3_000 * MS
STEPS_MAX = 1500
TRIES_MAX = 200
DEPTH_MAX = 2  # calls under way that wait for others' steps


class Outcome(NamedTuple):
    """``trace`` is a hash over all that happened; ``sometimes`` counts the rare paths."""

    trace: str
    sometimes: Counter[str]


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


class Simulation:
    """One life of a pipeline, with all hosts that run it one after another and side by side."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock_us = EPOCH_US
        self.sometimes: Counter[str] = Counter()
        self.recent: deque[str] = deque(maxlen=20)
        self.depth = 0
        self._hash = hashlib.sha256()
        self.world = draw_world(self.rng)
        self.broker = MemoryBroker(clock=lambda: self.clock_us, hook=self._hook)
        self.connector = MemoryConnector(
            self.broker, TRANSACTION_TIMEOUT_US, fetch_records=self.world.fetch_records
        )
        for topic in TOPICS.values():
            self.broker.create_topic(topic, self.world.lanes, append_time=True)
        for topic in (f"{prefix}.{name}" for prefix in ("run", "calm") for name in OUTPUTS):
            self.broker.create_topic(topic, self.world.lanes)
        self.producers = Producers(self.world, self.rng, self.count)
        self.faults = Faults(self.rng, seed)
        self.audit = Audit(self.broker, self.world.lanes, self.trace)
        self.file = self.world.spec()
        lengths, cpu = check_pipeline(self.file), torch.device("cpu")
        self.around = Around(
            rng=self.rng,
            now_us=lambda: self.clock_us,
            pause=self._pause,
            sometimes=self.count,
            encoders={n: encode_task(self.file, n, cpu, lengths) for n in self.file.stages},
            lengths=lengths,
            replicas=self.world.replicas,
            deaths_alone_max=DEATHS_MAX if self.world.rough else DEATHS_MAX - 1,
        )
        self.hosts: list[Host] = []
        self._slots = self.rng.randint(1, 4)
        self._runs = 0
        self._ports: dict[int, tuple[object, Callable[[], Host]]] = {}
        self._openers: dict[str, list[Host]] = {}  # of each transactional id
        self._lost_runs: set[str] = set()  # another run has opened one of their ids
        self._steps = Steps(self)
        self._ending = Ending(self)

    def live(self) -> Outcome:
        """Faults and records first; then neither, until all is settled and can be checked."""
        wanted = self.rng.randint(50, 160)
        for _ in range(STEPS_MAX):
            self._steps.take()
            self.look()
            if self.producers.published >= wanted and not self.faults.plan:
                break
        self.faults.on = False
        self._steps.end_transaction()
        if self.rng.random() < 0.3 and len(self.living()) < HOSTS_MAX:
            self.new_run()
        self._ending.check_zombies()
        self._ending.settle()
        self._ending.check()
        return Outcome(self._hash.hexdigest(), self.sometimes)

    # -- what all share ---------------------------------------------------------------------

    def trace(self, *what: object) -> None:
        self._hash.update(repr((self.clock_us, *what)).encode())
        self.recent.append(" ".join(map(str, what[:3])))

    def count(self, what: str) -> None:
        self.sometimes[what] += 1

    def advance(self, by_us: int) -> None:
        """Time passes; a producer's transaction ends in time."""
        to_us = self.clock_us + by_us
        self._steps.end_transaction(to_us)
        self.clock_us = max(self.clock_us, to_us)

    def _pause(self, attempt: int) -> None:
        """A host waits before it tries again, as pipeline.tasks.retry; meanwhile others go on."""
        demand(attempt < TRIES_MAX, f"tried again {attempt} times")
        self.advance(min(2_000 * MS, (50 * MS) << min(attempt, 10)))
        if self.faults.on and self.rng.random() < 0.5:
            self._others()

    def look(self) -> None:
        """Looks at the lanes of all hosts that live; commits are looked at as they take place."""
        for host in self.living():
            if host.phase != "starting":
                self.audit.look_at(host)

    # -- hosts ------------------------------------------------------------------------------

    def living(self) -> list[Host]:
        return [host for host in self.hosts if host.phase != "ended"]

    def new_run(self) -> Host:
        """`motet run`, on this machine or another; what ran before may still live."""
        if self.rng.random() < 0.5:
            self._slots = self.rng.randint(1, 4)
        self._runs += 1
        if self.living():
            self.count("a run takes over from a living one")
        spec = self.file.model_copy(update={"slots": self._slots})
        return self._new_host(spec, f"run-{self._runs}", again=False)

    def restart(self, host: Host) -> Host:
        """The same run starts its owner anew; the old one only seems to be dead."""
        self.count("an owner restarted within its run")
        restarted = self._new_host(host.spec, host.run_id, again=True)
        if self.rng.random() < 0.3 and len(self.living()) < HOSTS_MAX:
            self.count("a run takes over while an owner restarts")
            self._begin(self.new_run())
        return restarted

    def _new_host(self, spec: PipelineSpec, run_id: str, again: bool) -> Host:
        made: list[Host] = []
        connector = HostConnector(self.connector, lambda: made[0], self._ports)
        name = f"h{len(self.hosts) + 1}"
        on_claimed = self._ending.on_claimed
        host = Host(name, run_id, spec, connector, self.around, again=again, on_claimed=on_claimed)
        made.append(host)
        self.hosts.append(host)
        self.trace(name, run_id, spec.slots)
        return host

    def _begin(self, host: Host) -> None:
        """Some steps of a start in a row, at times all of them."""
        self.depth += 1
        for _ in range(self.rng.choice((1, 2, 3, 5, 15, 15, 15))):
            if host.phase == "starting":
                self.stepped(host, host.start_step)
        self.depth -= 1

    def stepped(self, host: Host, step: Callable[[], object]) -> None:
        """One step of a host, and what it ends in."""
        try:
            step()
        except Crash as crash:
            self._end(crash.host)
        except Fenced:
            lost = host.superseded or host.run_id in self._lost_runs
            demand(lost, f"{host.name} is fenced, and nobody took over: {list(self.recent)}")
            self.count(f"fenced while {host.phase}")
            self._end(host)

    def _end(self, host: Host) -> None:
        self.trace(host.name, "ends")
        host.phase = "ended"

    def commit(self, host: Host, slot: int) -> None:
        committer = host.owners[slot].committer
        retries = committer.retries_total
        try:
            host.commit(slot)
        except Fenced:
            self.count("a zombie's commit was fenced")
            raise
        if committer.retries_total > retries:
            again = self.recent[-1].endswith("commit-reply")
            self.count(f"an unknown outcome was {'not ' if again else ''}committed")

    def crash(self, host: Host) -> None:
        self.count(f"crash between steps while {host.phase}")
        raise Crash(host)

    def drain(self, host: Host) -> None:
        host.phase = "draining"

    def close(self, host: Host) -> None:
        self.count("a clean end")
        host.close()

    # -- within the ports -------------------------------------------------------------------

    def _hook(self, step: str, port: object) -> None:
        known = self._ports.get(id(port))
        if known is None:
            return
        host = known[1]()
        at = Point(self._phase(host, step, port), step)
        if step == "commit-reply":
            self.audit.look()
        if step == "open-reply" and isinstance(port, MemorySink):
            self._opened(host, port.transactional_id)
        self.trace(host.name, *at)
        if host.phase != "ended":
            kind = self.faults.draw(at, host.superseded)
            if kind is not None:
                self._befall(host, kind)
        if host.phase == "ended":  # meanwhile, in another of its threads
            raise Crash(host)

    def _phase(self, host: Host, step: str, port: object) -> str:
        if host.phase == "starting":
            return "start"
        if isinstance(port, MemorySource):
            return "read"
        if step.removesuffix("-reply") not in ("open", "committed"):
            return "run"
        return "check" if "check" in host.busy else "resolve"

    def _opened(self, host: Host, transactional_id: str) -> None:
        """Whoever had the id before has lost it for ever: an owner, and where it is of another
        run, that run as a whole."""
        before = self._openers.setdefault(transactional_id, [])
        for other in before:
            if other is not host:
                other.superseded = True
                self._lost_runs |= {other.run_id} - {host.run_id}
        before.append(host)

    def holds(self, host: Host, slot: int) -> bool:
        """Whether nobody has opened the slot's id after this host."""
        return self._openers[host.owners[slot].identity.transactional_id][-1] is host

    def _befall(self, host: Host, kind: Kind) -> None:
        if kind.what == "transient" and kind.at.step == "poll-reply":
            return  # the client would have what was fetched: nothing was lost
        if kind.what in ("takeover", "others") and self.depth >= DEPTH_MAX:
            return
        if kind.what == "takeover" and len(self.living()) >= HOSTS_MAX:
            return
        self.count(str(kind))
        if kind.what == "crash":
            raise Crash(host)
        if kind.what == "transient":
            raise Transient(f"simulated: {kind}")
        if kind.what == "stall":
            self.advance(TRANSACTION_TIMEOUT_US + 1)
        elif kind.what == "takeover":
            again = host.phase == "running" and self.rng.random() < 0.3
            self._begin(self.restart(host) if again else self.new_run())
        else:
            self._others()

    def _others(self) -> None:
        """While a call is under way, everything else goes on."""
        if self.depth < DEPTH_MAX:
            self.depth += 1
            for _ in range(self.rng.randint(1, 12)):
                self._steps.take()
            self.depth -= 1


def simulate(seed: int) -> Outcome:
    """One life; raises AssertionError where anything does not hold, or for any other error."""
    simulation = Simulation(seed)
    try:
        return simulation.live()
    except AssertionError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise AssertionError(f"{what}, after {list(simulation.recent)}") from error
