"""What a window waits, by simulation: Poisson arrivals at one replica with t(B) = α + β·B.

The law for a device that takes all that waits whenever it is free (facts of dynamic batching):
batches settle at B* = λα / (1 - λβ), a window takes some 1.5 t(B*), 99 of 100 less than 2 t(B*).
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

import pytest

from pipeline.batching.batch import JobResult, StageJob
from pipeline.batching.dispatch import Assignment, Dispatcher
from pipeline.batching.door import Door, Run
from pipeline.batching.pace import BatchPace
from pipeline.batching.stage_queue import StageRule

ALPHA_US, BETA_US = 200, 2  # a small encoder on a fast GPU
BATCH_MAX = 4096


@dataclass
class Latencies:
    sorted_us: list[int]
    runs: list[int]  # windows
    messages: int

    def quantile_us(self, share: float) -> int:
        return self.sorted_us[int(len(self.sorted_us) * share)]


class Device:
    """A replica in simulated time: its door, and a device that takes α + β·B for B windows."""

    def __init__(self, dispatcher: Dispatcher, pace: BatchPace) -> None:
        self._dispatcher = dispatcher
        self._door: Door[int, StageJob] = Door(pace)
        self._run: Run[int, StageJob] | None = None
        self.free_us: int | None = None
        self.runs: list[int] = []

    def put(self, batch: Assignment, now_us: int) -> None:
        self._door.put(batch.number, batch.jobs, now_us)
        if self._run is None:
            self._start(now_us)

    def finish(self, now_us: int) -> None:
        run, self._run, self.free_us = self._run, None, None
        assert run is not None
        for number, results, told in self._door.done(
            run, [JobResult(1)] * len(run.jobs), now_us, len(run.jobs)
        ):
            self._dispatcher.done(number, results, now_us, told)
        self._start(now_us)

    def _start(self, now_us: int) -> None:
        self._run = self._door.take(now_us)
        if self._run is not None:
            self.runs.append(len(self._run.jobs))
            self.free_us = now_us + ALPHA_US + BETA_US * len(self._run.jobs)


def simulate(
    load: float, windows: int, *, target_us: int | None = None, batch_max: int = BATCH_MAX
) -> Latencies:
    """One replica under ``load``, a share of its capacity of 1/β windows a microsecond."""
    rng = random.Random(17)
    at_us = 0.0
    arrivals = []
    for window in range(windows):
        at_us += rng.expovariate(load / BETA_US)
        heapq.heappush(arrivals, (round(at_us), window))
    dispatcher = Dispatcher([StageRule("a", ("seed",), batch_max, 10**15)])
    dispatcher.set_replicas("a", ["a-0"])
    device = Device(dispatcher, BatchPace(batch_max, target_us))
    came_us: dict[object, int] = {}
    took_us: list[int] = []
    messages = 0
    while arrivals or device.free_us is not None:
        if device.free_us is not None and (not arrivals or device.free_us <= arrivals[0][0]):
            now_us = device.free_us
            device.finish(now_us)
            took_us += [now_us - came_us.pop(done.window) for done in dispatcher.take_done()]
        else:
            now_us, window = heapq.heappop(arrivals)
            came_us[window] = now_us
            dispatcher.submit(window, {"a": StageJob(f"s{window % 50}", 0, 1)}, now_us)
        for batch in dispatcher.assign(now_us):
            messages += 1
            device.put(batch, now_us)
    assert not came_us
    return Latencies(sorted(took_us), device.runs, messages)


def settled_batch(load: float) -> float:
    rate = load / BETA_US
    return rate * ALPHA_US / (1 - rate * BETA_US)


def test_under_load_the_slowest_of_a_hundred_is_within_a_fifth_of_two_batches():
    found = simulate(0.8, 60_000)
    batch = settled_batch(0.8)
    assert batch == pytest.approx(400)
    assert found.quantile_us(0.99) <= 1.2 * 2 * (ALPHA_US + BETA_US * batch)
    assert sum(found.runs) / len(found.runs) == pytest.approx(batch, rel=0.05)
    assert found.messages <= 10 * len(found.runs)


def test_where_little_comes_a_window_hardly_waits():
    found = simulate(0.02, 10_000)
    assert found.quantile_us(0.5) <= 1.6 * (ALPHA_US + BETA_US)


def test_batches_stay_within_the_latency_target_and_without_one_they_do_not():
    """Under overload for a while: a batch may take half of the target."""
    target_us = 1_000
    largest = (target_us // 2 - ALPHA_US) // BETA_US
    bounded = simulate(0.95, 20_000, target_us=target_us, batch_max=1_024)
    assert max(bounded.runs) <= largest
    assert max(simulate(0.95, 20_000, batch_max=1_024).runs) > 4 * largest
