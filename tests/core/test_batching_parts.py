"""The parts of batching, each by its law: fair queue, pace, memory limit, door."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching.batch import JobResult, StageJob
from pipeline.batching.door import Door
from pipeline.batching.fair_queue import FairQueue
from pipeline.batching.memory_limit import MemoryLimit
from pipeline.batching.pace import BatchPace

# -- fair queue -----------------------------------------------------------------------------


@given(st.lists(st.one_of(st.sampled_from("abc"), st.none()), max_size=60))
def test_each_stream_in_its_order_and_none_twice_before_another_that_waits(steps):
    """A step puts an item of a stream, or takes one."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    waiting: dict[str, list[int]] = {}
    since: Counter[str] = Counter()  # takes of others since a stream waits
    for number, stream in enumerate(steps):
        if stream is not None:
            queue.put(stream, (stream, number))
            waiting.setdefault(stream, []).append(number)
        elif waiting:
            head, found = queue.peek(), queue.take()
            assert head == found
            assert waiting[found[0]].pop(0) == found[1]
            if not waiting[found[0]]:
                del waiting[found[0]]
            del since[found[0]]
            for other in waiting:
                since[other] += other != found[0]
                assert since[other] <= 2, "others came twice"  # of three streams
        assert len(queue) == sum(map(len, waiting.values()))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2))), st.integers(1, 4))
def test_items_that_belong_together_are_taken_in_one_turn_and_each_once(items, most):
    queue: FairQueue[tuple[int, int]] = FairQueue()
    waiting: dict[str, list[tuple[int, int]]] = {}
    for number, (stream, group) in enumerate(items):
        queue.put(stream, (number, group))
        waiting.setdefault(stream, []).append((number, group))
    turns = list(waiting)
    while queue:
        taken = queue.take_together(most, lambda one, other: one[1] == other[1])
        stream = turns.pop(0)
        rest = waiting[stream]
        assert taken == rest[: len(taken)]
        assert len({group for _, group in taken}) == 1
        del rest[: len(taken)]
        assert len(taken) == most or not rest or rest[0][1] != taken[0][1]
        if rest:
            turns.append(stream)
        assert len(queue) == sum(map(len, waiting.values()))
    assert not any(waiting.values())


# -- pace -----------------------------------------------------------------------------------


def settle(pace: BatchPace, took_us, batches: int = 200) -> list[int]:
    """Batches as large as the pace allows, one after another."""
    sizes = []
    for _ in range(batches):
        sizes.append(pace.limit)
        pace.observe(pace.limit, round(took_us(pace.limit)))
    return sizes


def test_without_a_target_a_batch_may_be_as_large_as_the_file_says():
    pace = BatchPace(64, None)
    pace.observe(64, 10**9)
    assert pace.limit == 64


@given(
    alpha_us=st.integers(0, 50_000),
    beta_us=st.integers(1, 5_000),
    target_us=st.integers(1_000, 1_000_000),
)
def test_batches_grow_to_the_largest_power_of_two_that_keeps_the_target(
    alpha_us, beta_us, target_us
):
    pace = BatchPace(1024, target_us)
    sizes = settle(pace, lambda size: alpha_us + beta_us * size)
    allowed = [1 << r for r in range(11) if 2 * (alpha_us + beta_us * (1 << r)) <= target_us] or [1]
    assert set(sizes) <= {1, 2, *allowed}  # 2 is tried before a slope is known
    assert Counter(sizes[-60:]).most_common(1)[0][0] == max(allowed)


def test_a_size_that_was_slow_for_a_while_comes_back():
    pace = BatchPace(64, 100_000)
    assert settle(pace, lambda size: 1_000)[-1] == 64
    slow = settle(pace, lambda size: 80_000 if size > 8 else 1_000, 20)
    assert slow[-1] <= 8
    assert settle(pace, lambda size: 1_000, 400)[-1] == 64


def test_a_network_that_is_slow_with_two_and_fast_with_eight_is_not_held_at_one():
    took_us = {1: 2_450, 2: 15_800, 4: 9_000, 8: 4_900, 16: 9_000, 32: 18_000, 64: 36_000}
    pace = BatchPace(64, 100_000)
    assert settle(pace, took_us.__getitem__)[-1] == 64


# -- memory limit ---------------------------------------------------------------------------


@given(st.integers(1, 1_000), st.integers(1, 1_000))
def test_what_is_run_at_once_settles_at_what_fits_and_comes_back(fits, wanted):
    memory = MemoryLimit()
    largest = 0
    for _ in range(40):
        step = memory.limit(wanted)
        assert 1 <= step <= wanted
        if step <= fits:
            memory.held(step)
            largest = step
        elif step > 1:
            memory.exceeded(step)
    assert largest == wanted if wanted <= fits else (fits + 1) // 2 <= largest <= fits
    for _ in range(1_000):  # and now all fits
        memory.held(memory.limit(wanted))
    assert memory.limit(wanted) == wanted


# -- door -----------------------------------------------------------------------------------


def job(number: int) -> StageJob:
    return StageJob("s", number, number + 1)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    limit=st.integers(1, 10),
    fails=st.sets(st.integers(0, 20), max_size=3),
    arrive=st.integers(1, 4),
)
def test_every_batch_comes_back_once_with_its_own_results_in_order(sizes, limit, fails, arrive):
    door: Door[int, StageJob] = Door(BatchPace(limit, None))
    coming = list(enumerate(sizes))
    first = [sum(sizes[:i]) for i in range(len(sizes))]
    back: dict[int, list[int] | None] = {}
    ran: list[int] = []
    told: list[int] = []
    now_us = runs = 0
    while coming or door:
        for number, size in coming[:arrive]:
            door.put(number, [job(first[number] + i) for i in range(size)], now_us)
        del coming[:arrive]
        run = door.take(now_us)
        assert run is not None
        assert len(run.jobs) <= limit
        waiting = sum(size for number, size in enumerate(sizes) if number not in back)
        assert len(run.jobs) == limit or not door or waiting
        now_us += 10
        runs += 1
        if runs in fails:
            for number in door.failed(run):
                assert number not in back
                back[number] = None
            continue
        ran += [each.start_us for each in run.jobs]
        for number, results, fared in door.done(
            run, [JobResult(j.start_us) for j in run.jobs], now_us, len(run.jobs)
        ):
            assert number not in back
            back[number] = [result.output for result in results]
            told += [windows for windows, _ in fared.runs]
            assert all(took_us == 10 for _, took_us in fared.runs)
            assert fared.waited_us >= 0
    assert ran == sorted(set(ran)), "in order, none twice"
    for number, size in enumerate(sizes):
        assert back[number] in (None, list(range(first[number], first[number] + size)))
    if not fails:
        assert sum(told) == len(ran) == sum(sizes)
    assert door.take(0) is None


@pytest.mark.parametrize(("limit", "runs"), [(64, [12]), (5, [5, 5, 2])])
def test_batches_that_wait_run_in_one_call_up_to_the_limit(limit, runs):
    door: Door[str, StageJob] = Door(BatchPace(limit, None))
    for name in "abc":
        door.put(name, [job(0)] * 4, 0)
    sizes, waited = [], {}
    while (run := door.take(100 * len(sizes))) is not None:
        sizes.append(len(run.jobs))
        for name, _, told in door.done(
            run, [JobResult()] * len(run.jobs), 100 * len(sizes), len(run.jobs)
        ):
            waited[name] = told.waited_us
    assert sizes == runs
    assert waited == ({"a": 0, "b": 0, "c": 0} if limit == 64 else {"a": 0, "b": 0, "c": 100})


@pytest.mark.parametrize("limit", [64, 3])
def test_a_batch_tells_of_the_records_whose_decoding_timed_out(limit):
    door: Door[str, StageJob] = Door(BatchPace(limit, None))
    for name in "ab":
        door.put(name, [job(0)] * 4, 0)
    results = [JobResult(timed_out=count) for count in (1, 0, 2, 0, 0, 0, 0, 4)]
    told = {}
    while (run := door.take(0)) is not None:
        count = len(run.jobs)
        for name, _, run_of_it in door.done(run, results[:count], 0, count):
            told[name] = run_of_it.timed_out
        del results[:count]
    assert told == {"a": 3, "b": 4}
