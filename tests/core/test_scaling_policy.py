"""The scaling policy: properties over random signals, and days of simulated traffic."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_days import (
    DAYS,
    STEP_SHOWN,
    Machine,
    diurnal,
    picture,
    play,
    row,
    slow,
    spikes,
    step,
)

from pipeline.scaling.batch_cost import BatchCost
from pipeline.scaling.meter import Counted, Measured, Meter
from pipeline.scaling.policy import (
    CALM_S,
    DOWN_EVERY_S,
    UP_AFTER_S,
    UP_BUSY,
    ScalingRule,
    ScalingState,
    Signals,
    decide,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "SCALING.md"
RULES = st.tuples(st.integers(1, 20), st.integers(0, 50), st.sampled_from([None, 0.1, 5.0])).map(
    lambda given: ScalingRule(given[0], given[0] + given[1], given[2])
)
MEASURED = st.builds(
    Measured,
    arriving=st.floats(0, 1000),
    rising=st.floats(0, 2000),
    served=st.floats(0, 1000),
    busy=st.floats(0, 1),
    window_s=st.floats(0, 5),
    batch=st.floats(1, 64),
    backlog=st.integers(0, 5000),
    behind=st.integers(0, 100_000),
    sure=st.booleans(),
)
LOOKS = st.lists(
    st.tuples(
        st.floats(0.1, 20),  # since the last look
        MEASURED,
        st.integers(0, 6),  # more replicas load
        st.none() | st.integers(0, 8),  # room
        st.booleans(),  # another stage grows
        st.booleans(),  # one that was added has ended
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(RULES, LOOKS)
def test_it_stays_within_its_bounds_whatever_it_is_told(rule, looks):
    state, present, now_s, failed = ScalingState(), rule.replicas_min, 0.0, 0
    pressed_since = None
    down_at = -math.inf
    for took_s, measured, loading, room, held, one_failed in looks:
        now_s += took_s
        failed += one_failed
        starting = min(loading, present - 1)
        signals = Signals(now_s, measured, present - starting, starting, room, failed, held)
        decision, after = decide(rule, signals, state)
        assert decide(rule, signals, state) == (decision, after), "it is a function"
        assert rule.replicas_min <= decision.target <= rule.replicas_max
        busy = measured.busy >= UP_BUSY
        pressed_since = (pressed_since if pressed_since is not None else now_s) if busy else None
        if decision.target > present:
            assert busy, "replicas that have time are not the limit"
            assert pressed_since is not None
            assert now_s - pressed_since >= UP_AFTER_S
            assert room is None or decision.target <= present + room
            assert now_s >= after.again_s
        if decision.target < present:
            assert not starting
            assert not held
            assert now_s - down_at >= DOWN_EVERY_S
            assert now_s >= CALM_S or state.needs[0][0] + CALM_S <= now_s
            down_at = now_s
        assert len(after.needs) <= 1000
        state, present = after, decision.target


@pytest.mark.parametrize("present", [1, 9])
def test_bounds_that_are_changed_while_it_runs_are_kept_at_once(present):
    rule, measured = ScalingRule(3, 5), Meter(8, None).look(Counted(0, 0, 0, 0, 0, 0, 0, 1))
    decision, _ = decide(rule, Signals(0, measured, present, 0), ScalingState())
    assert decision.target == (3 if present == 1 else 5)
    assert "3 to 5" in decision.why


def test_what_is_remembered_does_not_grow():
    rule, state = ScalingRule(1, 5), replace(ScalingState(), calm_times=16)
    meter = Meter(8, None)
    for look in range(20_000):
        at_s = look / 2
        measured = meter.look(Counted(at_s, look, look, at_s / 9, 1, 0, 0.1, 2))
        _, state = decide(rule, Signals(at_s, measured, 2, 0), state)
    assert len(state.needs) <= 962


# -- days -------------------------------------------------------------------------------------

# By day: most turns (changes of direction), most seconds that a window waits, replica seconds
# over those of one who knew the day. A spike or a saw tooth has its turns in itself: as many as
# it has slopes would be flapping, and fewer are asked for.
BOUNDS = {
    "step": (1, 35, 1.4),
    "ramp": (0, 10, 1.2),
    "diurnal": (1, 10, 1.2),
    "spikes": (14, 35, 1.7),
    "edge": (1, 35, 1.4),
    "sawtooth": (4, 35, 1.8),
}


@pytest.mark.parametrize("name", DAYS)
def test_a_day_neither_flaps_nor_falls_behind_nor_wastes(name):
    traffic, seconds = DAYS[name]
    turns, wait_s, cost = BOUNDS[name]
    for seed in range(2):
        day = play(Machine(), traffic, seconds, seed=seed)
        assert day.turns <= turns
        assert max(day.waits_s) <= wait_s
        assert 0.8 < day.cost <= cost
        assert len(day.changes) <= 10 * (1 + turns)
        assert not day.limits
        if seed == 1:
            assert row(name, day) in DOCUMENT.read_text(), "docs/SCALING.md is stale"


def test_up_in_seconds_and_down_after_a_minute():
    day = play(Machine(), step, 3600)
    ups = [second for second, before, after, _ in day.changes if after > before]
    downs = [second for second, before, after, _ in day.changes if after < before]
    assert 600 < ups[0] <= 605
    assert day.replicas[610] >= 10, "as many as the step needs"
    first = next(second for second in downs if second > 1800)
    assert 1855 <= first <= 1880
    assert day.replicas[1800 + 150] == 2
    text = DOCUMENT.read_text()
    for seconds in STEP_SHOWN:
        shown = "\n".join(f"    {line}" for line in picture(day, seconds))
        assert shown in text, "docs/SCALING.md is stale"


def test_a_model_that_loads_for_a_minute_is_not_asked_for_again_and_again():
    """The backlog grows while they load; that alone asks for no more."""
    day = play(slow(Machine()), step, 3600)
    assert max(day.replicas) <= 2.0 * 150 / Machine().rate
    assert day.cost < 1.6
    assert max(day.waits_s) <= 130


def test_never_more_than_max_nor_than_the_cluster_has_room_for():
    assert max(play(Machine(), step, 1800, ScalingRule(1, 6)).replicas) == 6
    day = play(Machine(room=4), step, 1800)
    assert max(day.replicas) == 4
    assert any("the cluster has a place for" in limit for limit in day.limits)


def test_where_kafka_is_the_limit_nothing_is_added_and_that_is_said():
    day = play(Machine(source_max=15.0), diurnal, 7200, ScalingRule(2, 100))
    assert max(day.replicas) == 2
    assert all("the limit is Kafka" in limit for limit in day.limits)
    assert day.limits


def test_replicas_that_do_not_start_are_tried_again_ever_more_seldom():
    day = play(Machine(starts_fail=True), step, 1800)
    ups = [second for second, before, after, _ in day.changes if after > before]
    assert 3 <= len(ups) <= 12
    assert "replicas that were added did not start" in day.limits


def test_a_target_for_the_latency_has_the_backlog_worked_off_sooner():
    calm = play(Machine(), spikes, 3600)
    eager = play(Machine(), spikes, 3600, ScalingRule(1, 100, latency_target_s=0.5))
    assert sum(eager.waits_s) < sum(calm.waits_s)


# -- what batches cost ------------------------------------------------------------------------


def test_the_fixed_part_is_found_where_batches_differ():
    cost = BatchCost()
    for batches, batch in ((10, 1), (9, 2), (8, 4), (3, 16), (20, 1), (2, 32)):
        cost = cost.seen(batches, batches * batch, batches * (0.1 + 0.01 * batch))
    assert cost.parts() == pytest.approx((0.1, 0.01))
    assert cost.window_s(20) == pytest.approx(0.015)


def test_batches_of_one_size_count_for_each_window():
    cost = BatchCost()
    for _ in range(5):
        cost = cost.seen(4, 16, 4 * 0.2)
    assert cost.parts() == (0.0, pytest.approx(0.05))
    assert BatchCost().window_s(8) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(1, 64), st.floats(0, 60)), min_size=1, max_size=30
    )
)
def test_costs_are_never_below_nothing(seen):
    cost = BatchCost()
    for batches, batch, took_s in seen:
        cost = cost.seen(batches, batches * batch, took_s)
        fixed_s, each_s = cost.parts()
        assert fixed_s >= 0
        assert each_s >= 0
        assert all(cost.window_s(size) >= 0 for size in (1, 8, 64))


def test_a_meter_tells_rates_of_the_last_seconds():
    meter = Meter(8, None)
    for second in range(60):
        found = meter.look(
            Counted(second, 10 * second, 2 * second, 0.5 * second, 3 * second, second, 0.2, 2)
        )
    assert found.served == pytest.approx(10)
    assert found.arriving == pytest.approx(14)
    assert found.rising == pytest.approx(14)
    assert found.busy == pytest.approx(0.25)
    assert found.sure
