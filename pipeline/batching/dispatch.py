"""Which windows go to which replica of a stage, and when: schedule, then run, then apply.

Deciding a batch and applying its results are pure; only the host runs it. The rule is
work-conserving, without a timer (a timer adds no capacity, it only makes windows wait): a replica
that is free gets its share of what is there, one that runs gets what comes meanwhile, and whenever
it is free it runs all that is at its door in one call (``pipeline/tasks/micro_batcher.py``). That
hides the way there and back and forms the same batches as a queue in the replica itself would
(tests/core/test_batching_latency.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from pipeline.batching.batch import TIMEOUT, BatchRun, JobResult, StageJob
from pipeline.batching.stage_queue import Batch, StageQueue, StageRule, Task

DEATHS_MAX = 3  # a window that took this many replicas with it, alone on each, has failed


@dataclass(frozen=True, slots=True)
class Assignment:
    """A batch for a replica; the host runs it and tells ``done`` or ``lost`` by its number."""

    number: int
    stage: str
    replica: str
    jobs: list[StageJob]


class StageDone(NamedTuple):
    """One stage of one window is done: it gave an output, or has failed.

    ``ready_us``: since when it could run; ``began_us``: when its batch did, None where none did.
    """

    window: Hashable
    stage: str
    result: JobResult
    ready_us: int = 0
    began_us: int | None = None


class Meter(Protocol):
    """Is told of every batch; what it does with that is no business of the dispatcher's."""

    def queued(self, stage: str, waited_us: Sequence[int]) -> None:
        """By window, how long it was ready and waited, at the replica's door too."""

    def ran(self, stage: str, windows: int, took_us: int) -> None:
        """A replica ran so many windows in one call."""

    def timed_out(self, stage: str, records: int) -> None:
        """So many records of windows were not, or not wholly, decoded in their time."""

    def moved(self, stage: str, prepare_us: int, transfer_us: int) -> None:
        """Of a batch that came back: how long it was prepared, and how long it was on its way."""


class _Out(NamedTuple):
    """A batch that is out."""

    stage: str
    replica: str
    batch: Batch
    since_us: int
    hangs_us: int  # from then on


class Dispatcher:
    """Queues and batches of all stages of the slots of one ingest owner.

    Invariants: every submitted (window, stage) is settled exactly once, by an output or a
    failure; what comes later for it is dropped. A replica never holds more than two full batches
    (of a backlog, ``call_batches`` times as many).
    A suspect (a window of a batch that a replica died with) runs alone on its replica, so that
    an innocent one is never blamed for its neighbour.
    """

    def __init__(self, rules: Sequence[StageRule], meter: Meter | None = None) -> None:
        self._queues = {rule.name: StageQueue(rule) for rule in rules}
        self._readers = {
            rule.name: [r.name for r in rules if rule.name in r.upstream] for rule in rules
        }
        self._timeouts: dict[str, deque[Task]] = {rule.name: deque() for rule in rules}
        self._windows: dict[Hashable, dict[str, Task]] = {}
        self._out: dict[int, _Out] = {}
        self._meter = meter
        self._number = 0
        self._done: list[StageDone] = []

    # -- told -----------------------------------------------------------------------------

    def set_replicas(self, stage: str, replicas: Collection[str]) -> None:
        """The replicas that take batches from now on; batches of others may still come back."""
        self._queues[stage].replicas = tuple(replicas)

    def set_limits(self, stage: str, batch_max: int, timeout_us: int, now_us: int) -> StageRule:
        """For what comes from now on; what is under way has the new timeout left at most.

        What the stage's rule is then.
        """
        queue = self._queues[stage]
        queue.rule = replace(queue.rule, batch_max=batch_max, timeout_us=timeout_us)
        for task in self._timeouts[stage]:
            task.deadline_us = min(task.deadline_us, now_us + timeout_us)
        return queue.rule

    def submit(self, window: Hashable, jobs: dict[str, StageJob], now_us: int) -> None:
        """A closed window with a job for each stage that runs for it."""
        tasks = {}
        for stage, job in jobs.items():
            queue = self._queues[stage]
            upstream = queue.rule.upstream
            waits_for = {name for name in upstream if name in jobs} if upstream else _NOTHING
            job.deadline_us = now_us + queue.rule.timeout_us
            task = Task(window, stage, job, waits_for, job.deadline_us, now_us)
            tasks[stage] = task
            self._timeouts[stage].append(task)
            if not waits_for:
                queue.put(task)
        self._windows[window] = tasks

    def done(
        self, number: int, results: Sequence[JobResult], now_us: int, run: BatchRun | None = None
    ) -> None:
        """A batch came back, one result a job; ``run`` None: it ran all the time, by itself."""
        out = self._return(number, now_us)
        tasks = out.batch.tasks
        if self._meter is not None:
            if run is None:
                timed_out = sum(result.timed_out for result in results)
                run = BatchRun(0, ((len(tasks), now_us - out.since_us),), timed_out)
            began_us = out.since_us + run.waited_us
            self._meter.queued(out.stage, [began_us - task.ready_us for task in tasks])
            for windows, took_us in run.runs:
                self._meter.ran(out.stage, windows, took_us)
            if run.timed_out:
                self._meter.timed_out(out.stage, run.timed_out)
            if run.held_us is not None:
                transfer_us = max(0, now_us - out.since_us - run.held_us)
                self._meter.moved(out.stage, run.prepare_us, transfer_us)
        began_us = out.since_us + (run.waited_us if run is not None else 0)
        for task, result in zip(tasks, results, strict=True):
            self._settle(task, result, now_us, began_us)

    def lost(self, number: int, cause: str, now_us: int) -> None:
        """A replica died with a batch: its windows run again, one by one, ahead of all others."""
        out = self._return(number, now_us)
        again = []
        for task in out.batch.tasks:
            task.deaths += out.batch.alone
            if task.deaths >= DEATHS_MAX:
                self._settle(task, JobResult(failure=cause), now_us)
            else:
                task.ready_us = now_us
                again.append(task)
        self._queues[out.stage].suspect(again)

    def expire(self, now_us: int) -> None:
        """Fails what has taken longer than its stage's timeout since its window closed."""
        for timeouts in self._timeouts.values():
            while timeouts and (timeouts[0].settled or timeouts[0].deadline_us <= now_us):
                task = timeouts.popleft()
                if not task.settled:
                    self._settle(task, JobResult(failure=TIMEOUT), now_us)
        for queue in self._queues.values():
            queue.waiting()  # behind replicas that hang nobody else takes them from the queue

    # -- asked ----------------------------------------------------------------------------

    def assign(self, now_us: int) -> list[Assignment]:
        """Batches for every replica that has room, as long as enough is queued."""
        assignments = []
        for stage, queue in self._queues.items():
            while (found := queue.next_batch(now_us)) is not None:
                replica, batch = found
                self._number += 1
                hangs_us = now_us + 2 * queue.rule.timeout_us
                self._out[self._number] = _Out(stage, replica, batch, now_us, hangs_us)
                jobs = [task.job for task in batch.tasks]
                assignments.append(Assignment(self._number, stage, replica, jobs))
        return assignments

    def take_done(self) -> list[StageDone]:
        done, self._done = self._done, []
        return done

    def busy(self, now_us: int) -> dict[str, tuple[int, int]]:
        """By stage: how long its replicas have had work, added up, and how many there are."""
        return {
            name: (queue.busy_us(now_us), len(queue.replicas))
            for name, queue in self._queues.items()
        }

    def queued(self) -> dict[str, int]:
        """By stage: windows that are ready for it and that no replica runs yet, or that one has."""
        return {name: queue.windows for name, queue in self._queues.items()}

    def holding(self) -> frozenset[str]:
        """Replicas that get batches or have some; one that is not told of any more is done."""
        return frozenset().union(*(queue.holding for queue in self._queues.values()))

    def overdue(self, now_us: int) -> list[str]:
        """Replicas that hold a batch for longer than twice their stage's timeout: they hang.

        Their windows have failed by then; the host ends them so that others can go on.
        """
        return [out.replica for out in self._out.values() if now_us > out.hangs_us]

    @property
    def backlogged(self) -> bool:
        """Whether some stage has more queued than its replicas will take for a while."""
        return any(queue.backlogged for queue in self._queues.values())

    @property
    def windows(self) -> int:
        return len(self._windows)

    # -- how ------------------------------------------------------------------------------

    def _return(self, number: int, now_us: int) -> _Out:
        out = self._out.pop(number)
        self._queues[out.stage].returned(out.replica, out.batch, now_us)
        return out

    def _settle(
        self, task: Task, result: JobResult, now_us: int, began_us: int | None = None
    ) -> None:
        if task.settled:
            return
        task.settled = True
        task.job = _NO_JOB  # its payloads are free, though its place among the timeouts stays
        self._done.append(StageDone(task.window, task.stage, result, task.ready_us, began_us))
        tasks = self._windows[task.window]
        for reader in self._readers[task.stage]:
            if reader in tasks:
                self._feed(tasks[reader], task.stage, result, now_us)
        for other in tasks.values():
            if not other.settled:
                return
        self._windows.pop(task.window, None)  # a reader that failed with it may have been last

    def _feed(self, task: Task, stage: str, result: JobResult, now_us: int) -> None:
        if task.settled:
            return
        task.waits_for.discard(stage)
        if result.failure is None:
            task.job.upstream[stage] = result.output
        if task.waits_for:
            return
        if task.job.records or task.job.upstream:
            task.ready_us = now_us
            self._queues[task.stage].put(task)
        else:
            self._settle(task, JobResult(failure=f"nothing to read: {stage} failed"), now_us)


_NO_JOB = StageJob("", 0, 0)
_NOTHING: set[str] = set()  # that tasks of stages without upstream wait for; never added to
