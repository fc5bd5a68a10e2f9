"""The memory budget of a slot: taken when a window closes, given back when it is committed."""

from __future__ import annotations

from collections import deque

WINDOW_BYTES = 2048  # what a window costs beside its payload: keys, outputs, the result


class Budget:
    """Bytes in flight of one slot, by lane and cut.

    Invariant: ``in_flight_bytes`` is what was taken and not yet released. Nothing that was
    closed is ever refused; while the budget is over its limit no further record is applied.
    At zero in flight one more is always admitted, whatever its size: so no window is too
    large to pass, and no order of stages can deadlock on the budget.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._since_cut: dict[int, int] = {}
        self._by_cut: dict[int, deque[tuple[int, int]]] = {}
        self.in_flight_bytes = 0

    @property
    def admits(self) -> bool:
        return self.in_flight_bytes < self._limit_bytes

    def take(self, lane: int, size_bytes: int) -> None:
        self.in_flight_bytes += size_bytes
        self._since_cut[lane] = self._since_cut.get(lane, 0) + size_bytes

    def cut(self, lane: int, number: int) -> None:
        """What the lane took since its last cut is released when this one is committed."""
        taken = self._since_cut.pop(lane, 0)
        if taken:
            self._by_cut.setdefault(lane, deque()).append((number, taken))

    def committed(self, lane: int, number: int) -> None:
        waiting = self._by_cut.get(lane)
        while waiting and waiting[0][0] <= number:
            self.in_flight_bytes -= waiting.popleft()[1]
