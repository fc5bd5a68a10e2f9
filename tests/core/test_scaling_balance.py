"""Which slot goes where: properties over random owners, and days of lopsided traffic."""

from __future__ import annotations

from balance_days import HOUR_S, Day, even, flicker, gusts, play, skewed, travelling
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scaling.balance import (
    CALM_S,
    HOLD_S,
    STAY_S,
    BalanceState,
    OwnerLoad,
    decide,
    load_of,
)
from pipeline.tasks.slot_loads import SlotLoads, by_slot
from pipeline.tasks.view import LaneView

NAMES = ("a", "b", "c", "d", "e")


@st.composite
def worlds(draw):
    slots = draw(st.integers(1, 12))
    owners = draw(st.integers(1, 5))
    owned: list[list[int]] = [[] for _ in range(owners)]
    for slot in range(slots):
        owned[draw(st.integers(0, owners - 1))].append(slot)
    found = [
        OwnerLoad(NAMES[n], tuple(own), draw(st.booleans()), draw(st.booleans()))
        for n, own in enumerate(owned)
    ]
    loads = {slot: draw(st.floats(0, 1000)) for slot in range(slots) if draw(st.booleans())}
    moved = {slot: draw(st.floats(0, 2000)) for slot in range(slots) if draw(st.booleans())}
    since = draw(st.none() | st.floats(0, 2000))
    return found, loads, BalanceState(moved, since, draw(st.none() | st.floats(0, 2000)))


@given(worlds(), st.floats(2000, 4000))
def test_a_move_is_of_a_slot_that_is_there_and_makes_it_better(world, now_s):
    owners, loads, state = world
    move, after = decide(now_s, owners, loads, state)
    by_name = {owner.name: owner for owner in owners}
    if move is None:
        staying = [owner for owner in owners if not owner.leaving]
        assert not staying or not any(owner.leaving and owner.slots for owner in owners)
        return
    giver, taker = by_name[move.giver], by_name[move.taker]
    assert move.slot in giver.slots
    assert giver is not taker
    assert not taker.leaving
    assert after.moved_s[move.slot] == now_s == after.last_s
    if giver.leaving:
        return
    most, least = load_of(giver, loads), load_of(taker, loads)
    load = load_of(OwnerLoad("", (move.slot,)), loads)
    assert max(most - load, least + load) < most
    assert len(giver.slots) > 1, "no owner is left without a slot"
    if not taker.fresh:
        assert now_s - state.moved_s.get(move.slot, -STAY_S) >= STAY_S
        assert state.last_s is None or now_s - state.last_s >= CALM_S
        assert state.since_s is not None
        assert now_s - state.since_s >= HOLD_S


@given(worlds())
def test_moves_come_to_an_end_where_the_load_stays(world):
    owners, loads, state = world
    now_s, moves = 3000.0, 0
    for _ in range(4000):
        move, state = decide(now_s, owners, loads, state)
        now_s += 1
        if move is None:
            continue
        moves += 1
        owners = [
            owner._replace(
                slots=tuple(s for s in owner.slots if s != move.slot)
                + ((move.slot,) if owner.name == move.taker else ())
            )
            for owner in owners
        ]
    assert moves <= 36, "each slot moves a few times at most"
    assert not any(o.leaving and o.slots for o in owners) or all(o.leaving for o in owners)


def test_an_even_load_moves_nothing():
    assert play(even, 2 * HOUR_S).moves == []


def test_what_flickers_or_comes_in_gusts_is_not_followed_for_long():
    for traffic in (gusts, flicker):
        day = play(traffic, 4 * HOUR_S, step_s=5)
        assert len(day.moves) <= 6
        assert day.returns == 0
        assert all(at < HOUR_S // 2 for at, _ in day.moves), "once it is mixed it stays"


def test_a_skew_is_evened_by_a_few_moves_for_good():
    day = play(skewed, 2 * HOUR_S, step_s=5)
    assert day.most[0] > 1.4
    assert 1 <= len(day.moves) <= 6
    assert day.returns == 0
    last = day.moves[-1][0]
    assert last < 1800
    assert sum(day.most[last // 5 :]) / len(day.most[last // 5 :]) < 1.38


def test_a_load_that_travels_is_followed_without_a_slot_going_to_and_fro():
    day = play(travelling, 24 * HOUR_S, step_s=20)
    assert len(day.moves) <= 24
    assert day.returns <= len(day.moves) // 2  # hours later
    assert sum(day.most) / len(day.most) < 1.2


def test_an_owner_that_is_to_go_is_empty_within_seconds_and_gets_nothing():
    def drain(day: Day) -> None:
        day.leaving.add("b")

    day = play(even, 600, events=[(100, drain)])
    assert [at for at, _ in day.moves] == [100, 101, 102, 103]
    assert day.owners["b"] == []
    assert sorted(map(len, day.owners.values())) == [0, 5, 5, 6]


def test_one_that_has_come_is_filled_at_once():
    def join(day: Day) -> None:
        day.owners["e"] = []
        day.fresh.add("e")

    day = play(even, 600, owners=("a", "b"), events=[(100, join)])
    assert all(move.taker == "e" for _, move in day.moves)
    assert len(day.owners["e"]) >= 4
    assert day.moves[-1][0] < 120


def test_rates_are_those_of_the_logs_and_not_of_what_is_read():
    loads = SlotLoads()
    for second in range(200):
        lanes = [
            LaneView(lane, lane % 2, 0, {"mic": 5 * second}, {"mic": 100 * second + 7})
            for lane in range(4)
        ]
        loads.told(second, by_slot(lanes))
    waits = 2 * (95 * 199 + 7)
    assert loads.rates == {0: 200 + waits / 60, 1: 200 + waits / 60}


def test_an_end_that_is_not_known_tells_nothing_of_its_slot():
    lanes = [
        LaneView(0, 0, 0, {"mic": 5}, {"mic": None}),
        LaneView(1, 1, 0, {"mic": 5}, {"mic": 9}),
    ]
    assert by_slot(lanes) == {1: (9, 4)}
