"""Slots that an ingest loop is given, or gives up, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future

from pipeline.lane import LaneCut
from pipeline.slot.ports import Source
from pipeline.tasks.ingest import IngestTask

Event = Callable[[IngestTask, int], None]


class IngestMoves:
    """Asked from any thread; the loop does it, and answers by futures.

    Invariant: a slot that was given up is neither read nor handed over any more once its future
    is done. Where the loop ends before, the future is cancelled.
    """

    def __init__(self, source: Source, post: Callable[[Event], None]) -> None:
        self._source = source
        self._post = post
        self._leaving: dict[int, Future[dict[int, int]]] = {}

    # -- from any thread --------------------------------------------------------------------

    def take(self, slot: int, cuts: Mapping[int, LaneCut]) -> Future[None]:
        """Goes on with a slot from its claimed cuts; done once it is read."""
        taken: Future[None] = Future()

        def take(task: IngestTask, _now_us: int) -> None:
            self._source.add(task.take_slot(slot, cuts))
            taken.set_result(None)

        self._post(take)
        return taken

    def leave(self, slot: int) -> Future[dict[int, int]]:
        """Reads it no more, and finishes what it has closed; by lane the number of the last cut."""
        left: Future[dict[int, int]] = Future()

        def leave(task: IngestTask, _now_us: int) -> None:
            self._source.remove(task.leave_slot(slot))
            self._leaving[slot] = left

        self._post(leave)
        return left

    # -- from the loop ----------------------------------------------------------------------

    def look(self, task: IngestTask) -> None:
        """After each round that has handed on what there was."""
        if self._leaving:
            for slot, numbers in task.take_left().items():
                self._leaving.pop(slot).set_result(numbers)

    def end(self) -> None:
        for left in self._leaving.values():
            left.cancel()
