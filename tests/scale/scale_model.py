"""A pipeline on a cluster, simulated: who has how much to do, how long windows take, what binds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scale_costs import Costs
from scale_engine import Cores, Engine, Line, Process
from scale_owner import Owner
from scale_parts import Cut, Kafka, Replica, Slot
from scale_setup import Setup

from pipeline.scaling.preference import preference

LOOK_US, STATUS_US = 100_000, 500_000  # as in actors/supervisor.py
CAUGHT_UP_US = 1_000_000
RUN_MAX_US = 3_600_000_000


class Result(NamedTuple):
    """``used``: by kind of resource, the mean share of their time that they were busy.

    ``worked_s``: processor time of each kind of process. ``windows_s``: committed a second.
    Latencies from append to commit, seconds. ``status_s``: one round of the supervisor's.
    ``restarted_s``, ``recovered_s``: from the loss of a node until the last of its owners went on,
    and until the last had caught up; None: no node was lost, or not within the time.
    """

    setup: Setup
    windows_s: float
    arrived_s: float
    p50_s: float
    p99_s: float
    used: dict[str, float]
    worked_s: dict[str, float]
    batch: float
    commits_s: float
    offset_bytes_s: float
    status_s: float
    restarted_s: float | None
    recovered_s: float | None
    lost_windows: int
    events: int

    @property
    def bottlenecks(self) -> list[tuple[str, float]]:
        """Resources, the one that is used up first first."""
        return sorted(self.used.items(), key=lambda one: -one[1])


class World:
    """Everything of one run; ``run`` gives its result."""

    def __init__(self, costs: Costs, setup: Setup) -> None:
        self.costs = costs
        self.setup = setup
        self.engine = engine = Engine()
        machines = 1 if setup.one_machine else setup.nodes
        cores = [Cores(engine, f"node {n}", setup.cores) for n in range(machines)]
        self.nodes = [cores[n % machines] for n in range(setup.nodes)]
        speed = setup.network_bytes_s / 1e6
        self._out = [Line(engine, "network out", speed) for _ in self.nodes]
        self._in = [Line(engine, "network in", speed) for _ in self.nodes]
        self._ray = [Process(engine, f"ray-{n}", cores) for n, cores in enumerate(self.nodes)]
        self.kafka = Kafka(engine, costs, setup, self.nodes[0] if setup.one_machine else None)
        self.replicas = [
            Replica(n, n % setup.nodes, self.nodes[n % setup.nodes], costs, setup)
            for n in range(setup.replicas)
        ]
        head = self.nodes[0] if setup.one_machine else Cores(engine, "head", 8)
        self.supervisor = Process(engine, "supervisor", head)
        lanes = [len(range(slot, setup.lanes, setup.slots)) or 1 for slot in range(setup.slots)]
        slots = [Slot(number, lanes[number]) for number in range(setup.slots)]
        self.owners: list[Owner] = []
        for number in range(setup.owners):
            mine = slots[number :: setup.owners]
            self.owners.append(Owner(self, number, number % setup.nodes, mine))
        self._latencies: list[tuple[int, int]] = []
        self._begun_us = round(setup.warm_s * 1e6) if setup.rate else 0
        self._done = 0
        self._counted = 0
        self._last_us = 0
        self._status_us: list[int] = []
        self._restarted_us: int | None = None
        self._recovered_us: int | None = None
        self._before: dict[int, int] = {}

    # -- who asks whom ----------------------------------------------------------------------

    def order(self, owner: Owner) -> list[int]:
        """Replicas as an owner prefers them: of its own node first."""
        alive = [replica for replica in self.replicas if not replica.ended]
        if self.setup.spread_order:
            nodes = {str(replica.number): str(replica.node) for replica in alive}
            return list(map(int, preference(f"owner-{owner.number}", str(owner.node), nodes)))
        near = [replica.number for replica in alive if replica.node == owner.node]
        return near + [replica.number for replica in alive if replica.node != owner.node]

    def network_in(self, node: int, windows: int) -> int:
        return self._in[node].take(windows * self.costs.window_bytes)

    def call(self, node: int) -> None:
        """What a call costs Ray's own processes on a node."""
        self._ray[node].work(self.costs.call_node, _nothing)

    def batch(self, node: int, replica: Replica, windows: int, reply: Callable[[], None]) -> None:
        """A batch goes to a replica and comes back."""
        costs = self.costs
        self.call(node)
        wait_us = max(0.0, costs.call_wall - costs.call_out - costs.call_in) / 2
        there_us = self.engine.now_us
        if replica.node != node:
            sent_bytes = windows * costs.window_bytes
            there_us = max(
                self._out[node].take(sent_bytes), self._in[replica.node].take(sent_bytes)
            )
            for at in (node, replica.node):
                self._ray[at].work(costs.far_byte * sent_bytes / 2, _nothing)
            self.call(replica.node)
        back = lambda: self.engine.after(round(wait_us), reply)  # noqa: E731
        self.engine.at(round(there_us + wait_us), self._arrive, replica, windows, back)

    def _arrive(self, replica: Replica, windows: int, back: Callable[[], None]) -> None:
        if replica.ended:
            self.engine.after(1_000, back)
        else:
            replica.call(windows, back)

    def done(self, owner: Owner, cuts: list[Cut]) -> None:
        now_us = self.engine.now_us
        windows = sum(cut.windows for cut in cuts)
        self._done += windows
        self._last_us = now_us
        if now_us >= self._begun_us:
            self._counted += windows
            self._latencies += [(now_us - cut.closed_us, cut.windows) for cut in cuts]
        if owner.died_us is not None and now_us - cuts[-1].closed_us < CAUGHT_UP_US:
            owner.died_us = None
            if all(one.died_us is None for one in self.owners):
                self._recovered_us = now_us

    # -- the supervisor -----------------------------------------------------------------------

    def _status(self) -> None:
        """Owners are asked and a snapshot is made; between two rounds it looks for what ended."""
        costs, began_us = self.costs, self.engine.now_us
        took_us = costs.owner * len(self.owners) + costs.lane * self.setup.lanes
        references = 3 * len(self.owners) + len(self.replicas)
        took_us += costs.reference * references * STATUS_US / LOOK_US
        if self.setup.ask_together:
            self.supervisor.work(took_us, self._told, began_us)
        else:
            waits_us = max(0.0, costs.status_wall - costs.owner) * len(self.owners)
            self.supervisor.work(took_us, self.engine.after, round(waits_us), self._told, began_us)

    def _idle(self, node: int) -> None:
        """What Ray's processes of a node do though nobody calls."""
        self._ray[node].work(self.costs.node_idle * LOOK_US / 1e6, _nothing)
        self.engine.after(LOOK_US, self._idle, node)

    def _driver(self) -> None:
        """What the driver does beside: it looks, samples and serves."""
        self.supervisor.work(self.costs.driver_idle * LOOK_US / 1e6, _nothing)
        self.engine.after(LOOK_US, self._driver)

    def _told(self, began_us: int) -> None:
        self._status_us.append(self.engine.now_us - began_us)
        self.engine.at(began_us + STATUS_US, self._status)

    # -- a node that is lost --------------------------------------------------------------------

    def _lose(self) -> None:
        node = self.setup.nodes - 1
        lost = [owner for owner in self.owners if owner.node == node]
        for owner in lost:
            owner.die()
        replies = [reply for r in self.replicas if r.node == node for reply in r.end()]
        self.engine.after(self.setup.detect_us, self._seen, lost, replies)

    def _seen(self, lost: list[Owner], replies: list[Callable[[], None]]) -> None:
        """Batches that were with the lost replicas run elsewhere; owners begin anew."""
        for owner in self.owners:
            if not owner.ended:
                owner.queue.set_replicas(self.order(owner))
        for reply in replies:
            reply()
        wait_us = 0
        for place, owner in enumerate(lost):
            if not self.setup.restart_together or not place:
                wait_us += round(self.costs.restart_wall)
            at_us = wait_us + round(self._replay_us(owner))
            self.engine.after(at_us, self._again, owner, place % max(1, self.setup.nodes - 1))
            self._restarted_us = self.engine.now_us + at_us

    def _replay_us(self, owner: Owner) -> float:
        """A second of records, which open windows hold, is read again."""
        share = len(owner.slots) / self.setup.slots
        return self.setup.rate * share * self.costs.record

    def _again(self, owner: Owner, node: int) -> None:
        owner.settle(node)

    # -- the run ------------------------------------------------------------------------------

    def run(self) -> Result:
        setup = self.setup
        self.engine.at(0, self._status)
        self._driver()
        for node in range(setup.nodes):
            self._idle(node)
        if setup.node_loss_us is not None:
            self.engine.at(setup.node_loss_us, self._lose)
        if setup.rate:
            end_us = round((setup.warm_s + setup.seconds) * 1e6)
            self.engine.run(self._begun_us)
            self._before = {id(one): one.busy_us for one in self._resources()}
            self.engine.run(end_us)
        else:
            while self._done < setup.windows and self.engine.now_us < RUN_MAX_US:
                self.engine.run(self.engine.now_us + 50_000)
            end_us = self._last_us
        return self._result(max(1, end_us - self._begun_us))

    def _resources(self) -> list[Cores | Line | Process | Replica]:
        owners = [half for owner in self.owners for half in (owner.ingest, owner.fusion)]
        return [
            *self.nodes, *self._out, *self._in, *self._ray, *self.kafka.cores, *self.kafka.out,
            *self.kafka.disk, self.kafka.coordinator, self.supervisor, *owners, *self.replicas,
        ]  # fmt: skip

    def _share(self, one: Cores | Line | Process | Replica, span_us: int) -> float:
        busy_us = one.busy_us - self._before.get(id(one), 0)
        return busy_us / span_us / getattr(one, "count", 1)

    def _result(self, span_us: int) -> Result:
        kinds: dict[str, list[Cores | Line | Process | Replica]] = {
            "ingest halves": [owner.ingest for owner in self.owners],
            "fusion halves": [owner.fusion for owner in self.owners],
            "replicas": list(self.replicas),
            "cores of nodes": list(self.nodes),
            "network of nodes": [*self._out, *self._in],
            "cores of brokers": list(self.kafka.cores),
            "network of brokers": [*self.kafka.out, *self.kafka.disk],
            "group coordinator": [self.kafka.coordinator],
            "Ray's processes of a node": list(self._ray),
            "supervisor": [self.supervisor],
        }
        # The mean and not the largest: over some seconds bursts make owners unlike each other.
        used = {
            name: float(np.mean([self._share(one, span_us) for one in ones]))
            for name, ones in kinds.items()
        }
        setup, span_s = self.setup, span_us / 1e6
        runs = sum(replica.runs for replica in self.replicas)
        p50_s, p99_s = self._quantiles(0.5, 0.99)
        loss_us = setup.node_loss_us or 0
        total_s = self.engine.now_us / 1e6
        return Result(
            setup,
            self._counted / span_s,
            sum(owner.arrivals.arrived for owner in self.owners) / total_s,
            p50_s,
            p99_s,
            used,
            self._worked(),
            sum(replica.windows for replica in self.replicas) / max(1, runs),
            self.kafka.commits / total_s,
            self.kafka.offset_bytes / total_s,
            float(np.mean(self._status_us)) / 1e6 if self._status_us else 0.0,
            None if self._restarted_us is None else (self._restarted_us - loss_us) / 1e6,
            None if self._recovered_us is None else (self._recovered_us - loss_us) / 1e6,
            self.lost,
            self.engine.events,
        )

    def _worked(self) -> dict[str, float]:
        """Processor time of all processes of a kind, from the beginning on."""
        kinds = {
            "ingest": [owner.ingest for owner in self.owners],
            "fusion": [owner.fusion for owner in self.owners if owner.fusion is not owner.ingest],
            "encoder": [replica.process for replica in self.replicas],
            "ray": self._ray,
            "kafka": self.kafka.processes,
            "driver": [self.supervisor],
        }
        return {name: sum(one.busy_us for one in ones) / 1e6 for name, ones in kinds.items()}

    @property
    def lost(self) -> int:
        """Windows that are neither committed nor anywhere on their way: 0 in a sound model."""
        arrived = sum(owner.arrivals.arrived for owner in self.owners)
        waiting = sum(n for owner in self.owners for _, n in owner.arrivals.waiting)
        on_way = sum(owner.on_way for owner in self.owners)
        return arrived - waiting - on_way - self._done

    def _quantiles(self, *shares: float) -> tuple[float, ...]:
        if not self._latencies:
            return tuple(float("nan") for _ in shares)
        found = np.array(sorted(self._latencies), np.int64)
        below = np.cumsum(found[:, 1])
        places = [int(np.searchsorted(below, share * below[-1])) for share in shares]
        return tuple(float(found[min(place, len(found) - 1), 0]) / 1e6 for place in places)


def _nothing() -> None:
    pass


def simulate(costs: Costs, setup: Setup) -> Result:
    return World(costs, setup).run()
