"""The end of a simulated life: no more faults, until all is settled; then what must hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sim_audit import demand
from sim_checks import Logs, check_fates, check_stage_output, comparable, expected_counts
from sim_host import Host
from sim_world import MS, NAME, OUTPUTS, TOPICS

from pipeline.connectors.memory import MemoryConnector
from pipeline.errors import Fenced
from pipeline.slot.ports import TopicPartition
from pipeline.spec import PipelineSpec

if TYPE_CHECKING:
    from simulation import Simulation

CALM = "calm"
ROUNDS_MAX = 2_000


class _Claim(NamedTuple):
    """Where a host took over a slot, and how much each output held then."""

    positions: dict[TopicPartition, int]
    written: Counter[str]


class Ending:
    """Settles a simulation and checks it; before that it remembers who claimed what."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._claims: dict[tuple[Host, int], _Claim] = {}
        self._last: dict[int, Host] = {}  # by lane, who claimed it last

    def on_claimed(self, host: Host, slot: int) -> None:
        sim = self._sim
        claim = _Claim({}, Counter())
        for lane in host.owners[slot].identity.lanes:
            for name, position in host.claims[lane].positions.items():
                claim.positions[TopicPartition(TOPICS[name], lane)] = position
            for kind in OUTPUTS:
                claim.written[kind] += sum(r.partition == lane for r in sim.audit.written[kind])
            before = self._last.get(lane)
            if slot == 0 and lane == 0 and before and before.spec.slots != host.spec.slots:
                sim.count(f"{'more' if host.spec.slots > before.spec.slots else 'fewer'} slots")
            self._last[lane] = host
        self._claims[host, slot] = claim

    # -- until all is settled ---------------------------------------------------------------

    def check_zombies(self) -> None:
        """Whoever has lost a slot cannot claim it again."""
        for host in self._sim.living():
            for slot, owner in host.owners.items():
                if host.phase == "starting" or self._sim.ports.holds(host, slot):
                    continue
                cuts = {lane: host.claims[lane] for lane in owner.identity.lanes}
                try:
                    owner.committer.claim(cuts, dict.fromkeys(cuts, host.run_id))
                except Fenced:
                    self._sim.count("a zombie's claim was fenced")
                else:
                    raise AssertionError(f"{host.name} took slot {slot} back")

    def settle(self) -> None:
        """Time runs until silence has closed everything and all of it is committed."""
        sim = self._sim
        longest_ms = 90
        for _ in range(ROUNDS_MAX):
            sim.advance(sim.rng.randint(20, longest_ms) * MS)
            for orphan in sim.moves.orphans()[:1]:
                sim.restart(orphan)
            if self._abandoned():
                sim.new_run()
            for host in sim.living():
                while host.phase == "starting":
                    sim.stepped(host, host.start_step)
                if host.phase != "ended":
                    sim.stepped(host, partial(self._undisturbed, host))
            sim.look()
            if self._settled():
                return
            # Nothing is on its way: time alone is wanting.
            longest_ms = 90 if any(self._busy(host) for host in sim.living()) else 500
        raise AssertionError(f"not settled: {[(h.name, h.state()) for h in sim.living()]}")

    @staticmethod
    def _busy(host: Host) -> bool:
        return host.phase == "starting" or host.task.replaying or host.awaited

    def _undisturbed(self, host: Host) -> None:
        if self._sim.rng.random() < (0.5 if host.superseded else 0.05):
            host.check_owner()
        host.round()
        for step in self._sim.moves.of_host(host):
            step.do()
        if host.phase == "draining" and not host.awaited:
            host.close()

    def _holders(self) -> dict[int, Host]:
        """By lane, who may commit it: nobody has opened its slot's id since, and it lives."""
        return {
            lane: host
            for host in self._sim.living()
            if host.phase != "starting"
            for slot, owner in host.owners.items()
            if self._sim.ports.holds(host, slot)
            for lane in owner.identity.lanes
        }

    def _abandoned(self) -> bool:
        """Whether some lane has nobody, nor will have."""
        sim = self._sim
        if any(host.phase == "starting" for host in sim.living()) or sim.moves.under_way:
            return False
        return len(self._holders()) < sim.world.lanes

    def _settled(self) -> bool:
        holders = self._holders()
        if len(holders) < self._sim.world.lanes or self._sim.moves.under_way:
            return False
        for host in holders.values():
            if host.phase != "running" or host.task.replaying or host.awaited:
                return False
            if any(feed.lane.open_windows for feed in host.task.lanes.values()):
                return False
        return all(
            self._sim.audit.position(p) == self._sim.broker.log(p).stable_end
            for p in self._sim.producers.partitions()
        )

    # -- what must hold ---------------------------------------------------------------------

    def check(self) -> None:
        sim = self._sim
        owners = list(dict.fromkeys(self._holders().values()))
        self._check_transactions()
        for owner in owners:
            in_flight = owner.task.in_flight_bytes
            demand(not any(in_flight.values()), f"not released: {in_flight}")
        sim.audit.look()
        logs = Logs.of(sim.broker, sim.file, sim.world.lanes)
        check_fates(sim.audit, logs, sim.file.lane_spec())
        check_stage_output(sim.audit)
        self._check_totals(owners, logs)
        for kind in ("late", "dead"):
            for letter in sim.audit.written[kind]:
                sim.count(f"{kind}: {dict(letter.headers)['motet-reason'].decode()}")
        sim.sometimes["forced"] += sum(owner.fusion.totals.forced for owner in owners)
        sim.count("a rough world" if sim.world.rough else "an exact world")
        if not sim.world.rough:
            self._check_calm()

    def _check_transactions(self) -> None:
        """None is open: neither on the topics nor on the offsets, of which the latter raises."""
        sim = self._sim
        outputs = [
            TopicPartition(f"run.{n}", lane) for n in OUTPUTS for lane in range(sim.world.lanes)
        ]
        for partition in sim.producers.partitions() + outputs:
            log = sim.broker.log(partition)
            demand(log.stable_end == log.end, f"{partition}: a transaction is left open")
            sim.broker.committed(NAME, partition)

    def _check_totals(self, owners: list[Host], logs: Logs) -> None:
        """The last owner has counted what it committed, and nothing that others did."""
        owner = owners[0]
        if owner.gave or any(host is not owner for host in self._last.values()):
            return
        positions: dict[TopicPartition, int] = {}
        written = Counter({kind: len(records) for kind, records in self._sim.audit.written.items()})
        for slot in owner.owners:
            claim = self._claims[owner, slot]
            positions |= claim.positions
            written -= claim.written
        totals = owner.fusion.totals
        demand(
            (totals.windows, totals.late, totals.dead_letter)
            == (written["results"], written["late"], written["dead"]),
            f"{totals} for {written}",
        )
        expected = expected_counts(self._sim.audit, logs, owner.spec.lane_spec(), positions)
        told = {("read", name): count for name, count in totals.records.items()} | totals.fates
        demand({k: n for k, n in told.items() if n} == expected, f"counted {told}, not {expected}")
        self._sim.count("totals checked")

    def _check_calm(self) -> None:
        """A calm read of the finished logs, under another name, gives the same."""
        sim = self._sim
        around = replace(sim.around, sometimes=lambda _what: None)
        ends = {p: sim.broker.log(p).stable_end for p in sim.producers.partitions()}
        connector = MemoryConnector(sim.broker)
        host = Host(CALM, CALM, calm_twin(sim.file), connector, around, ends=ends)
        while host.phase == "starting":
            host.start_step()
        for _ in range(ROUNDS_MAX):
            sim.advance(sim.world.commit_interval_us)
            host.round()
            if host.task.finished and not host.awaited:
                break
        else:
            raise AssertionError(f"the calm read does not end: {host.state()}")
        lived = comparable(sim.broker, "run", NAME, sim.world.lanes)
        calm = comparable(sim.broker, CALM, CALM, sim.world.lanes)
        for what, found in lived.items():
            lacking, beyond = calm[what] - found, found - calm[what]
            demand(not lacking and not beyond, f"{what}: lacking {lacking}, beyond {beyond}")


def calm_twin(spec: PipelineSpec) -> PipelineSpec:
    """The same pipeline under another name, with other output topics, in few large steps."""
    outputs = spec.outputs.model_copy(
        update={name: _calm(topic) for name, topic in spec.outputs.model_dump().items()}
    )
    stages = {
        name: stage.model_copy(update={"out": stage.out and _calm(stage.out), "batch_max": 256})
        for name, stage in spec.stages.items()
    }
    limits = spec.limits.model_copy(update={"in_flight_bytes": 1 << 30})
    update = {"name": CALM, "slots": 1, "outputs": outputs, "stages": stages, "limits": limits}
    return spec.model_copy(update=update)


def _calm(topic: str) -> str:
    return topic.replace("run.", f"{CALM}.")
