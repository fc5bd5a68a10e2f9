"""Moves slots where owners have unlike loads, or one is to go, or has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.moving import Moves
from actors.owner import OwnerPair
from actors.view import ClusterView
from pipeline.scaling.balance import BalanceState, OwnerLoad, decide
from pipeline.tasks.slot_loads import SlotLoads, by_slot

LOOK_S = 1.0
FRESH_S = 120.0  # for so long an owner counts as one that has just come


class Balancing:
    """Asks for what ``pipeline.scaling.balance`` decides, one move after the other."""

    def __init__(self, moves: Moves, view: ClusterView, say: Callable[[str], None]) -> None:
        self._moves = moves
        self._view = view
        self._say = say
        self._state = BalanceState()
        self._loads = SlotLoads()
        self._looked_s: float | None = None

    def look(self, now_s: float, pairs: Sequence[OwnerPair]) -> None:
        hurry = any(pair.retiring for pair in pairs)
        due = self._looked_s is None or now_s - self._looked_s >= LOOK_S
        if due:
            self._looked_s = now_s
            self._loads.told(now_s, by_slot(self._view.snapshot().lanes))
        if not self._moves.idle or not (due or hurry) or len(pairs) < 2:
            return
        owners = [
            OwnerLoad(pair.name, tuple(pair.slots), pair.retiring, _fresh(pair, now_s))
            for pair in pairs
        ]
        move, self._state = decide(now_s, owners, self._loads.rates, self._state)
        if move is not None:
            self._say(f"motet: slot {move.slot} goes to {move.taker}: {move.why}")
            self._moves.ask(move.slot, next(p for p in pairs if p.name == move.taker))


def _fresh(pair: OwnerPair, now_s: float) -> bool:
    return pair.since_s is not None and now_s - pair.since_s < FRESH_S
