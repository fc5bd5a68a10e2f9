"""Days of lopsided traffic on a virtual clock: which owner has which slot, and what that does.

Each slot gets records at a rate that changes with the time; what an owner has to do is the sum of
its slots'. A move takes a second. Measured are the moves, and the load of the owner that has most
to do, in shares of an equal one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeline.scaling.balance import BalanceState, OwnerLoad, SlotMove, decide, load_of
from pipeline.tasks.slot_loads import SlotLoads

HOUR_S = 3600
Traffic = Callable[[int, int], float]  # second, slot: records a second


@dataclass
class Day:
    """``most``: by second, of the owner that has most to do, in equal shares."""

    owners: dict[str, list[int]]
    leaving: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    moves: list[tuple[int, SlotMove]] = field(default_factory=list)
    most: list[float] = field(default_factory=list)

    @property
    def returns(self) -> int:
        """Moves that took a slot back to the owner that it had come from."""
        came: dict[int, str] = {}
        found = 0
        for _, move in self.moves:
            found += came.get(move.slot) == move.taker
            came[move.slot] = move.giver
        return found


def play(
    traffic: Traffic,
    seconds: int,
    slots: int = 16,
    owners: Iterable[str] = ("a", "b", "c", "d"),
    events: Iterable[tuple[int, Callable[[Day], None]]] = (),
    noise: float = 0.1,
    step_s: int = 1,
) -> Day:
    """``events``: what happens to the owners, by second. ``step_s``: how often it is looked."""
    names = list(owners)
    day = Day({name: list(range(place, slots, len(names))) for place, name in enumerate(names)})
    rng, state, loads = random.Random(1), BalanceState(), SlotLoads()
    due, ends = dict(events), [0.0] * slots
    for second in range(0, seconds, step_s):
        due.get(second, lambda _day: None)(day)
        rates = [traffic(second, slot) * rng.uniform(1 - noise, 1 + noise) for slot in range(slots)]
        ends = [end + rate * step_s for end, rate in zip(ends, rates, strict=True)]
        loads.told(second, {slot: (int(end), 0) for slot, end in enumerate(ends)})
        found = [
            OwnerLoad(name, tuple(own), name in day.leaving, name in day.fresh)
            for name, own in day.owners.items()
        ]
        move, state = decide(second, found, loads.rates, state)
        if move is not None:
            day.owners[move.giver].remove(move.slot)
            day.owners[move.taker].append(move.slot)
            day.moves.append((second, move))
        true = dict(enumerate(rates))
        each = [load_of(owner, true) for owner in found if not owner.leaving]
        day.most.append(max(each) * len(each) / max(1e-9, sum(each)))
    return day


def even(_second: int, _slot: int) -> float:
    return 100.0


def skewed(_second: int, slot: int) -> float:
    """A few rooms make most of the noise: rates fall by a third from one slot to the next."""
    return 600.0 * (2 / 3) ** slot + 10


def travelling(second: int, slot: int) -> float:
    """Noon goes round the owners once a day, as their slots lie at the start."""
    return 100.0 + 90.0 * math.sin(2 * math.pi * (second / (24 * HOUR_S) + slot % 4 / 4))


def gusts(second: int, slot: int) -> float:
    """Every five minutes another slot has ten times as much, for forty seconds."""
    return 1000.0 if second % 300 < 40 and second // 300 % 16 == slot else 100.0


def flicker(second: int, slot: int) -> float:
    """Two halves have their turns, of two minutes each: following them would never end."""
    return 200.0 if (slot % 4 < 2) == (second // 120 % 2 == 0) else 50.0
