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
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from sim_around import Around
from sim_audit import Audit, demand
from sim_end import Ending
from sim_faults import Crash, Faults
from sim_host import Host
from sim_moves import Moves, demand_one_owner
from sim_ports import Ports
from sim_steps import HOSTS_MAX, Steps
from sim_wall import Walls
from sim_world import MS, OUTPUTS, TOPICS, Producers, draw_world

from pipeline.batching.dispatch import DEATHS_MAX
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import Fenced, Refused, Transient
from pipeline.spec import PipelineSpec
from pipeline.tasks.encode import encode_task

EPOCH_US = 1_700_000_000_000_000
TRANSACTION_TIMEOUT_US = 3_000 * MS
TRIES_MAX = 200


class Outcome(NamedTuple):
    """``trace`` is a hash over all that happened; ``sometimes`` counts the rare paths."""

    trace: str
    sometimes: Counter[str]


class Simulation:
    """One life of a pipeline, with all hosts that run it one after another and side by side."""

    def __init__(self, seed: int, clock_steps: bool = True) -> None:
        self.rng = random.Random(seed)
        self.clock_us = EPOCH_US
        self.sometimes: Counter[str] = Counter()
        self.recent: deque[str] = deque(maxlen=20)
        self.depth = 0
        self.enough = False  # was published: only as much more as keeps windows closing
        self._hash = hashlib.sha256()
        self.world = draw_world(self.rng)
        self.ports = Ports(self)
        self.broker = MemoryBroker(clock=lambda: self.clock_us, hook=self.ports.hook)
        self.connector = MemoryConnector(
            self.broker, TRANSACTION_TIMEOUT_US, fetch_records=self.world.fetch_records
        )
        for topic in TOPICS.values():
            self.broker.create_topic(topic, self.world.lanes, append_time=True)
        for topic in (f"{prefix}.{name}" for prefix in ("run", "calm") for name in OUTPUTS):
            self.broker.create_topic(topic, self.world.lanes)
        self.producers = Producers(self.world, self.rng, self.count)
        self.faults = Faults(self.rng, seed, self.world.size.planned)
        self.audit = Audit(self.broker, self.world.lanes, self.trace)
        self.file = self.world.spec()
        lengths, cpu = check_pipeline(self.file), torch.device("cpu")
        self.around = Around(
            rng=self.rng,
            now_us=lambda: self.clock_us,
            walls=Walls(seed, lambda: self.clock_us, self.count, clock_steps),
            pause=self._pause,
            sometimes=self.count,
            encoders={n: encode_task(self.file, n, cpu, lengths) for n in self.file.stages},
            lengths=lengths,
            replicas=self.world.replicas,
            call_batches=self.world.call_batches,
            deaths_alone_max=DEATHS_MAX if self.world.rough else DEATHS_MAX - 1,
        )
        self.hosts: list[Host] = []
        self._slots = self.rng.randint(1, 4)
        self._runs = 0
        self.moves = Moves(self)
        self.steps = Steps(self)
        self._ending = Ending(self)

    def live(self) -> Outcome:
        """Faults and records first; then neither, until all is settled and can be checked."""
        if self.world.backlog:
            self.steps.backlog()
        wanted = self.producers.published + self.rng.randint(*self.world.size.records)
        for _ in range(self.world.size.steps):
            self.steps.take()
            self.look()
            if self.producers.published >= wanted:
                self.enough = True
                if not self.faults.awaited:
                    break
        self.faults.on = False
        self.steps.end_transaction()
        for host in self.living():
            self.steps.wake(host)
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
        self.steps.end_transaction(to_us)
        self.clock_us = max(self.clock_us, to_us)

    def _pause(self, attempt: int) -> None:
        """A host waits before it tries again, as pipeline.tasks.retry; meanwhile others go on."""
        demand(attempt < TRIES_MAX, f"tried again {attempt} times")
        self.advance(min(2_000 * MS, (50 * MS) << min(attempt, 10)))
        if self.faults.on and self.rng.random() < 0.5:
            self.ports.others()

    def look(self) -> None:
        """Looks at the lanes of all hosts that live; commits are looked at as they take place."""
        for host in self.living():
            if host.phase != "starting":
                self.audit.look_at(host)
        demand_one_owner(self.hosts)

    # -- hosts ------------------------------------------------------------------------------

    def living(self) -> list[Host]:
        return [host for host in self.hosts if host.phase != "ended"]

    def awake(self) -> list[Host]:
        return [host for host in self.living() if not host.frozen]

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
        self.moves.ended(host)
        host.replaced = True
        restarted = self._new_host(host.spec, host.run_id, again=True, slots=host.slots)
        self.moves.restarted(host, restarted)
        if self.rng.random() < 0.3 and len(self.living()) < HOSTS_MAX:
            self.count("a run takes over while an owner restarts")
            self.begin(self.new_run())
        return restarted

    def new_owner(self, host: Host) -> Host:
        """Another owner in its run, that has no slot yet."""
        made = self._new_host(host.spec, host.run_id, again=True, slots=())
        while made.phase == "starting":
            self.stepped(made, made.start_step)
        return made

    def _new_host(
        self, spec: PipelineSpec, run_id: str, again: bool, slots: Collection[int] | None = None
    ) -> Host:
        made: list[Host] = []
        connector = self.ports.connector(lambda: made[0])
        name = f"h{len(self.hosts) + 1}"
        on_claimed = self._ending.on_claimed
        host = Host(
            name, run_id, spec, connector, self.around,
            again=again, slots=slots, on_claimed=on_claimed,
        )  # fmt: skip
        made.append(host)
        self.hosts.append(host)
        self.trace(name, run_id, spec.slots)
        return host

    def begin(self, host: Host) -> None:
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
            lost = host.superseded or host.run_id in self.ports.lost_runs
            demand(lost, f"{host.name} is fenced, and nobody took over: {list(self.recent)}")
            self.count(f"fenced while {host.phase}")
            if self.living()[-1].spec.slots != host.spec.slots:
                self.count("a zombie of another number of slots was fenced")
            self._end(host)
        except Refused:
            self.count(f"refused while {host.phase}")
            if self.rng.random() < 0.5:  # else its processes are killed
                host.close()
            self._end(host)
        except Transient:  # a run that finds no broker when it looks for its topics ends
            demand(not host.owners, f"{host.name} did not try again: {list(self.recent)}")
            self._end(host)

    def _end(self, host: Host) -> None:
        self.trace(host.name, "ends")
        host.phase = "ended"
        self.moves.ended(host)

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
        replays = host.phase == "running" and host.task.replaying
        self.count(f"crash between steps while {'replaying' if replays else host.phase}")
        raise Crash(host)

    def drain(self, host: Host) -> None:
        """Its run is told to stop: all its owners are."""
        self.moves.close(host.run_id)
        for other in self.living():
            if other.run_id == host.run_id:
                if other.phase == "running":
                    other.phase = "draining"
                elif other.phase == "starting" and not other.busy:
                    self._end(other)

    def close(self, host: Host) -> None:
        self.count("a clean end")
        host.closed = True
        host.close()


def simulate(seed: int, clock_steps: bool = True) -> Outcome:
    """One life; raises AssertionError where anything does not hold, or for any other error.

    ``clock_steps``: whether the wall clocks of its processes step.
    """
    simulation = Simulation(seed, clock_steps)
    try:
        return simulation.live()
    except AssertionError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise AssertionError(f"{what}, after {list(simulation.recent)}") from error
