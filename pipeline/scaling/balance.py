"""Which slot goes to which owner, so that none has much more to do than the others.

A pure function of what owners and slots have to do and of what was decided before; told the time.
A move costs its slot a pause and the run some work, and a load that is lopsided for a while need
not stay so: a move must take much off the owner that has most, must have been worth it for a
while, and a slot that has moved stays where it went. An owner that is to go is emptied at once,
and one that has just come is filled at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

GAIN_SHARE = 0.25  # of an equal share: what a move must take off the owner that has most to do
HOLD_S = 60.0  # for so long it must have been worth it
CALM_S = 30.0  # between two moves
STAY_S = 600.0  # that a slot stays where it went
SLOT_LOAD = 1.0  # of a slot without records: polls and commits


class OwnerLoad(NamedTuple):
    """One owner. ``leaving``: it is to be empty, and gets no slot. ``fresh``: it has just come."""

    name: str
    slots: tuple[int, ...]
    leaving: bool = False
    fresh: bool = False


class SlotMove(NamedTuple):
    slot: int
    giver: str
    taker: str
    why: str


@dataclass(frozen=True, slots=True)
class BalanceState:
    """``moved_s``: by slot, when it went where it is. ``since_s``: since when a move is worth it.

    ``last_s``: when the last one was decided.
    """

    moved_s: Mapping[int, float] = field(default_factory=dict)
    since_s: float | None = None
    last_s: float | None = None


def decide(
    now_s: float, owners: Sequence[OwnerLoad], loads: Mapping[int, float], state: BalanceState
) -> tuple[SlotMove | None, BalanceState]:
    """The next move, if one is due; ``loads``: by slot, records a second (not told: none).

    To be asked again only when the move that it has told of is over.
    """
    staying = [owner for owner in owners if not owner.leaving]
    if not staying:
        return None, state
    leaving = [owner for owner in owners if owner.leaving and owner.slots]
    if leaving:
        emptied = _emptied(leaving[0], staying, loads)
        return emptied, _moved(emptied, now_s, state)
    move, fresh = _evened(now_s, staying, loads, state)
    if move is None:
        return None, replace(state, since_s=None)
    since_s = now_s if state.since_s is None else state.since_s
    calm = state.last_s is None or now_s - state.last_s >= CALM_S
    if not fresh and (now_s - since_s < HOLD_S or not calm):
        return None, replace(state, since_s=since_s)
    return move, _moved(move, now_s, state)


def load_of(owner: OwnerLoad, loads: Mapping[int, float]) -> float:
    """What all its slots have to do."""
    return sum(_load(slot, loads) for slot in owner.slots)


def _load(slot: int, loads: Mapping[int, float]) -> float:
    return loads.get(slot, 0.0) + SLOT_LOAD


def _moved(move: SlotMove, now_s: float, state: BalanceState) -> BalanceState:
    return BalanceState({**state.moved_s, move.slot: now_s}, None, now_s)


def _emptied(
    giver: OwnerLoad, staying: Sequence[OwnerLoad], loads: Mapping[int, float]
) -> SlotMove:
    """The heaviest slot of an owner that is to go, to the one that has least to do."""
    slot = max(giver.slots, key=lambda each: (_load(each, loads), -each))
    taker = _least(staying, loads)
    return SlotMove(slot, giver.name, taker.name, f"{giver.name} is to go")


def _evened(
    now_s: float, staying: Sequence[OwnerLoad], loads: Mapping[int, float], state: BalanceState
) -> tuple[SlotMove | None, bool]:
    """The move that takes most off the owner that has most to do, where it is worth it; and
    whether its taker has just come: what that one lacks is no matter of a while.
    """
    giver = max(staying, key=lambda owner: (load_of(owner, loads), owner.name))
    taker = _least(staying, loads)
    most, least = load_of(giver, loads), load_of(taker, loads)

    def after(slot: int) -> float:
        return max(most - _load(slot, loads), least + _load(slot, loads))

    free = [slot for slot in giver.slots if _may_leave(slot, now_s, taker, state)]
    if giver is taker or len(giver.slots) < 2 or not free:
        return None, False
    slot = min(free, key=lambda each: (after(each), each))
    mean = sum(load_of(owner, loads) for owner in staying) / len(staying)
    gain, held = most - after(slot), least + _load(slot, loads)
    fills = taker.fresh and gain > 0 and (not taker.slots or held <= mean)
    if gain < GAIN_SHARE * mean and not fills:
        return None, False
    has = f"{giver.name} has {most:.0f} records a second to read and {taker.name} {least:.0f}"
    why = f"{taker.name} has just come" if taker.fresh else has
    return SlotMove(slot, giver.name, taker.name, why), taker.fresh


def _may_leave(slot: int, now_s: float, taker: OwnerLoad, state: BalanceState) -> bool:
    return taker.fresh or now_s - state.moved_s.get(slot, -STAY_S) >= STAY_S


def _least(staying: Sequence[OwnerLoad], loads: Mapping[int, float]) -> OwnerLoad:
    return min(staying, key=lambda owner: (load_of(owner, loads), len(owner.slots), owner.name))
