"""A replica's own loop: whenever it is free it runs all that waits for it, in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pipeline.batching.batch import BatchRun, JobResult, StageJob
from pipeline.batching.door import Door, Run
from pipeline.batching.pace import BatchPace

Outcome = tuple[list[JobResult], BatchRun] | BaseException
Reply = Callable[[Outcome], None]


class MicroBatcher:
    """Runs the batches of one replica; what is merged and what is cut its ``Door`` decides.

    Invariants: one thread, which calls ``serve``, runs the encoder. Every batch that was put is
    replied to exactly once, with its results or with what the run raised; those that still wait
    when it is closed are not.
    """

    def __init__(
        self,
        run: Callable[[Sequence[StageJob]], Sequence[JobResult]],
        pace: BatchPace,
        now_us: Callable[[], int],
    ) -> None:
        self._run = run
        self._now_us = now_us
        self._door: Door[Reply] = Door(pace)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, jobs: Sequence[StageJob], reply: Reply) -> None:
        """Takes a batch; ``reply`` is called in the thread that serves, and must not block."""
        with self._changed:
            self._door.put(reply, jobs, self._now_us())
            self._changed.notify()

    def close(self) -> None:
        """Returns at once; what is still at the door is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def serve(self) -> None:
        """Runs until it is closed."""
        while (run := self._next()) is not None:
            try:
                results = self._run(run.jobs)
            except BaseException as error:  # a user's sys.exit too: its batches must come back
                self._tell_failed(run, error)
            else:
                self._tell_done(run, results)

    def _next(self) -> Run[Reply] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._door or self._closed)
            return None if self._closed else self._door.take(self._now_us())

    def _tell_done(self, run: Run[Reply], results: Sequence[JobResult]) -> None:
        with self._changed:
            finished = self._door.done(run, results, self._now_us())
        for reply, found, told in finished:
            reply((found, told))

    def _tell_failed(self, run: Run[Reply], error: BaseException) -> None:
        with self._changed:
            replies = self._door.failed(run)
        for reply in replies:
            reply(error)
