"""The rule of ``pipeline.batching.stage_queue``, on numbers of windows in place of windows.

``tests/core/test_scale_simulation.py`` holds it to the real queue over random histories: the same
replica gets the same number at the same moment. The real one holds an object for each window, which
at a million of them a second is more than a simulation can carry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.batching.stage_queue import BACKLOG_BATCHES, HELD_BATCHES

WORTH_SHARE = 8  # as there

Group = tuple[Any, int]  # what its windows are part of, and how many they are


class CountQueue:
    """Windows that wait for a stage, in groups, and how many each replica has of this owner.

    Invariant: what was put is taken once, in its order.
    """

    def __init__(self, batch_max: int, call_batches: int, replicas: Sequence[int]) -> None:
        """``replicas``: their numbers, those that are taken first among equals first."""
        self.batch_max = batch_max
        self.call_batches = call_batches
        self.queued = 0
        self._groups: deque[Group] = deque()
        self.set_replicas(replicas)

    def set_replicas(self, replicas: Sequence[int]) -> None:
        """What others have still comes back by ``returned``."""
        held = dict(zip(self.order, self._held, strict=True)) if hasattr(self, "order") else {}
        self.order = list(replicas)
        self._place = {replica: place for place, replica in enumerate(self.order)}
        self._held = np.array([held.get(replica, 0) for replica in self.order], np.int64)

    def put(self, group: Any, windows: int) -> None:
        self._groups.append((group, windows))
        self.queued += windows

    @property
    def backlogged(self) -> bool:
        return self.queued >= BACKLOG_BATCHES * self.batch_max * max(1, len(self.order))

    @property
    def held(self) -> int:
        return int(self._held.sum())

    def next_batch(self) -> tuple[int, int, list[Group]] | None:
        """Replica, number of windows, and whose they are; None where it is better to wait."""
        if not self.queued or not self.order:
            return None
        place = int(self._held.argmin())
        room = self._room(int(self._held[place]))
        if not room:
            return None
        taken, groups = self._take(room)
        self._held[place] += taken
        return self.order[place], taken, groups

    def returned(self, replica: int, windows: int) -> None:
        place = self._place.get(replica)
        if place is not None:
            self._held[place] -= windows

    def _room(self, held: int) -> int:
        most = self.batch_max * (self.call_batches if self.backlogged else 1)
        share = -(-(self.queued + int(self._held.sum())) // len(self.order))
        if not held:
            return max(1, min(most, share))
        if self.queued * WORTH_SHARE < min(held, self.batch_max):
            return 0
        return max(0, min(most, HELD_BATCHES * most - held, share - held))

    def _take(self, room: int) -> tuple[int, list[Group]]:
        groups: list[Group] = []
        left = room
        while self._groups and left:
            group, windows = self._groups[0]
            if windows <= left:
                self._groups.popleft()
                groups.append((group, windows))
                left -= windows
            else:
                self._groups[0] = (group, windows - left)
                groups.append((group, left))
                left = 0
        self.queued -= room - left
        return room - left, groups
