"""A whole pipeline in one thread on a virtual clock: a seed decides all that happens to it.

The ingest and fusion tasks, the dispatcher, the encoders, the ledger, the committer and the
recovery are the real ones, and so is the broker's behaviour (``pipeline.connectors.memory``).
What stands here moves them: one step at a time, in any order, with faults at every step of the
commit and recovery protocols, while one of their calls is under way too.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from sim_audit import Audit, Logs, check_fates, comparable, demand, expected_counts
from sim_faults import Crash, Faults
from sim_host import Host, Surroundings
from sim_world import MS, NAME, OUTPUTS, TOPICS, TRANSACTION_US, Producers, World, draw_world

from pipeline.batching.dispatch import DEATHS_MAX
from pipeline.connectors.memory import MemoryConnector, MemoryControl, MemorySink, MemorySource
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import Fenced, Transient
from pipeline.slot.ports import TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.encode import encode_task

EPOCH_US = 1_700_000_000_000_000
STEPS_MAX = 1500
ZOMBIES_MAX = 3
DEPTH_MAX = 2  # calls under way that wait for others' steps


@dataclass(frozen=True)
class Outcome:
    """What a simulated life came to; ``sometimes`` counts the rare paths that it went."""

    seed: int
    trace: str
    sometimes: Counter[str]


@dataclass(frozen=True)
class HostConnector:
    """The broker's ports, each known to belong to one host."""

    inner: MemoryConnector
    host: Callable[[], Host]
    ports: dict[int, tuple[object, Callable[[], Host]]]

    def _of_host(self, port):
        self.ports[id(port)] = port, self.host
        return port

    def source(self) -> MemorySource:
        return self._of_host(self.inner.source())

    def sink(self, transactional_id: str, group: str) -> MemorySink:
        return self._of_host(self.inner.sink(transactional_id, group))

    def control(self) -> MemoryControl:
        return self._of_host(self.inner.control())

    def publisher(self):
        return self.inner.publisher()


@dataclass
class Transaction:
    """Another producer's transaction in the input topics."""

    sink: MemorySink
    deadline_us: int


class Simulation:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.clock_us = EPOCH_US
        self.sometimes: Counter[str] = Counter()
        self._hash = hashlib.sha256()
        self.world: World = draw_world(self.rng)
        self.broker = MemoryBroker(clock=lambda: self.clock_us, hook=self._hook)
        self._connector = MemoryConnector(
            self.broker, transaction_timeout_us=3_000 * MS, fetch_records=self.world.fetch_records
        )
        self._ports: dict[int, tuple[object, Callable[[], Host]]] = {}
        for topic in [*TOPICS.values(), *(f"{p}.{o}" for p in ("run", "calm") for o in OUTPUTS)]:
            self.broker.create_topic(topic, self.world.lanes, append_time=topic in TOPICS.values())
        self.producers = Producers(self.world, self.rng, self._count)
        self.faults = Faults(self.rng, seed)
        self.audit = Audit(self.broker, self.world.lanes, self.world.size_us, self._trace)
        self._file = self.world.spec()
        self._specs: dict[int, PipelineSpec] = {}
        self.slots = self.rng.randint(1, 4)
        spec = self._spec(self.slots)
        self._lengths = check_pipeline(spec)
        cpu = torch.device("cpu")
        self._encoders = {n: encode_task(spec, n, cpu, self._lengths) for n in spec.stages}
        self.hosts: list[Host] = []
        self._runs = 0
        self._host_serial = 0
        self._depth = 0
        self._foreign: Transaction | None = None
        self._foreign_serial = 0
        self._claimed: dict[tuple[Host, int], tuple[dict[TopicPartition, int], Counter[str]]] = {}
        self._openers: dict[str, list[Host]] = {}
        self._lost_runs: set[str] = set()
        self._last_claims: dict[int, Host] = {}
        self._log: list[str] = []
        self._commits = self._commits_seen = 0

    # -- what all share ---------------------------------------------------------------------

    def _trace(self, *what: object) -> None:
        self._hash.update(repr((self.clock_us, *what)).encode())

    def _count(self, what: str) -> None:
        self.sometimes[what] += 1

    def _spec(self, slots: int) -> PipelineSpec:
        if slots not in self._specs:
            self._specs[slots] = self._file.model_copy(update={"slots": slots})
        return self._specs[slots]

    def advance(self, by_us: int) -> None:
        """Time passes; a producer's transaction ends in time."""
        to_us = self.clock_us + by_us
        if self._foreign is not None and self._foreign.deadline_us <= to_us:
            self.clock_us = max(self.clock_us, self._foreign.deadline_us)
            self._end_foreign()
        self.clock_us = max(self.clock_us, to_us)

    def _around(self) -> Surroundings:
        lonely = DEATHS_MAX if self.world.rough else DEATHS_MAX - 1
        return Surroundings(
            rng=self.rng,
            now_us=lambda: self.clock_us,
            pause=self._pause,
            sometimes=self._count,
            encoders=self._encoders,
            lengths=self._lengths,
            replicas=self.world.replicas,
            lonely_deaths_max=lonely,
        )

    def _pause(self, attempt: int) -> None:
        """A host waits before it tries again; time passes, and others go on."""
        demand(attempt < 200, "tried again 200 times")
        self.advance(min(2_000 * MS, (50 * MS) << min(attempt, 10)))
        if self.rng.random() < 0.5:
            self._others()

    # -- hosts ------------------------------------------------------------------------------

    def _new_host(self, spec: PipelineSpec, run_id: str, again: bool = False) -> Host:
        self._host_serial += 1
        made: list[Host] = []
        connector = HostConnector(self._connector, lambda: made[0], self._ports)
        host = Host(f"h{self._host_serial}", run_id, spec, connector, self._around(), again=again)
        made.append(host)
        host.on_claimed = self._on_claimed
        self.hosts.append(host)
        self._trace("host", host.name, run_id, spec.slots)
        return host

    def living(self) -> list[Host]:
        return [host for host in self.hosts if host.phase != "ended"]

    def _new_run(self) -> Host:
        """`motet run`, on this machine or another; what ran before may still live."""
        if self.rng.random() < 0.5:
            self.slots = self.rng.randint(1, 4)
        self._runs += 1
        if self.living():
            self._count("a run takes over from a living one")
        return self._new_host(self._spec(self.slots), f"run-{self._runs}")

    def _restarted(self, host: Host) -> Host:
        """The same run starts its owner anew; the old one only seems to be dead."""
        self._count("an owner restarted within its run")
        restarted = self._new_host(host.spec, host.run_id, again=True)
        if self.rng.random() < 0.3 and len(self.living()) <= ZOMBIES_MAX:
            self._count("a run takes over while an owner restarts")
            self._begin(self._new_run())
        return restarted

    def _on_claimed(self, host: Host, slot: int) -> None:
        """Remembers where a host took over a slot, for the totals; counts what it changed."""
        before = self.audit.slots()
        if slot == 0 and before is not None and before != host.spec.slots:
            self._count("more slots" if host.spec.slots > before else "fewer slots")
        positions: dict[TopicPartition, int] = {}
        written: Counter[str] = Counter()
        for lane in host.owners[slot].identity.lanes:
            cut = host.claims[lane]
            positions |= {TopicPartition(TOPICS[n], lane): p for n, p in cut.positions.items()}
            for kind in OUTPUTS:
                log = self.broker.log(TopicPartition(f"run.{kind}", lane))
                written[kind] += len(log.read(0, 1 << 30, 1 << 40).records)
        self._claimed[host, slot] = positions, written
        self._last_claims |= dict.fromkeys(host.owners[slot].identity.lanes, host)

    def _stepped(self, host: Host, step: Callable[[], object]) -> None:
        """One step of a host, and what it ends in."""
        try:
            step()
        except Crash as crash:
            died = crash.host
            assert isinstance(died, Host)
            self._end(died, "crash")
        except Fenced:
            lost = host.superseded or host.run_id in self._lost_runs
            demand(lost, f"{host.name} is fenced, and nobody took over: {self._log[-20:]}")
            self._count(f"fenced while {host.phase}")
            self._end(host, "fenced")

    def _end(self, host: Host, why: str) -> None:
        self._trace("end", host.name, why)
        host.phase = "ended"

    # -- the hook ---------------------------------------------------------------------------

    def _hook(self, step: str, port: object) -> None:
        known = self._ports.get(id(port))
        if known is None:
            return
        host = known[1]()
        phase = self._phase(host, step, port)
        if step == "open-reply" and isinstance(port, MemorySink):
            self._opened(host, port.transactional_id)
        self._commits += step == "commit-reply"
        self._trace("hook", host.name, phase, step)
        self._log.append(f"{host.name} {phase} {step}")
        if host.phase == "ended":
            raise Crash(host)
        kind = self.faults.draw(phase, step, host.superseded)
        if kind is None:
            return
        name = f"{kind} at {phase} {step}"
        if kind == "crash":
            self._count(name)
            raise Crash(host)
        if kind == "transient":
            if step != "poll-reply":  # a reply that is lost is fetched again, whatever it held
                self._count(name)
                raise Transient(f"simulated at {step}")
            return
        if self._depth >= DEPTH_MAX:
            return
        if kind == "takeover":
            if len(self.living()) <= ZOMBIES_MAX:
                self._count(name)
                self._takeover(host)
        else:
            self._others()
        if host.phase == "ended":
            raise Crash(host)

    def _opened(self, host: Host, transactional_id: str) -> None:
        """Whoever had the id before has lost it for ever: an owner, and where it is of another
        run, that run as a whole."""
        before = self._openers.setdefault(transactional_id, [])
        for other in before:
            if other is not host:
                other.superseded = True
                self._lost_runs |= {other.run_id} - {host.run_id}
        before.append(host)

    def _phase(self, host: Host, step: str, port: object) -> str:
        if host.phase == "starting":
            return "start"
        if isinstance(port, MemorySource):
            return "read"
        asks = step.removesuffix("-reply") in ("open", "committed")
        if not asks:
            return "run"
        return "check" if "check" in host.busy else "resolve"

    def _takeover(self, host: Host) -> None:
        """While a call of ``host`` is under way, another owner starts, at times to its end."""
        again = host.phase == "running" and self.rng.random() < 0.3
        other = self._restarted(host) if again else self._new_run()
        self._begin(other)

    def _begin(self, host: Host) -> None:
        """Some steps of a start in a row, at times all of them."""
        self._depth += 1
        for _ in range(self.rng.choice((1, 2, 3, 5, 15, 15, 15))):
            if host.phase == "starting":
                self._stepped(host, host.start_step)
        self._depth -= 1

    def _others(self) -> None:
        """While a call is under way, everything else goes on."""
        if self._depth >= DEPTH_MAX:
            return
        self._depth += 1
        for _ in range(self.rng.randint(1, 12)):
            self.step()
        self._depth -= 1

    # -- the steps --------------------------------------------------------------------------

    def step(self) -> None:
        """Something happens."""
        rng = self.rng
        living = self.living()
        if not living:
            if rng.random() < 0.2:
                self._new_run()
            else:
                self._pick_world()
            return
        if rng.random() < 0.3:
            self._pick_world()
            return
        host = rng.choice(living)
        if rng.random() < 0.5:
            host = living[-1]
        self._pick_host(host)

    def _pick_world(self) -> None:
        steps: list[tuple[float, str, Callable[[], object]]] = [
            (20, "publish", self._publish),
            (16, "time", lambda: self.advance(self.rng.choice((1, 10, 30, 60, 200)) * MS)),
            (1, "toggle", self.producers.toggle),
            (2, "transaction", self._foreign_step),
            (0.5, "gap", self._gap),
        ]
        if self.faults.on and not self._depth:
            steps += [(0.12, "lull", self._lull)]
        if self.faults.on and len(self.living()) <= ZOMBIES_MAX:
            starting = any(host.phase == "starting" for host in self.living())
            steps += [(0.5 if starting else 0.12, "run", self._new_run)]
        _, name, step = self._drawn(steps)
        self._trace(name)
        step()

    def _drawn(self, steps):
        return self.rng.choices(steps, [weight for weight, _, _ in steps])[0]

    def _pick_host(self, host: Host) -> None:
        steps = self._starting_steps(host) if host.phase == "starting" else self._running_steps(host)
        if self.faults.on and not host.busy:
            steps.append((0.02, "crash", lambda: self._crash(host)))
        if not steps:
            return
        _, name, step = self._drawn(steps)
        self._trace(host.name, name)
        self._log.append(f"{host.name} {name}")
        self._stepped(host, step)

    def _starting_steps(self, host: Host):
        return [] if host.busy else [(1, "start", host.start_step)]

    def _running_steps(self, host: Host):
        steps: list[tuple[float, str, Callable[[], object]]] = []
        if "ingest" not in host.busy:
            steps += self._ingest_steps(host)
        filled = [slot for slot, inbox in host.inboxes.items() if inbox]
        if filled:
            steps.append((6, "deliver", lambda: host.deliver(self.rng.choice(filled))))
        steps.append((3, "due", host.look_for_due))
        free = [slot for slot in host.committing if slot not in host.busy]
        if free:
            steps.append((6, "commit", lambda: self._commit(host, self.rng.choice(free))))
        if "check" not in host.busy:
            steps.append((0.1, "check", host.check_owner))
        if self.faults.on and not host.busy and not host.superseded:
            steps.append((0.05, "restart", lambda: self._restarted(host)))
            if host.phase == "running":
                steps.append((0.02, "drain", lambda: self._drain(host)))
        if host.phase == "draining" and not host.awaited and not host.busy:
            steps.append((10, "close", lambda: self._close(host)))
        return steps

    def _ingest_steps(self, host: Host):
        steps: list[tuple[float, str, Callable[[], object]]] = [(4, "hand on", host.hand_on)]
        if host.phase == "running":
            steps += [
                (4, "poll", lambda: host.poll(self.rng.choice((0, 0, 1, 3)))),
                (4, "pump", host.pump),
                (3, "ends", host.ask_ends),
                (3, "round", lambda: self._ingest_round(host)),
            ]
        if host.batches:
            again = self.world.rough and host.lost_before()
            steps += [(6, "encode", host.encode), (4 if again else 0.4, "lose", host.lose)]
            steps.append((1, "overdue", host.end_overdue))
        if host.results:
            steps.append((6, "encoded", host.apply_results))
        if host.acks:
            steps.append((5, "ack", host.ack))
        short = host.short_of_replicas()
        if short:
            steps.append((1, "join", lambda: host.join(self.rng.choice(short))))
        return steps

    @staticmethod
    def _ingest_round(host: Host) -> None:
        host.poll()
        host.pump()
        host.ask_ends()
        host.pump()
        host.hand_on()

    def _commit(self, host: Host, slot: int) -> None:
        retries = host.owners[slot].committer.retries_total
        try:
            host.commit(slot)
        except Fenced:
            self._count("a zombie's commit was fenced")
            raise
        if host.owners[slot].committer.retries_total > retries:
            again = self._log[-1].endswith("commit-reply")
            self._count(f"an unknown outcome was {'not ' if again else ''}committed")

    def _crash(self, host: Host) -> None:
        self._count(f"crash between steps while {host.phase}")
        raise Crash(host)

    def _drain(self, host: Host) -> None:
        host.phase = "draining"

    def _close(self, host: Host) -> None:
        self._count("a clean end")
        host.close()

    # -- the world --------------------------------------------------------------------------

    def _publish(self) -> None:
        for _ in range(self.rng.choice((1, 1, 2, 5))):
            record = self.producers.draw(self.clock_us)
            if record is not None:
                self.broker.append(record)

    def _foreign_step(self) -> None:
        if self._foreign is not None:
            self._end_foreign()
            return
        self._foreign_serial += 1
        sink = self._connector.sink(f"producer-{self._foreign_serial % 3}", "producers")
        sink.open()
        sink.begin()
        self._foreign = Transaction(sink, self.clock_us + TRANSACTION_US)
        drawn = [self.producers.draw(self.clock_us) for _ in range(self.rng.randint(1, 4))]
        sink.produce([record for record in drawn if record is not None])

    def _end_foreign(self) -> None:
        transaction, self._foreign = self._foreign, None
        assert transaction is not None
        if self.rng.random() < 0.5:
            transaction.sink.commit()
            self._count("a producer's transaction committed")
        else:
            transaction.sink.abort()
            self._count("a producer's transaction aborted")

    def _gap(self) -> None:
        self.broker.skip(self.rng.choice(self.producers.partitions()), self.rng.randint(1, 5))

    def _lull(self) -> None:
        """Nobody sends anything for so long that silence closes all windows."""
        self._count("a lull")
        until_us = self.clock_us + self.world.hold_us + 2 * self.world.size_us
        while self.clock_us < until_us:
            self.advance(self.rng.randint(20, 90) * MS)
            for host in self.living():
                if host.phase == "running" and not host.busy:
                    self._stepped(host, host.round)

    # -- a life -----------------------------------------------------------------------------

    def live(self) -> Outcome:
        if self.rng.random() < 0.3:
            self.broker.skip(self.rng.choice(self.producers.partitions()), self.rng.randint(1, 9))
        wanted = self.rng.randint(50, 160)
        for _ in range(STEPS_MAX):
            self.step()
            self._look()
            if self.producers.published >= wanted and not self.faults.plan:
                break
        self._settle()
        self._check_end()
        return Outcome(self.seed, self._hash.hexdigest(), self.sometimes)

    def _look(self) -> None:
        if self._commits != self._commits_seen:
            self._commits_seen = self._commits
            self.audit.look()
        for host in self.living():
            if host.phase != "starting":
                for lane, feed in host.task.lanes.items():
                    self._check_floor(host, lane, feed.lane.floor_us)

    def _check_floor(self, host: Host, lane: int, floor_us: int | None) -> None:
        before = host.floors.get(lane, host.claims[lane].floor_us)
        demand(
            before is None or (floor_us is not None and floor_us >= before),
            f"{host.name}: the floor of lane {lane} fell from {before} to {floor_us}",
        )
        host.floors[lane] = floor_us

    # -- the end ----------------------------------------------------------------------------

    def _settle(self) -> None:
        """No more faults and no more records: time runs until all is closed and committed."""
        self.faults.on = False
        if self._foreign is not None:
            self._end_foreign()
        if self.rng.random() < 0.3 and len(self.living()) <= ZOMBIES_MAX:
            self._new_run()
        for _ in range(2_000):
            self.advance(self.rng.randint(20, 90) * MS)
            if not self.living():
                self._new_run()
            for host in self.living():
                if host.phase == "starting":
                    while host.phase == "starting":
                        self._stepped(host, host.start_step)
                else:
                    self._stepped(host, partial(self._undisturbed, host))
            self._look()
            if self._settled():
                return
        raise AssertionError(f"not settled: {[(h.name, h.state()) for h in self.living()]}")

    def _undisturbed(self, host: Host) -> None:
        host.round()
        host.check_owner()
        if host.phase == "draining" and not host.awaited:
            host.close()

    def _settled(self) -> bool:
        newest = self.living()[-1] if self.living() else None
        if newest is None or newest.phase != "running" or newest.task.replaying or newest.awaited:
            return False
        if any(feed.lane.open_windows for feed in newest.task.lanes.values()):
            return False
        return all(
            self.audit.position(p) == self.broker.log(p).stable_end
            for p in self.producers.partitions()
        )

    def _check_end(self) -> None:
        for partition in self.producers.partitions():
            log = self.broker.log(partition)
            demand(log.stable_end == log.end, f"{partition}: a transaction is left open")
            self.broker.committed(NAME, partition)  # raises where one is pending
        for kind in OUTPUTS:
            for lane in range(self.world.lanes):
                log = self.broker.log(TopicPartition(f"run.{kind}", lane))
                demand(log.stable_end == log.end, f"{kind} of lane {lane}: a transaction is open")
        newest = self.living()[-1]
        in_flight = newest.task.in_flight_bytes
        demand(not any(in_flight.values()), f"not released: {in_flight}")
        self._check_zombies(newest)
        spec = self._spec(self.slots)
        logs = Logs.of(self.broker, spec, self.world.lanes)
        check_fates(self.audit, logs, spec.lane_spec())
        self._check_totals(newest, logs)
        self._tell_outcome(newest, logs)
        if not self.world.rough:
            self._check_calm()

    def _check_zombies(self, newest: Host) -> None:
        """Whoever still lives beside the newest owner can commit nothing, whatever it tries."""
        for host in self.living():
            if host is newest:
                continue
            for slot, owner in host.owners.items():
                cuts = {lane: host.claims[lane] for lane in owner.identity.lanes}
                try:
                    owner.committer.claim(cuts, dict.fromkeys(cuts, host.run_id))
                except Fenced:
                    self._count("a zombie's claim was fenced")
                else:
                    raise AssertionError(f"{host.name} claims slot {slot} back from {newest.name}")

    def _check_totals(self, newest: Host, logs: Logs) -> None:
        """The last owner has counted what it committed, and nothing that others did."""
        if any(host is not newest for host in self._last_claims.values()):
            return
        positions: dict[TopicPartition, int] = {}
        written: Counter[str] = Counter()
        for slot in newest.owners:
            claimed, before = self._claimed[newest, slot]
            positions |= claimed
            written += before
        for kind in OUTPUTS:
            written[kind] = sum(self.audit.counts[kind, n] for n in newest.claims) - written[kind]
        totals = newest.fusion.totals
        demand(
            (totals.windows, totals.late, totals.dead_letter)
            == (written["results"], written["late"], written["dead"]),
            f"{totals} for {written}",
        )
        expected = expected_counts(self.audit, logs, newest.spec.lane_spec(), positions)
        told = {("read", name): count for name, count in totals.records.items()} | totals.fates
        demand({k: n for k, n in told.items() if n} == expected, f"counted {told}, not {expected}")
        self._count("totals checked")

    def _tell_outcome(self, newest: Host, logs: Logs) -> None:
        for kind in ("late", "dead"):
            for letter in self.audit.letters[kind]:
                self._count(f"{kind}: {dict(letter.headers)['motet-reason'].decode()}")
        self.sometimes["forced"] += newest.fusion.totals.forced
        self.sometimes["windows"] += len(self.audit.results)
        self._count("a rough world" if self.world.rough else "an exact world")

    def _check_calm(self) -> None:
        """A calm read of the finished logs, under another name, gives the same."""
        spec = calm_twin(self._file)
        around = replace(self._around(), sometimes=lambda _what: None)
        ends = {p: self.broker.log(p).stable_end for p in self.producers.partitions()}
        host = Host("calm", "calm", spec, MemoryConnector(self.broker), around, ends)
        while host.phase == "starting":
            host.start_step()
        for _ in range(2_000):
            self.advance(self.world.commit_interval_us)
            host.round()
            if host.task.finished and not host.awaited:
                break
        else:
            raise AssertionError(f"the calm read does not end: {host.state()}")
        lived = comparable(self.broker, "run", NAME, self.world.lanes)
        calm = comparable(self.broker, "calm", "calm", self.world.lanes)
        for what, found in lived.items():
            lacking, beyond = calm[what] - found, found - calm[what]
            demand(not lacking and not beyond, f"{what}: lacking {lacking}, beyond {beyond}")


def calm_twin(spec: PipelineSpec) -> PipelineSpec:
    """The same pipeline under another name, with other output topics."""
    outputs = spec.outputs.model_copy(
        update={"results": "calm.results", "late": "calm.late", "dead_letter": "calm.dead"}
    )
    stages = {
        name: stage.model_copy(update={"out": stage.out and stage.out.replace("run.", "calm.")})
        for name, stage in spec.stages.items()
    }
    update = {"name": "calm", "slots": 1, "outputs": outputs, "stages": stages}
    return spec.model_copy(update=update)


def simulate(seed: int) -> Outcome:
    """One life; raises AssertionError where anything does not hold, and for any other error."""
    simulation = Simulation(seed)
    try:
        return simulation.live()
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
