"""The loop of a replica, with real threads: merged while it is busy, told once, whatever comes."""

from __future__ import annotations

import queue
import threading

import pytest

from pipeline.batching.batch import JobResult, StageJob
from pipeline.batching.pace import BatchPace
from pipeline.clock import monotonic_us
from pipeline.tasks.micro_batcher import MicroBatcher


def job(number: int) -> StageJob:
    return StageJob("s", number, number + 1)


class Held:
    """A run that waits until it is let go, and says what it was given."""

    def __init__(self) -> None:
        self.given: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self.go: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def __call__(self, jobs) -> list[JobResult]:
        self.given.put([each.start_us for each in jobs])
        error = self.go.get()
        if error is not None:
            raise error
        return [JobResult(each.start_us) for each in jobs]


@pytest.fixture
def served():
    held = Held()
    batcher = MicroBatcher(held, BatchPace(8, None), monotonic_us)
    thread = threading.Thread(target=batcher.serve)
    thread.start()
    yield held, batcher
    batcher.close()
    held.go.put(None)
    thread.join(10)
    assert not thread.is_alive()


def test_what_comes_while_it_runs_is_run_in_one_call(served):
    held, batcher = served
    replies: queue.SimpleQueue = queue.SimpleQueue()
    batcher.put([job(0)], replies.put)
    assert held.given.get() == [0]
    for number in (1, 2, 3):
        batcher.put([job(number)], replies.put)
    held.go.put(None)
    results, run = replies.get()
    assert [each.output for each in results] == [0]
    assert [windows for windows, _ in run.runs] == [1]
    assert held.given.get() == [1, 2, 3]
    held.go.put(None)
    outcomes = [replies.get() for _ in range(3)]
    assert [results[0].output for results, _ in outcomes] == [1, 2, 3]
    assert [len(run.runs) for _, run in outcomes] == [1, 0, 0]  # one run, told once
    assert all(run.waited_us >= 0 for _, run in outcomes)


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), MemoryError()])
def test_what_the_run_raises_reaches_its_batches_and_no_other(served, error):
    held, batcher = served
    replies: queue.SimpleQueue = queue.SimpleQueue()
    batcher.put([job(0)], replies.put)
    assert held.given.get() == [0]
    held.go.put(error)
    assert replies.get() is error
    batcher.put([job(1)], replies.put)
    assert held.given.get() == [1]
    held.go.put(None)
    assert replies.get()[0][0].output == 1


def test_a_job_whose_time_is_up_is_not_run_and_delays_none_behind_it(served):
    held, batcher = served
    replies: queue.SimpleQueue = queue.SimpleQueue()
    batcher.put([job(0)], replies.put)
    assert held.given.get() == [0]
    past, timely = job(1), job(2)
    past.deadline_us, timely.deadline_us = monotonic_us(), monotonic_us() + 60_000_000
    batcher.put([past, timely], replies.put)
    late = job(3)
    late.deadline_us = past.deadline_us
    batcher.put([late], replies.put)
    held.go.put(None)
    assert held.given.get() == [2]  # of three that wait
    held.go.put(None)
    replies.get()
    results, run = replies.get()
    assert [(each.output, each.failure) for each in results] == [(None, "timeout"), (2, None)]
    assert [windows for windows, _ in run.runs] == [1]
    results, run = replies.get()
    assert [each.failure for each in results] == ["timeout"]
    batcher.put([late], replies.put)  # nothing to run at all
    results, run = replies.get()
    assert ([each.failure for each in results], run.runs) == (["timeout"], ())
