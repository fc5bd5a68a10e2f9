"""Which step is next: of the world, or of one of the hosts that live."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sim_host import Host
from sim_world import INPUTS, MS, TRANSACTION_US

from pipeline.connectors.memory_sink import MemorySink

if TYPE_CHECKING:
    from simulation import Simulation

HOSTS_MAX = 4  # the owner, and zombies


class Step(NamedTuple):
    weight: float
    name: str
    do: Callable[[], object]


class Transaction(NamedTuple):
    """Another producer's transaction in the input topics."""

    sink: MemorySink
    deadline_us: int


class Steps:
    """Draws and takes steps; whatever a host may do at the moment is among them."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._rng = sim.rng
        self._foreign: Transaction | None = None
        self._foreign_serial = 0

    def take(self) -> None:
        """Something happens."""
        rng, awake = self._rng, self._sim.awake()
        if not awake and rng.random() < 0.2 and len(self._sim.living()) < HOSTS_MAX:
            self._sim.new_run()
        elif not awake or rng.random() < 0.3:
            step = self._drawn(self._of_world())
            self._sim.trace(step.name)
            step.do()
        else:
            self._of(awake[-1] if rng.random() < 0.5 else rng.choice(awake))

    def _drawn(self, steps: list[Step]) -> Step:
        return self._rng.choices(steps, [step.weight for step in steps])[0]

    # -- the world --------------------------------------------------------------------------

    def _of_world(self) -> list[Step]:
        sim, rng = self._sim, self._rng
        steps = [
            Step(4 if sim.enough else 20, "publish", self._publish),
            Step(16, "time", lambda: sim.advance(rng.choice((1, 10, 60, 200, 400)) * MS)),
            Step(1, "toggle", sim.producers.toggle),
            Step(2, "transaction", self._transaction),
            Step(0.5, "gap", self._gap),
        ]
        if not sim.depth:
            steps.append(Step(0.12, "lull", self._lull))
        if len(sim.living()) < HOSTS_MAX:
            starting = any(host.phase == "starting" for host in sim.living())
            sought = sim.faults.wants("start") and not starting
            steps.append(Step(1 if sought else 0.5 if starting else 0.12, "run", sim.new_run))
        steps += sim.moves.of_world()
        awake = sim.awake()
        if awake:
            steps.append(Step(0.2, "freeze", lambda: self._freeze(rng.choice(awake))))
        frozen = [host for host in sim.living() if host.frozen]
        if frozen:
            steps.append(Step(1, "wake", lambda: self.wake(rng.choice(frozen))))
        return steps

    def _freeze(self, host: Host) -> None:
        """It stands still, in the middle of whatever its threads are doing."""
        host.frozen = True

    def wake(self, host: Host) -> None:
        if host.frozen:
            host.frozen = False
            self._sim.count(f"a {'zombie' if host.superseded else 'frozen owner'} woke")

    def _publish(self) -> None:
        for _ in range(self._rng.choice((1, 2, 4, 7))):
            record = self._sim.producers.draw(self._sim.clock_us)
            if record is not None:
                self._sim.broker.append(record)

    def backlog(self) -> None:
        """What lies in the log before anyone reads: one input's records an hour behind another's,
        or all together."""
        sim, rng = self._sim, self._rng
        for _ in range(rng.randint(1, 3)):
            only = rng.choice((*INPUTS, None))
            sim.count("a backlog" if only is None else "a backlog of one input alone")
            for _ in range(rng.randint(5, 20)):
                record = sim.producers.draw(sim.clock_us, only)
                if record is not None:
                    sim.broker.append(record)
                sim.advance(rng.choice((1, 10, 30)) * MS)
            sim.advance(rng.choice((200, 3_600_000)) * MS)

    def _gap(self) -> None:
        """Offsets without a record, as compaction leaves them."""
        partition = self._rng.choice(self._sim.producers.partitions())
        self._sim.broker.skip(partition, self._rng.randint(1, 5))

    def _transaction(self) -> None:
        if self._foreign is not None:
            self.end_transaction()
            return
        sim = self._sim
        self._foreign_serial += 1
        sink = sim.connector.sink(f"producer-{self._foreign_serial % 3}", "producers")
        sink.open()
        sink.begin()
        self._foreign = Transaction(sink, sim.clock_us + TRANSACTION_US)
        drawn = [sim.producers.draw(sim.clock_us) for _ in range(self._rng.randint(1, 4))]
        sink.produce([record for record in drawn if record is not None])

    def end_transaction(self, by_us: int | None = None) -> None:
        """Ends the producer's transaction, if one is open (and must end by then)."""
        transaction = self._foreign
        if transaction is None or (by_us is not None and by_us < transaction.deadline_us):
            return
        self._foreign = None
        if by_us is not None:
            self._sim.clock_us = max(self._sim.clock_us, transaction.deadline_us)
        if self._rng.random() < 0.5:
            transaction.sink.commit()
            self._sim.count("a producer's transaction committed")
        else:
            transaction.sink.abort()
            self._sim.count("a producer's transaction aborted")

    def _lull(self) -> None:
        """Nobody sends anything for so long that silence closes all windows."""
        sim = self._sim
        sim.count("a lull")
        until_us = sim.clock_us + sim.world.hold_us + 2 * sim.world.size_us
        while sim.clock_us < until_us:
            sim.advance(self._rng.randint(20, 90) * MS)
            for host in sim.awake():
                if host.phase == "running" and not host.busy:
                    sim.stepped(host, host.round)

    # -- a host -----------------------------------------------------------------------------

    def _of(self, host: Host) -> None:
        if host.phase == "starting":
            steps = [] if host.busy else [Step(1, "start", host.start_step)]
        else:
            steps = self._of_ingest(host) + self._of_fusion(host) + self._of_life(host)
            if host.phase == "running":
                steps += self._sim.moves.of_host(host)
        if not host.busy:
            steps.append(Step(0.02, "crash", lambda: self._sim.crash(host)))
        if steps:
            step = self._drawn(steps)
            self._sim.trace(host.name, step.name)
            self._sim.stepped(host, step.do)

    def _of_ingest(self, host: Host) -> list[Step]:
        if "ingest" in host.busy:
            return []
        rng, replicas = self._rng, host.replicas
        steps = [Step(4, "hand on", host.hand_on)]
        if host.phase == "running":
            steps += [
                Step(4, "poll", lambda: host.reading.poll(rng.choice((0, 0, 1, 3)))),
                Step(4, "pump", host.pump),
                Step(3, "ends", host.reading.ask_ends),
                Step(3, "round", host.ingest_round),
                Step(0.2, "hold back", host.reading.hold_back),
            ]
        if replicas.batches:
            suspected = self._sim.world.rough and replicas.suspected()
            steps += [
                Step(6, "encode", replicas.encode),
                Step(8 if suspected else 0.4, "lose", replicas.lose),
                Step(1, "overdue", replicas.end_overdue),
            ]
        if replicas.results:
            steps.append(Step(6, "encoded", replicas.tell))
        if host.acks:
            steps.append(Step(5, "ack", lambda: host.ack(rng.randrange(len(host.acks)))))
        missing = replicas.missing()
        if missing:
            steps.append(Step(1, "join", lambda: replicas.join(rng.choice(missing))))
        return steps

    def _of_fusion(self, host: Host) -> list[Step]:
        rng = self._rng
        steps = [Step(3, "due", host.look_for_due)]
        filled = [slot for slot, inbox in host.inboxes.items() if inbox]
        if filled:
            steps.append(Step(6, "deliver", lambda: host.deliver(rng.choice(filled))))
        free = [slot for slot in host.committing if slot not in host.busy]
        if free:
            steps.append(Step(6, "commit", lambda: self._sim.commit(host, rng.choice(free))))
        if "check" not in host.busy:
            sought = self._sim.faults.wants("check")
            steps.append(Step(1 if sought else 0.1, "check", host.check_owner))
        if not host.superseded:
            steps += self._of_former(host)
        return steps

    def _of_former(self, host: Host) -> list[Step]:
        """What another owner of the same run has sent and nobody has taken comes late, and here."""
        return [
            Step(2, "stale", lambda other=other: host.deliver_of(other))
            for other in self._sim.hosts
            if other is not host and other.run_id == host.run_id and any(other.inboxes.values())
        ]

    def _of_life(self, host: Host) -> list[Step]:
        if host.phase == "draining":
            done = not host.awaited and not host.busy
            return [Step(10, "close", lambda: self._sim.close(host))] if done else []
        if host.busy or host.superseded or host.replaced:
            return []
        steps = [Step(0.02, "drain", lambda: self._sim.drain(host))]
        if len(self._sim.living()) < HOSTS_MAX:
            steps.append(Step(0.05, "restart", lambda: self._sim.restart(host)))
        return steps
