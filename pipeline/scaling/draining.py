"""What leaves a node that will go: replicas after others have taken their place, owners in order.

A spot notice gives 30 seconds to two minutes, an operator as long as it takes. What is not gone
by then dies with its node, and recovery is what it always is: so nothing here may hurry so much
that a stage is left without a replica.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

LAST_S = 10.0  # before its deadline a node's replicas get no more batches, replaced or not
AGAIN_S, AGAIN_S_MAX = 10.0, 120.0  # before another try in place of one that did not start
NO_DEADLINE = float("inf")

Kind = Literal["replace", "release", "move"]


class Stands(NamedTuple):
    """One replica. ``node`` None: not known yet. ``follower``: another one loads for its place."""

    name: str
    stage: str
    node: str | None
    ready: bool
    follower: bool = False


class Step(NamedTuple):
    """To be done now.

    "replace": another replica is started elsewhere, and this one is let go once that is ready;
    "release": it gets no more batches from now on; "move": an owner goes to another node.
    """

    kind: Kind
    name: str


class Facts(NamedTuple):
    """``leaving``: by node, by when it will be gone, on the clock of ``now_s``.

    ``replicas``: without those that have been let go already. ``owners``: the node of each;
    ``moving``: those that are on their way already. ``room``: by stage, for how many more there is
    a place elsewhere; ``owner_room``: whether there is one for an owner.
    """

    now_s: float
    leaving: Mapping[str, float]
    replicas: tuple[Stands, ...]
    owners: Mapping[str, str]
    room: Mapping[str, int]
    owner_room: bool
    moving: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DrainState:
    """``tries``: by replica, when it is replaced at the earliest, and the pause after that."""

    tries: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Decision(NamedTuple):
    """``stuck``: what has no place elsewhere, by what it is ("owner", or a stage), how many."""

    steps: tuple[Step, ...]
    stuck: Mapping[str, int]


def decide(facts: Facts, state: DrainState) -> tuple[Decision, DrainState]:
    """At most one owner moves at a time: the others go on meanwhile.

    Invariants: nothing that stands on another node is touched; a replica is let go before another
    has its place only within ``LAST_S`` of the deadline, and never the last one that is ready.
    """
    going = [each for each in facts.replicas if each.node in facts.leaving]
    present = {each.name for each in going}
    tries = {name: entry for name, entry in state.tries.items() if name in present}
    left, steps, stuck = dict(facts.room), list[Step](), dict[str, int]()
    for each in going:
        if _at_last(facts, each) and _others(facts, each):
            steps.append(Step("release", each.name))
            continue
        if each.follower:
            continue
        again_s, pause_s = tries.get(each.name, (facts.now_s, AGAIN_S))
        if facts.now_s < again_s:
            continue
        if left.get(each.stage, 0) < 1:
            stuck[each.stage] = stuck.get(each.stage, 0) + 1
            continue
        left[each.stage] -= 1
        tries[each.name] = facts.now_s + pause_s, min(AGAIN_S_MAX, 2 * pause_s)
        steps.append(Step("replace", each.name))
    owners = _soonest(facts, (n for n, node in facts.owners.items() if node in facts.leaving))
    waiting = [name for name in owners if name not in facts.moving]
    if len(waiting) == len(owners) and waiting and facts.owner_room:
        steps.append(Step("move", waiting[0]))
    elif len(waiting) == len(owners) and waiting:
        stuck["owner"] = len(waiting)
    return Decision(tuple(steps), stuck), replace(state, tries=tries)


def left_on(node: str, facts: Facts) -> tuple[int, int]:
    """Owners and replicas that stand there still."""
    owners = sum(1 for at in facts.owners.values() if at == node)
    return owners, sum(1 for each in facts.replicas if each.node == node)


# -- how ------------------------------------------------------------------------------------


def _at_last(facts: Facts, each: Stands) -> bool:
    assert each.node is not None
    return facts.leaving[each.node] - facts.now_s <= LAST_S


def _others(facts: Facts, each: Stands) -> bool:
    """Whether the stage has a replica that is ready and stays."""
    return any(
        other.stage == each.stage and other.ready and other.node not in facts.leaving
        for other in facts.replicas
    )


def _soonest(facts: Facts, names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (facts.leaving[facts.owners[name]], name))
