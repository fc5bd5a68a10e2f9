"""Nodes that Ray drains: what stands there goes elsewhere before they are gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping

from actors.cluster import address_of, draining_nodes
from actors.owner import OwnerPair
from actors.placement import Places
from actors.replicas import Replicas
from actors.view import ClusterView
from pipeline.clock import monotonic_us, wall_us
from pipeline.scaling.draining import NO_DEADLINE, DrainState, Facts, decide, left_on
from pipeline.tasks.view import DrainingView

LOOK_S = 1.0
TOLD_S = 60.0  # what has no place elsewhere is said again after so long


_log = logging.getLogger(__name__)


class NodeWatch:
    """Asks Ray which nodes it drains, in a thread of its own: where Ray does not answer, nothing
    else waits for it. What it said last holds until it says something else."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.deadlines: dict[str, float] = {}  # by node, on the monotonic clock, in seconds
        self.addresses: dict[str, str] = {}
        self._answers = True

    def start(self) -> None:
        threading.Thread(target=self._run, name="node-watch", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                told = draining_nodes()
                self.addresses |= {n: address_of(n) for n in told if n not in self.addresses}
            except Exception as error:  # whatever Ray raises while its head is away
                if self._answers:
                    _log.warning("Ray does not say which nodes it drains: %s", error)
                self._answers = False
                continue
            self._answers = True
            ahead_s = monotonic_us() / 1e6 - wall_us() / 1e6
            self.deadlines = {
                node: by_ms / 1e3 + ahead_s if by_ms else NO_DEADLINE
                for node, by_ms in told.items()
            }


class _Node:
    """A node that will go, as it was told of."""

    def __init__(self, address: str, since_s: float) -> None:
        self.address = address
        self.since_s = since_s
        self.held = False  # whether something of the run stood there
        self.empty = False
        self.stuck_s: float | None = None


class Draining:
    """Does what ``pipeline.scaling.draining`` decides, and says it.

    Invariant: an owner moves only where another node has room for it: until then it goes on where
    it is.
    """

    def __init__(
        self,
        replicas: Replicas,
        places: Places,
        view: ClusterView,
        say: Callable[[str], None],
        move: Callable[[OwnerPair], bool],
    ) -> None:
        """``move`` takes an owner to another node, or begins to; False where it does not now."""
        self._replicas = replicas
        self._places = places
        self._view = view
        self._say = say
        self._move = move
        self._watch = NodeWatch()
        self._state = DrainState()
        self._nodes: dict[str, _Node] = {}
        self._looked_s: float | None = None
        self.leaving: frozenset[str] = frozenset()  # replicas that stand on such nodes

    def start(self) -> None:
        self._watch.start()

    def close(self) -> None:
        self._watch.close()

    def look(self, now_s: float, owners: Iterable[OwnerPair]) -> set[str]:
        """After each round of answers; the stages whose usable replicas are others now."""
        if self._looked_s is not None and now_s - self._looked_s < LOOK_S:
            return set()
        self._looked_s = now_s
        deadlines = self._watch.deadlines
        if not deadlines and not self._nodes:
            return set()
        by_name = {owner.name: owner for owner in owners}
        facts = self._facts(now_s, deadlines, by_name)
        self.leaving = frozenset(s.name for s in facts.replicas if s.node in deadlines)
        self._tell(facts)
        changed: set[str] = set()
        decision, self._state = decide(facts, self._state)
        for step in decision.steps:
            if step.kind == "replace":
                self._replicas.replace(step.name)
                self._view.moved("encoder")
            elif step.kind == "release":
                changed.add(self._replicas.release(step.name))
            elif self._move(by_name[step.name]):
                self._view.moved("owner")
        self._tell_stuck(now_s, facts, decision.stuck)
        return changed

    # -- how ------------------------------------------------------------------------------

    def _facts(
        self, now_s: float, leaving: dict[str, float], owners: dict[str, OwnerPair]
    ) -> Facts:
        nodes = {name: str(told["node"]) for name, told in self._view.devices.items()}
        standing = self._replicas.standing(nodes)
        at = {name: self._places.where(name) for name in owners}
        going = {each.stage for each in standing if each.node in leaving}
        moving = any(node in leaving for node in at.values())
        return Facts(
            now_s,
            leaving,
            standing,
            {name: node for name, node in at.items() if node is not None},
            {stage: self._places.room_elsewhere(stage) for stage in going},
            moving and self._places.owner_room(),
            frozenset(name for name, each in owners.items() if each.retiring or each.leaving),
        )

    def _tell(self, facts: Facts) -> None:
        """What is new of each node, in words, and all of it for the view."""
        shown = []
        for node, by_s in facts.leaving.items():
            known = self._nodes.get(node)
            owners, replicas = left_on(node, facts)
            if known is None:
                known = _Node(self._watch.addresses.get(node, node[:8]), facts.now_s)
                self._nodes[node] = known
                known.held = owners + replicas > 0
                if known.held:
                    self._say(f"motet: {_announced(known.address, by_s - facts.now_s)}: "
                              f"{_what(owners, replicas)} will move elsewhere")  # fmt: skip
            if known.held and not known.empty and owners + replicas == 0:
                known.empty = True
                took_s = facts.now_s - known.since_s
                self._say(f"motet: nothing is left on node {known.address}, after {took_s:.0f} s")
            left_s = None if by_s == NO_DEADLINE else by_s - facts.now_s
            by_us = None if left_s is None else wall_us() + round(left_s * 1e6)
            shown.append(DrainingView(known.address, by_us, owners, replicas))
        for node in self._nodes.keys() - facts.leaving.keys():
            del self._nodes[node]
        self._view.drains(shown)

    def _tell_stuck(self, now_s: float, facts: Facts, stuck: Mapping[str, int]) -> None:
        if not stuck:
            return
        words = ", ".join(f"{number} of {what}" for what, number in sorted(stuck.items()))
        for node in facts.leaving:
            known = self._nodes[node]
            if known.stuck_s is None or now_s - known.stuck_s >= TOLD_S:
                known.stuck_s = now_s
                self._say(
                    f"motet: warning: no other node has room for what stands on {known.address} "
                    f"({words}); it goes on there until the node goes"
                )


def _announced(address: str, left_s: float) -> str:
    when = "" if left_s == NO_DEADLINE else f" in {max(0.0, left_s):.0f} s"
    return f"node {address} will go{when} (Ray drains it)"


def _what(owners: int, replicas: int) -> str:
    parts = [(owners, "owner"), (replicas, "replica")]
    return " and ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts if n)
