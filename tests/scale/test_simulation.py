"""The simulation of a cluster: nothing is lost, a seed decides all, queues do as theory says."""

from __future__ import annotations

import random

import pytest
import scale_costs
from hypothesis import given, settings
from hypothesis import strategies as st
from scale_engine import Cores, Engine, Line, Process
from scale_model import simulate
from scale_queue import CountQueue
from scale_setup import GPU, Device, Setup, cluster

from pipeline.batching.batch import StageJob
from pipeline.batching.stage_queue import StageQueue, StageRule, Task

COSTS = scale_costs.load()
SMALL = cluster(8, seconds=1.0, warm_s=0.5)


def test_every_cost_was_measured():
    assert all(cost >= 0 for cost in COSTS)
    assert COSTS.record > 0
    assert COSTS.encode_window > 0


@settings(max_examples=12)
@given(
    gpus=st.integers(1, 24),
    per_node=st.integers(1, 8),
    owners=st.integers(1, 6),
    slots_each=st.integers(1, 3),
    load=st.floats(0.1, 2.0),
    burst=st.floats(1.0, 9.0),
    loses=st.booleans(),
    spread=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_window_is_in_the_log_on_its_way_or_committed(
    gpus, per_node, owners, slots_each, load, burst, loses, spread, seed
):
    nodes = max(2, -(-gpus // per_node))
    result = simulate(
        COSTS,
        SMALL._replace(
            nodes=nodes, replicas=gpus, owners=owners, slots=owners * slots_each,
            lanes=owners * slots_each * 2, rate=200.0 * gpus * load, burst=burst, seed=seed,
            node_loss_us=700_000 if loses else None, detect_us=100_000, spread_order=spread,
        ),
    )  # fmt: skip
    assert result.lost_windows == 0


def test_a_seed_decides_all():
    one, again = (simulate(COSTS, SMALL._replace(seed=7)) for _ in range(2))
    assert one == again
    assert one != simulate(COSTS, SMALL._replace(seed=8))._replace(setup=one.setup)


def test_a_log_is_worked_off_as_fast_as_what_binds_allows():
    """Where a window takes 10 ms of a replica, a replica does a hundred a second."""
    slow = Device(0, 10_000)
    setup = SMALL._replace(
        rate=0.0, windows=3_000, replicas=1, device=slow, nodes=1, owners=1, slots=1
    )
    assert simulate(COSTS, setup).windows_s == pytest.approx(100, rel=0.02)
    twice = simulate(COSTS, setup._replace(replicas=2))
    assert twice.windows_s == pytest.approx(200, rel=0.04)
    assert twice.bottlenecks[0][0] == "replicas"


def test_more_than_it_can_do_fills_the_batches_and_no_more_comes_out():
    most = 8 * GPU_FULL
    result = simulate(COSTS, SMALL._replace(rate=3.0 * most, owners=16, slots=16, burst=1.0))
    assert result.used["replicas"] > 0.97
    assert result.windows_s == pytest.approx(most, rel=0.06)
    assert result.batch > 60


GPU_FULL = 64e6 / (GPU.fixed_us + 64 * GPU.window_us)


def test_lost_owners_begin_anew_and_catch_up():
    setup = SMALL._replace(
        nodes=2, replicas=16, owners=4, slots=4, rate=3_000.0, seconds=18.0, node_loss_us=1_000_000
    )
    together = simulate(COSTS, setup)
    in_turn = simulate(COSTS, setup._replace(restart_together=False))
    assert together.lost_windows == in_turn.lost_windows == 0
    assert together.restarted_s is not None
    assert together.recovered_s is not None
    assert in_turn.restarted_s is not None
    assert together.restarted_s >= (setup.detect_us + COSTS.restart_wall) / 1e6
    assert together.recovered_s > together.restarted_s
    assert in_turn.restarted_s - together.restarted_s == pytest.approx(
        COSTS.restart_wall / 1e6, rel=0.01
    )


# -- queues ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_a_line_waits_as_the_theory_of_queues_says(load):
    """Poisson arrivals, one server, equal times (M/D/1): they wait load / (1 - load) * time / 2."""
    engine, rng, took_us, count = Engine(), random.Random(3), 1_000, 60_000
    line = Line(engine, "one", 1.0)
    waits = []

    def come() -> None:
        waits.append(line.take(took_us - 1) - engine.now_us - took_us)
        if len(waits) < count:
            engine.after(round(rng.expovariate(load / took_us)), come)

    engine.at(0, come)
    engine.run(1 << 62)
    expected = load / (1 - load) * took_us / 2
    assert sum(waits) / count == pytest.approx(expected, rel=0.08)
    assert line.busy_us / engine.now_us == pytest.approx(load, rel=0.03)


def test_processes_of_a_node_share_its_cores():
    engine = Engine()
    cores = Cores(engine, "node", 2)
    ends: dict[str, int] = {}
    for name in ("a", "b", "c"):
        process = Process(engine, name, cores)
        for _ in range(4):
            process.work(1_000, lambda name=name: ends.update({name: engine.now_us}))
    engine.run(1 << 40)
    assert cores.busy_us == 12_000
    assert max(ends.values()) == 6_000  # two cores, none idle while there is work
    assert cores.free == 2


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 40)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("return"), st.integers(0, 5)),
    ),
    max_size=80,
)


@settings(max_examples=150)
@given(
    steps=STEPS, replicas=st.integers(1, 4), batch_max=st.integers(1, 16), calls=st.integers(1, 2)
)
def test_the_rule_of_batches_is_that_of_the_real_queue(steps, replicas, batch_max, calls):
    rule = StageRule("stage", (), batch_max, 1_000_000, calls)
    real, counted = StageQueue(rule), CountQueue(batch_max, calls, list(range(replicas)))
    real.replicas = tuple(map(str, range(replicas)))
    out: list[tuple[str, object]] = []
    serial = 0
    for what, number in steps:
        if what == "put":
            for _ in range(number):
                serial += 1
                job = StageJob(f"stream-{serial}", 0, 1)
                real.put(Task(serial, "stage", job, set(), 1_000_000, 0))
            counted.put("group", number)
        elif what == "return" and out:
            replica, batch = out.pop(number % len(out))
            real.returned(replica, batch, 0)
            counted.returned(int(replica), len(batch.tasks))
        elif what == "take":
            found, same = real.next_batch(0), counted.next_batch()
            assert (found is None) == (same is None)
            if found is not None and same is not None:
                assert (int(found[0]), len(found[1].tasks)) == same[:2]
                assert sum(windows for _, windows in same[2]) == same[1]
                out.append(found)
        assert real.windows == counted.queued + counted.held


def test_a_size_is_a_setup_of_its_own():
    setup: Setup = cluster(1_000)
    assert (setup.lanes, setup.streams, setup.nodes) == (10_000, 1_000_000, 125)
