"""A replica's own loop: whenever it is free it runs all that waits for it, in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.batching.batch import TIMEOUT, BatchRun, JobResult, StageJob
from pipeline.batching.door import Door, Run
from pipeline.batching.pace import BatchPace

Outcome = tuple[list[JobResult], BatchRun] | BaseException
Reply = Callable[[Outcome], None]
LATE = JobResult(failure=TIMEOUT)


class MicroBatcher:
    """Runs the batches of one replica; what is merged and what is cut its ``Door`` decides.

    ``begin`` is told of a batch when it comes, and may start what does not need the device: it
    gives what ``run`` gets in place of each job. It is called by whoever puts, must not block,
    and changes no result.

    Invariants: one thread, which calls ``serve``, runs the encoder. Every batch that was put is
    replied to exactly once, with its results or with what the run raised; those that still wait
    when it is closed are not. A job whose deadline has passed is not run: its window has failed,
    and running it would make those behind it late too, so that an overload never ended.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Any]], Sequence[JobResult]],
        pace: BatchPace,
        now_us: Callable[[], int],
        begin: Callable[[Sequence[StageJob]], Sequence[Any]] = list,
    ) -> None:
        self._run = run
        self._begin = begin
        self._now_us = now_us
        self._door: Door[Reply, tuple[int | None, Any]] = Door(pace)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, jobs: Sequence[StageJob], reply: Reply) -> None:
        """Takes a batch; ``reply`` is called in the thread that serves, and must not block."""
        begun = list(zip((job.deadline_us for job in jobs), self._begin(jobs), strict=True))
        with self._changed:
            self._door.put(reply, begun, self._now_us())
            self._changed.notify()

    def set_pace(self, pace: BatchPace) -> None:
        """For the runs that begin from now on."""
        with self._changed:
            self._door.pace = pace

    def close(self) -> None:
        """Returns at once; what is still at the door is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def serve(self) -> None:
        """Runs until it is closed."""
        while (run := self._next()) is not None:
            now_us = self._now_us()
            late = [deadline is not None and deadline <= now_us for deadline, _ in run.jobs]
            timely = [job for (_, job), is_late in zip(run.jobs, late, strict=True) if not is_late]
            try:
                found = iter(self._run(timely) if timely else ())
                results = [LATE if is_late else next(found) for is_late in late]
            except BaseException as error:  # a user's sys.exit too: its batches must come back
                self._tell_failed(run, error)
            else:
                self._tell_done(run, results, len(timely))

    def _next(self) -> Run[Reply, tuple[int | None, Any]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._door or self._closed)
            return None if self._closed else self._door.take(self._now_us())

    def _tell_done(self, run: Run[Reply, Any], results: Sequence[JobResult], encoded: int) -> None:
        with self._changed:
            finished = self._door.done(run, results, self._now_us(), encoded)
        for reply, found, told in finished:
            reply((found, told))

    def _tell_failed(self, run: Run[Reply, Any], error: BaseException) -> None:
        with self._changed:
            replies = self._door.failed(run)
        for reply in replies:
            reply(error)
