"""Slots that move from one simulated owner to another of the same run, as actors.moving does it.

The run's own process says what comes next (``Moves``): it knows whose a slot is, and what it does
takes no time here; it ends with no host. The two owners may crash, freeze or be fenced at any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim_audit import demand
from sim_host import Host
from sim_steps import HOSTS_MAX, Step

from pipeline.errors import Fenced, MotetError, Refused, Transient

if TYPE_CHECKING:
    from simulation import Simulation


class _Move:
    """``given``: the slot is the taker's, whatever becomes of either."""

    def __init__(self, slot: int, giver: Host, taker: Host) -> None:
        self.slot, self.giver, self.taker = slot, giver, taker
        self.asked = False
        self.taking: Iterator[None] | None = None

    @property
    def given(self) -> bool:
        return self.taking is not None


class Moves:
    """One move at a time. Invariant: ``slots`` of a run's hosts that were not replaced are
    disjoint."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.now: _Move | None = None
        self._stopped: set[str] = set()
        self._often = sim.rng.random() < 0.4
        # Owners that were taken for dead amid taking a slot, and go on with it when they wake.
        self._stale: list[tuple[Host, Iterator[None]]] = []

    def of_world(self) -> list[Step]:
        """A move begins, or what is left of a run gets its other owners back."""
        steps = []
        sought = self._sim.faults.wants("move")
        if self.now is None and (self._often or sought) and self._givers():
            steps.append(Step(3 if sought else 0.5, "move", self.begin))
        if self.orphans() and len(self._sim.living()) < HOSTS_MAX:
            steps.append(Step(1.5, "revive", self.revive))
        return steps

    def of_host(self, host: Host) -> list[Step]:
        move = self.now
        if not host.busy and any(each is host for each, _ in self._stale):
            return [Step(3, "stale take", lambda: self.stale(host))]
        if move is None:
            return []
        if host is move.taker and move.given and not host.busy:
            return [Step(5, "take", self.take)]
        if host is not move.giver or move.given or host.busy:
            return []
        if not move.asked:
            return [Step(4, "leave", self.leave)]
        may_give = host.may_give(move.slot) and move.taker.phase == "running"
        return [Step(8, "give", self.give)] if may_give else []

    # -- steps ------------------------------------------------------------------------------

    def begin(self) -> None:
        sim = self._sim
        giver = sim.rng.choice(self._givers())
        slot = sim.rng.choice(sorted(giver.slots))
        takers = [h for h in self._of_run(giver) if h is not giver and h.phase == "running"]
        if (not takers or sim.rng.random() < 0.3) and len(sim.living()) < HOSTS_MAX:
            takers = [sim.new_owner(giver)]
            if giver not in self._givers() or slot not in giver.slots:
                return  # meanwhile other things went on
            sim.count("a move to a new owner")
        if takers and takers[0].phase == "running" and self.now is None:
            self.now = _Move(slot, giver, sim.rng.choice(takers))

    def leave(self) -> None:
        move = self.now
        assert move is not None
        if move.giver.task.replaying:
            self._sim.count("a slot left amid a replay")
        move.giver.leave(move.slot)
        move.asked = True

    def give(self) -> None:
        move = self.now
        assert move is not None
        handed = move.giver.give(move.slot)
        self._sim.ports.gave(move.giver, move.slot)
        move.giver.slots.remove(move.slot)
        move.taker.slots.add(move.slot)
        move.taking = move.taker.taking(move.slot, handed)

    def take(self) -> None:
        move = self.now
        assert move is not None
        assert move.taking is not None
        if next(move.taking, "done") == "done":
            self.now = None
            self._sim.count("a slot moved")

    def ended(self, host: Host) -> None:
        """It ended, or is taken for dead: what is under way with it is over, or goes on without."""
        move = self.now
        if move is None or host not in (move.giver, move.taker):
            return
        if host is move.giver and move.given:
            return  # it is not needed any more
        if host is move.taker and not move.given and move.asked:
            self._sim.count("a move lost its new owner before it was given")
            return  # it is started anew, and given the slot then
        role = "old" if host is move.giver else "new"
        self._sim.count(f"a move ended with its {role} owner")
        if host is move.taker and host.phase != "ended" and move.taking is not None:
            self._stale.append((host, move.taking))
        self.now = None

    def close(self, run_id: str) -> None:
        """A run is told to stop."""
        self._stopped.add(run_id)
        if self.now is not None and self.now.giver.run_id == run_id:
            self.now = None

    def restarted(self, host: Host, anew: Host) -> None:
        """Another one stands for a host that ended, or is taken for dead."""
        if self.now is not None and self.now.taker is host:
            self.now.taker = anew

    def stale(self, host: Host) -> None:
        """It fences and claims a slot that is its successor's by now; nobody tells it to stop."""
        entry = next(each for each in self._stale if each[0] is host)
        self._sim.count("an owner that was taken for dead went on taking a slot")
        try:
            if next(entry[1], "done") == "done":
                self._stale.remove(entry)
        except (Transient, Fenced, Refused):
            raise
        except MotetError as error:
            demand("has handed over" in str(error), error)
            self._sim.count("an owner that was taken for dead found another cut")
            host.phase = "ended"

    def revive(self) -> None:
        """The run starts an owner anew in place of one that ended."""
        host = self._sim.rng.choice(self.orphans())
        self._sim.count("an owner that ended was started anew")
        self._sim.restart(host)

    @property
    def under_way(self) -> bool:
        """Whether a move will go on: its giver, and its taker or who will stand for it, live."""
        move = self.now
        if move is None or move.giver.run_id in self._sim.ports.lost_runs:
            return False
        return move.given or move.giver.phase == "running"

    # -- asked ------------------------------------------------------------------------------

    def orphans(self) -> list[Host]:
        """Owners that ended and left slots, of runs that nobody has taken over."""
        sim = self._sim
        return [
            host
            for host in sim.hosts
            if host.phase == "ended" and not host.replaced and host.began and not host.closed
            if host.slots or (self.now is not None and self.now.taker is host)
            if host.run_id not in sim.ports.lost_runs and host.run_id not in self._stopped
        ]

    def _of_run(self, host: Host) -> list[Host]:
        return [
            other
            for other in self._sim.awake()
            if other.run_id == host.run_id and not other.superseded and not other.replaced
        ]

    def _givers(self) -> list[Host]:
        """Owners that may give a slot: of runs that nobody has taken over."""
        sim = self._sim
        return [
            host
            for host in sim.awake()
            if host.phase == "running" and host.slots and not host.superseded
            if not host.replaced and host.run_id not in sim.ports.lost_runs
        ]


def demand_one_owner(hosts: list[Host]) -> None:
    """Among a run's owners that were not replaced no slot is twice."""
    seen: set[tuple[str, int]] = set()
    for host in hosts:
        if not host.replaced:
            mine = {(host.run_id, slot) for slot in host.slots}
            demand(not mine & seen, f"{host.name}: {mine & seen} has another owner")
            seen |= mine
