"""Which windows are open, by their index alone: the earliest, the latest, how many."""

from __future__ import annotations

import heapq


class OpenIndices:
    """How many windows of a lane are open at each index; least and greatest at amortised log cost.

    Invariant: ``total`` is the sum of all counts; an index without an open window has none. Least
    and greatest may be asked for only where ``total`` is above 0.
    """

    __slots__ = ("_counts", "_greatest", "_least", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._least: list[int] = []
        self._greatest: list[int] = []
        self.total = 0

    def add(self, k: int) -> None:
        count = self._counts.get(k, 0)
        self._counts[k] = count + 1
        self.total += 1
        if not count:
            heapq.heappush(self._least, k)
            heapq.heappush(self._greatest, -k)
            if len(self._least) + len(self._greatest) > 4 * len(self._counts) + 64:
                self._rebuild()

    def remove(self, k: int) -> None:
        count = self._counts[k] - 1
        if count:
            self._counts[k] = count
        else:
            del self._counts[k]
        self.total -= 1

    def _rebuild(self) -> None:
        """Heaps forget lazily, and a run that is never forced or silent never asks them."""
        self._least = sorted(self._counts)
        self._greatest = [-k for k in reversed(self._least)]

    def least(self) -> int:
        while self._least[0] not in self._counts:
            heapq.heappop(self._least)
        return self._least[0]

    def greatest(self) -> int:
        while -self._greatest[0] not in self._counts:
            heapq.heappop(self._greatest)
        return -self._greatest[0]
