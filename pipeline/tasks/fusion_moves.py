"""Slots that a fusion loop is given, or gives up, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NamedTuple

from pipeline.lane import LaneCut
from pipeline.tasks.fusion import FusionTask


class _Leaving(NamedTuple):
    numbers: Mapping[int, int]
    left: Future[dict[int, LaneCut]]


class FusionMoves:
    """What the loop's other threads wait for; all but the futures belongs to the loop.

    Invariant: when the future of a slot is done, all that its ingest half has handed over is
    committed, and nothing of it is under way. Where the loop ends before, it is cancelled.
    """

    def __init__(self, task: FusionTask) -> None:
        self._task = task
        self._leaving: dict[int, _Leaving] = {}

    def leave(
        self, slot: int, numbers: Mapping[int, int], left: Future[dict[int, LaneCut]]
    ) -> None:
        """``numbers``: by lane, the last cut that the ingest half has made and handed over."""
        self._leaving[slot] = _Leaving(numbers, left)

    def look(self, tell: Callable[[int], None]) -> None:
        """After each round. ``tell``: of a slot that is here no more, before anyone hears of it."""
        for slot, asked in list(self._leaving.items()):
            if self._task.has_left(slot, asked.numbers):
                del self._leaving[slot]
                cuts = self._task.let_go(slot)
                tell(slot)
                asked.left.set_result(cuts)

    def end(self) -> None:
        for asked in self._leaving.values():
            asked.left.cancel()
