"""The memory budget: what is in flight is what was taken and not yet committed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.slot.budget import Budget

LANES = st.integers(0, 2)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), LANES, st.integers(0, 100)),
        st.tuples(st.just("cut"), LANES, st.just(0)),
        st.tuples(st.just("committed"), LANES, st.integers(0, 12)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(EVENTS, st.integers(1, 200))
def test_in_flight_is_what_was_taken_and_is_in_no_committed_cut(events, limit_bytes):
    budget = Budget(limit_bytes)
    taken: list[list[int | None]] = []  # [lane, bytes, number of its cut]
    numbers = dict.fromkeys(range(3), 0)
    committed = dict.fromkeys(range(3), 0)
    for event, lane, number in events:
        if event == "take":
            budget.take(lane, number)
            taken.append([lane, number, None])
        elif event == "cut":
            numbers[lane] += 1
            budget.cut(lane, numbers[lane])
            for entry in taken:
                if entry[0] == lane and entry[2] is None:
                    entry[2] = numbers[lane]
        else:
            committed[lane] = max(committed[lane], min(number, numbers[lane]))
            budget.committed(lane, committed[lane])
        held = sum(size for of, size, cut in taken if cut is None or cut > committed[of])
        assert budget.in_flight_bytes == held
        assert budget.admits == (held < limit_bytes)


def test_one_window_of_any_size_is_admitted_when_nothing_is_in_flight():
    budget = Budget(10)
    assert budget.admits
    budget.take(0, 1_000_000)
    assert not budget.admits
    budget.take(1, 5)  # what has closed already is never refused
    budget.cut(0, 1)
    budget.committed(0, 1)
    assert budget.in_flight_bytes == 5
    assert budget.admits


def test_a_commit_of_a_lane_that_took_nothing_releases_nothing():
    budget = Budget(10)
    budget.take(0, 7)
    budget.cut(0, 1)
    budget.cut(1, 1)
    budget.committed(1, 1)
    assert budget.in_flight_bytes == 7
