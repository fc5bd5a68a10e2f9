"""Which windows and fates count in a run that is restricted to a span of event time.

The lane decides as it does in every run, so that a span changes no window that lies in it;
what lies outside is left out here, before anything is encoded, counted or written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.lane import Applied, ClosedWindow, LaneRecord
from pipeline.spec import PipelineSpec

Wanted = Callable[[str, int, int], bool]  # stream, start_us and end_us of a window


class SpanFilter:
    """The span of one pipeline (``motet run --from --to``); without one everything passes.

    Invariant: of every record and window it passes exactly what belongs to windows that begin
    at or after ``from`` and end at or before ``to``; of these windows those that are ``wanted``.
    """

    def __init__(self, spec: PipelineSpec, wanted: Wanted | None = None) -> None:
        """``wanted`` (None: all): asked of each window of the span when it closes, once."""
        self._wanted = wanted
        self._span = spec.span
        self.limited = bool(spec.span)
        self._size_us = spec.windows.size_us
        self._hop_us = spec.windows.hop_us
        self._first, self._last = spec.span.indices(self._size_us, self._hop_us)

    def closed(self, windows: Sequence[ClosedWindow]) -> Sequence[ClosedWindow]:
        if self.limited:
            windows = [w for w in windows if self._span.holds(w.start_us, w.end_us)]
        if self._wanted is not None:
            windows = [w for w in windows if self._wanted(w.stream, w.start_us, w.end_us)]
        return windows

    def applied(self, record: LaneRecord, applied: Applied) -> Applied:
        """The fates of a record in windows of the span; what closed is left to ``closed``."""
        if not self.limited:
            return applied
        # A record is late for the first of the windows that it overlaps, and fused into the rest.
        first = (record.ts_us - self._size_us) // self._hop_us + 1 + len(applied.late)
        last = first + applied.fused - 1
        if self._first is not None:
            first = max(first, self._first)
        if self._last is not None:
            last = min(last, self._last)
        late = tuple(
            start for start in applied.late if self._span.holds(start, start + self._size_us)
        )
        fused = max(0, last - first + 1)
        return Applied(applied.closed, late, applied.clock_us, fused, applied.forced)

    def last_start_us(self, end_us: int) -> int:
        """The start of the last window of the span that a record with this end can overlap."""
        last = (end_us - 1) // self._hop_us
        return (last if self._last is None else min(last, self._last)) * self._hop_us

    def passed(self, floor_us: int | None) -> bool:
        """Whether every window of the span is closed in a lane whose floor stands there."""
        if self._last is None or floor_us is None:
            return False
        return floor_us >= self._last * self._hop_us + self._size_us
