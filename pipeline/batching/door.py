"""What waits at a replica's door, and how much of it the next run takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from pipeline.batching.batch import BatchRun, JobResult
from pipeline.batching.pace import BatchPace

Name = TypeVar("Name")
Job = TypeVar("Job")  # a StageJob, or one with what was made of it while it waits


@dataclass(slots=True, eq=False)
class _Batch(Generic[Name, Job]):
    name: Name
    jobs: Sequence[Job]
    since_us: int
    taken: int = 0
    results: list[JobResult] = field(default_factory=list)
    waited_us: int | None = None
    runs: list[tuple[int, int]] = field(default_factory=list)  # that it was the first in


@dataclass(slots=True, eq=False)
class Run(Generic[Name, Job]):
    """Jobs for one call of the encoder, of one batch or several, in the order that they came."""

    pieces: list[tuple[_Batch[Name, Job], Sequence[Job]]]
    began_us: int

    @property
    def jobs(self) -> list[Job]:
        return [job for _, piece in self.pieces for job in piece]


class Finished(NamedTuple, Generic[Name]):
    """A batch that is done, one result a job in their order."""

    name: Name
    results: list[JobResult]
    run: BatchRun


class Door(Generic[Name, Job]):
    """Batches of one replica: merged where several wait, cut where one is above the pace.

    Invariants: jobs run in the order in which their batches came. Every batch is given back
    exactly once, as finished or as failed; of a batch that has failed nothing more is run.
    """

    def __init__(self, pace: BatchPace) -> None:
        self.pace = pace
        self._batches: deque[_Batch[Name, Job]] = deque()

    def put(self, name: Name, jobs: Sequence[Job], now_us: int) -> None:
        """A batch of at least one job; ``name`` comes back with what came of it."""
        self._batches.append(_Batch(name, jobs, now_us))

    def take(self, now_us: int) -> Run[Name, Job] | None:
        """The oldest jobs, as many as one run may have; None where nothing waits."""
        pieces = []
        room = self.pace.limit
        while self._batches and room:
            batch = self._batches[0]
            piece = batch.jobs[batch.taken : batch.taken + room]
            batch.taken += len(piece)
            room -= len(piece)
            pieces.append((batch, piece))
            if batch.waited_us is None:
                batch.waited_us = now_us - batch.since_us
            if batch.taken == len(batch.jobs):
                self._batches.popleft()
        return Run(pieces, now_us) if pieces else None

    def done(
        self, run: Run[Name, Job], results: Sequence[JobResult], now_us: int, encoded: int
    ) -> list[Finished[Name]]:
        """A run gave its results; the batches that are complete with them.

        ``encoded``: how many of its jobs it was made of; the others had come too late for it.
        """
        took_us = now_us - run.began_us
        if encoded:
            self.pace.observe(encoded, took_us)
            run.pieces[0][0].runs.append((encoded, took_us))
        rest = iter(results)
        finished = []
        for batch, piece in run.pieces:
            batch.results += [next(rest) for _ in piece]
            if len(batch.results) == len(batch.jobs):
                timed_out = sum(result.timed_out for result in batch.results)
                told = BatchRun(
                    batch.waited_us or 0,
                    tuple(batch.runs),
                    timed_out,
                    sum(result.prepare_us for result in batch.results),
                    now_us - batch.since_us,
                )
                finished.append(Finished(batch.name, batch.results, told))
        return finished

    def failed(self, run: Run[Name, Job]) -> list[Name]:
        """A run raised; the batches that were in it."""
        last = run.pieces[-1][0]
        if self._batches and self._batches[0] is last:
            self._batches.popleft()
        return [batch.name for batch, _ in run.pieces]

    def __bool__(self) -> bool:
        return bool(self._batches)
