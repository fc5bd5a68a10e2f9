"""The loop of an ingest owner: when it hands over what it has to tell."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines import CHAT, SECOND_US, load

from pipeline.batching.batch import BatchRun, JobResult
from pipeline.batching.dispatch import Assignment
from pipeline.errors import Transient
from pipeline.lane import LaneCut
from pipeline.slot.ports import Fetch, LogRecord, TopicPartition
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.ingest_runner import IngestRunner
from pipeline.tasks.messages import Deliveries
from pipeline.tasks.results import rfc3339

INTERVAL_US = 250_000
GATHER_US = INTERVAL_US // 10


class Loop:
    """One lane of one input; every text closes the window of the one before."""

    def __init__(self, **changes: object) -> None:
        spec = load(CHAT, {"commit_interval": f"{INTERVAL_US // 1000}ms", **changes})
        task = IngestTask(spec, {0: {0: LaneCut(0, {"chat": 0}, {"chat": 0})}}, paced=False)
        task.set_replicas("words", ["words-0"])
        self.now_us = 1_000 * SECOND_US
        self.fetched = 0
        self.away = False
        self.waiting: list[Fetch] = []
        self.batches: list[Assignment] = []
        self.told: list[list[str]] = []
        self.runner = IngestRunner(
            task, self, self.batches.append, self.deliver, lambda: self.now_us
        )

    def deliver(self, deliveries: Deliveries) -> None:
        self.told.append([type(m).__name__ for messages in deliveries.values() for m in messages])

    def step_with_text(self) -> None:
        at_us = 2 * self.fetched * SECOND_US
        headers = [("ce_time", rfc3339(at_us))]
        record = LogRecord("in.chat", 0, self.fetched, at_us, b"s", b"hello", headers)
        self.fetched += 1
        self.waiting.append(Fetch("in.chat", 0, [record], self.fetched))
        self.runner.step()

    def step_with_result(self) -> None:
        batch = self.batches.pop(0)
        results = [JobResult("done") for _ in batch.jobs]
        self.runner.post_batch(batch.number, results, BatchRun(0, ()))
        self.runner.step()

    # -- the source of the runner -------------------------------------------------------------

    def assign(self, positions: Mapping[TopicPartition, int]) -> None: ...

    def close(self) -> None: ...

    def pause(self, partitions) -> None: ...

    def resume(self, partitions) -> None: ...

    def poll(self, timeout_s: float) -> list[Fetch]:
        fetches, self.waiting = self.waiting, []
        return fetches

    def stable_ends(self, partitions) -> dict[TopicPartition, int]:
        if self.away:
            self.runner.stop()  # after this round
            raise Transient("away")
        return dict.fromkeys(partitions, self.fetched)


def test_what_is_told_is_gathered_while_windows_are_out_for_a_tenth_of_the_interval():
    loop = Loop()
    loop.step_with_text()
    loop.now_us += GATHER_US - 1
    loop.step_with_text()
    assert loop.told == [["Cut"]]  # a window is out: more is sure to come
    loop.now_us += 1
    loop.runner.step()
    assert loop.told == [["Cut"], ["Opened", "Cut"]]
    loop.now_us += GATHER_US
    loop.step_with_text()
    assert loop.told[2:] == [["Opened", "Cut"]]  # the first in a while goes at once


def test_of_a_backlog_it_is_gathered_for_four_times_as_long():
    loop = Loop(**{"stages.words.batch_max": 1})
    for _ in range(5):
        loop.step_with_text()  # one runs, one waits at the door, two are queued
    loop.now_us += 4 * GATHER_US - 1
    loop.runner.step()
    assert loop.told == [["Cut"]]
    loop.now_us += 1
    loop.runner.step()
    assert loop.told[1:] == [["Opened", "Cut"] * 4]


def test_what_is_told_goes_at_once_where_no_window_is_out():
    loop = Loop()
    loop.step_with_text()
    loop.step_with_text()
    loop.step_with_result()
    assert loop.told == [["Cut"], ["Opened", "Cut", "Settled"]]
    assert loop.runner.delivered == 2


def test_what_has_closed_is_encoded_though_the_broker_is_away():
    loop = Loop()
    loop.step_with_text()
    assert not loop.batches
    loop.away = True
    record = LogRecord("in.chat", 0, 1, 0, b"s", b"hello", [("ce_time", rfc3339(2 * SECOND_US))])
    loop.waiting.append(Fetch("in.chat", 0, [record], 2))
    loop.now_us += SECOND_US  # the end that is known is too old
    loop.runner.run()
    assert loop.runner.not_ready == "waiting for the broker (away)"
    assert [job.start_us for batch in loop.batches for job in batch.jobs] == [0]
