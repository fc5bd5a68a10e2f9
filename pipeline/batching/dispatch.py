"""Which windows go to which replica of a stage, and when: schedule, then run, then apply.

Deciding a batch and applying its results are pure; only the host runs it. The rule is
work-conserving: a replica with credit takes all that is queued, up to ``batch_max`` jobs or
``batch_bytes_max``, at once and without a timer (a timer adds no capacity, facts: dynamic
batching). Two batches in flight a replica hide the way there and back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pipeline.batching.batch import JobResult, StageJob

CREDITS = 2  # batches in flight a replica: one runs, one waits at the door
BATCH_BYTES_MAX = 16 << 20
BACKLOG_BATCHES = 2  # queued a replica: more would only wait, and hold memory
DEATHS_MAX = 3  # a window that took this many replicas with it, alone on each, has failed


@dataclass(frozen=True, slots=True)
class StageRule:
    """What the dispatcher knows of a stage; ``upstream`` names the stages that it reads."""

    name: str
    upstream: tuple[str, ...]
    batch_max: int
    timeout_us: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """A batch for a replica; the host runs it and tells ``done`` or ``lost`` by its number."""

    number: int
    stage: str
    replica: str
    jobs: list[StageJob]


@dataclass(frozen=True, slots=True)
class StageDone:
    """One stage of one window is done: it gave an output, or has failed."""

    window: Hashable
    stage: str
    result: JobResult


class Meter(Protocol):
    """Is told of every batch; what it does with that is no business of the dispatcher's."""

    def assigned(self, stage: str, waited_us: Sequence[int]) -> None:
        """A batch goes out; by window, how long it was ready and waited."""

    def returned(self, stage: str, took_us: int) -> None:
        """A batch came back with results, so long after it went out."""


@dataclass(slots=True, eq=False)
class _Task:
    """One window at one stage; ``deaths`` counts the replicas that died with it alone on them."""

    window: Hashable
    stage: str
    job: StageJob
    waits_for: set[str]
    deadline_us: int
    ready_us: int
    deaths: int = 0
    settled: bool = False


class _Running(NamedTuple):
    """A batch that is out; ``cost`` in credits, all of them where it is a suspect alone."""

    stage: str
    replica: str
    cost: int
    tasks: list[_Task]
    since_us: int


@dataclass(slots=True)
class _Stage:
    rule: StageRule
    readers: list[str]
    ready: deque[_Task] = field(default_factory=deque)
    suspects: deque[_Task] = field(default_factory=deque)
    timeouts: deque[_Task] = field(default_factory=deque)
    credits: dict[str, int] = field(default_factory=dict)
    out: dict[str, list[int]] = field(default_factory=dict)  # replica: its batches, busy since
    busy_us: int = 0  # of replicas that have nothing left


class Dispatcher:
    """Queues, batches and credits of all stages of the slots of one ingest owner.

    Invariants: every submitted (window, stage) is settled exactly once, by an output or a
    failure; what comes later for it is dropped. A replica never holds more than its credits.
    A suspect (a window of a batch that a replica died with) runs alone on its replica, so that
    an innocent one is never blamed for its neighbour.
    """

    def __init__(self, rules: Sequence[StageRule], meter: Meter | None = None) -> None:
        self._stages = {
            rule.name: _Stage(rule, [r.name for r in rules if rule.name in r.upstream])
            for rule in rules
        }
        self._windows: dict[Hashable, dict[str, _Task]] = {}
        self._running: dict[int, _Running] = {}
        self._meter = meter
        self._number = 0
        self._done: list[StageDone] = []

    # -- told -----------------------------------------------------------------------------

    def set_replicas(self, stage: str, replicas: Collection[str]) -> None:
        """The replicas that take batches from now on; batches of others may still come back."""
        state = self._stages[stage]
        held = dict.fromkeys(replicas, 0)  # by one that had been taken away and is here again
        for batch in self._running.values():
            if batch.stage == stage and batch.replica in held:
                held[batch.replica] += batch.cost
        state.credits = {name: CREDITS - cost for name, cost in held.items()}

    def submit(self, window: Hashable, jobs: dict[str, StageJob], now_us: int) -> None:
        """A closed window with a job for each stage that runs for it."""
        tasks = {}
        for stage, job in jobs.items():
            state = self._stages[stage]
            waits_for = {name for name in state.rule.upstream if name in jobs}
            task = _Task(window, stage, job, waits_for, now_us + state.rule.timeout_us, now_us)
            tasks[stage] = task
            state.timeouts.append(task)
            if not waits_for:
                state.ready.append(task)
        self._windows[window] = tasks

    def done(self, number: int, results: Sequence[JobResult], now_us: int) -> None:
        """A batch came back, one result a job."""
        batch = self._return(number, now_us)
        if self._meter is not None:
            self._meter.returned(batch.stage, now_us - batch.since_us)
        for task, result in zip(batch.tasks, results, strict=True):
            self._settle(task, result, now_us)

    def lost(self, number: int, cause: str, now_us: int) -> None:
        """A replica died with a batch: its windows run again, one by one, ahead of all others."""
        batch = self._return(number, now_us)
        for task in reversed(batch.tasks):
            task.deaths += batch.cost == CREDITS
            if task.deaths >= DEATHS_MAX:
                self._settle(task, JobResult(failure=cause), now_us)
            else:
                task.ready_us = now_us
                self._stages[task.stage].suspects.appendleft(task)

    def expire(self, now_us: int) -> None:
        """Fails what has taken longer than its stage's timeout since its window closed."""
        for state in self._stages.values():
            timeouts = state.timeouts
            while timeouts and (timeouts[0].settled or timeouts[0].deadline_us <= now_us):
                self._settle(timeouts.popleft(), JobResult(failure="timeout"), now_us)
        for state in self._stages.values():
            _waiting(state)  # behind replicas that hang nobody else takes them from the queue

    # -- asked ----------------------------------------------------------------------------

    def assign(self, now_us: int) -> list[Assignment]:
        """Batches for every replica that has credit, as long as something is queued."""
        assignments = []
        for state in self._stages.values():
            while state.credits and _waiting(state):
                replica = max(state.credits, key=state.credits.__getitem__)
                free = state.credits[replica]
                cost = CREDITS if state.suspects else 1
                if free < cost:
                    break
                tasks = _take(state)
                state.credits[replica] -= cost
                self._number += 1
                self._running[self._number] = _Running(
                    state.rule.name, replica, cost, tasks, now_us
                )
                state.out.setdefault(replica, [0, now_us])[0] += 1
                if self._meter is not None:
                    waited_us = [now_us - task.ready_us for task in tasks]
                    self._meter.assigned(state.rule.name, waited_us)
                jobs = [task.job for task in tasks]
                assignments.append(Assignment(self._number, state.rule.name, replica, jobs))
        return assignments

    def take_done(self) -> list[StageDone]:
        done, self._done = self._done, []
        return done

    def busy(self, now_us: int) -> dict[str, tuple[int, int]]:
        """By stage: how long its replicas have had work, added up, and how many there are."""
        return {
            name: (
                state.busy_us + sum(now_us - since_us for _, since_us in state.out.values()),
                len(state.credits),
            )
            for name, state in self._stages.items()
        }

    def overdue(self, now_us: int) -> list[str]:
        """Replicas that hold a batch for longer than twice their stage's timeout: they hang.

        Their windows have failed by then; the host ends them so that others can go on.
        """
        return [
            batch.replica
            for batch in self._running.values()
            if now_us - batch.since_us > 2 * self._stages[batch.stage].rule.timeout_us
        ]

    @property
    def backlogged(self) -> bool:
        """Whether some stage has more queued than its replicas will take for a while."""
        return any(
            len(state.ready) >= BACKLOG_BATCHES * state.rule.batch_max * max(1, len(state.credits))
            for state in self._stages.values()
        )

    @property
    def windows(self) -> int:
        return len(self._windows)

    # -- how ------------------------------------------------------------------------------

    def _return(self, number: int, now_us: int) -> _Running:
        batch = self._running.pop(number)
        state = self._stages[batch.stage]
        if batch.replica in state.credits:
            state.credits[batch.replica] += batch.cost
        out = state.out[batch.replica]
        out[0] -= 1
        if not out[0]:
            state.busy_us += now_us - out[1]
            del state.out[batch.replica]
        return batch

    def _settle(self, task: _Task, result: JobResult, now_us: int) -> None:
        if task.settled:
            return
        task.settled = True
        task.job = _NO_JOB  # its payloads are free, though its place among the timeouts stays
        self._done.append(StageDone(task.window, task.stage, result))
        tasks = self._windows[task.window]
        for reader in self._stages[task.stage].readers:
            if reader in tasks:
                self._feed(tasks[reader], task.stage, result, now_us)
        if all(t.settled for t in tasks.values()):
            self._windows.pop(task.window, None)  # a reader that failed with it may have been last

    def _feed(self, task: _Task, stage: str, result: JobResult, now_us: int) -> None:
        if task.settled:
            return
        task.waits_for.discard(stage)
        if result.failure is None:
            task.job.upstream[stage] = result.output
        if task.waits_for:
            return
        if task.job.records or task.job.upstream:
            task.ready_us = now_us
            self._stages[task.stage].ready.append(task)
        else:
            self._settle(task, JobResult(failure=f"nothing to read: {stage} failed"), now_us)


_NO_JOB = StageJob("", 0, 0)


def _waiting(state: _Stage) -> bool:
    """Whether anything is queued, once what was settled meanwhile has been let go."""
    for queue in (state.suspects, state.ready):
        while queue and queue[0].settled:
            queue.popleft()
    return bool(state.suspects or state.ready)


def _take(state: _Stage) -> list[_Task]:
    """One suspect alone, else all that is ready up to the limits; the first is not settled."""
    if state.suspects:
        return [state.suspects.popleft()]
    tasks: list[_Task] = []
    size_bytes = 0
    while state.ready and len(tasks) < state.rule.batch_max and size_bytes < BATCH_BYTES_MAX:
        task = state.ready.popleft()
        if not task.settled:
            tasks.append(task)
            size_bytes += sum(len(record.payload) for record in task.job.records)
    return tasks
