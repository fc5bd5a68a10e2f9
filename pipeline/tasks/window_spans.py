"""The spans of sampled windows, by the half of a slot that has a part in them.

A window's span goes from the append of the record that closed it (from its close, where none did)
to the commit of its result. In it: ``read`` until the window closed, ``queue STAGE`` and
``encode STAGE``, ``fuse``, ``wait`` until a transaction began that held it, ``commit``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline import clock
from pipeline.batching.dispatch import StageDone
from pipeline.tasks.messages import Opened
from pipeline.tracing import Trace, Tracer, WindowTrace

Window = tuple[int, int]  # lane, number of the window in its lane


class IngestSpans:
    """Of the ingest half: reading and encoding. Times as the monotonic clock has them."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._traced: dict[Window, WindowTrace] = {}

    def closed(
        self, key: Window, stream: str, start_us: int, trace: Trace, append_us: int | None,
        now_us: int,
    ) -> int | None:  # fmt: skip
        """When it closed by the wall clock; None where it is not sampled."""
        found = self._tracer.of(stream, start_us, trace)
        if found is None:
            return None
        self._traced[key] = found
        closed_us = self._tracer.wall_us(now_us)
        if append_us is not None:
            self._tracer.part(found, "read", append_us, closed_us)
        return closed_us

    def settled(self, key: Window, done: StageDone, now_us: int, last: bool) -> None:
        """``last``: all stages of the window are settled."""
        found = self._traced.pop(key, None) if last else self._traced.get(key)
        if found is None:
            return
        tracer, stage, ended_us = self._tracer, done.stage, self._tracer.wall_us(now_us)
        if done.began_us is None:  # it never ran
            tracer.part(found, f"queue {stage}", tracer.wall_us(done.ready_us), ended_us)
            return
        began_us = tracer.wall_us(done.began_us)
        tracer.part(found, f"queue {stage}", tracer.wall_us(done.ready_us), began_us)
        failure = {} if done.result.failure is None else {"failure": done.result.failure}
        tracer.part(found, f"encode {stage}", began_us, ended_us, **failure)


class _Traced(NamedTuple):
    trace: WindowTrace
    opened: Opened


class FusionSpans:
    """Of the fusion half: fusing, committing, and the window as a whole; wall clock.

    Invariant: a window's spans are told with the cut that commits it, once.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._now: dict[int, list[_Traced]] = {}  # by lane, since its last cut
        self._cuts: dict[tuple[int, int], list[_Traced]] = {}  # by lane and cut number
        self._by_window: dict[Window, _Traced] = {}
        self._fused_us: dict[Window, int] = {}
        self._taken_us: dict[int, int] = {}  # by slot, when its transaction began
        self._ready_us = 0

    def opened(self, message: Opened) -> Opened:
        """The message as it goes on: a sampled window's result names the window's span."""
        found = self._tracer.of(message.stream, message.start_us, message.trace)
        if found is None:
            return message
        traced = _Traced(found, message)
        self._now.setdefault(message.lane, []).append(traced)
        self._by_window[message.lane, message.window] = traced
        return message._replace(trace=found.headers())

    def ready(self, windows: Iterable[Opened]) -> None:
        """They are fused from now on, together."""
        if any((window.lane, window.window) in self._by_window for window in windows):
            self._ready_us = clock.wall_us()

    def fused(self, windows: Iterable[Opened]) -> None:
        for window in windows:
            traced = self._by_window.pop((window.lane, window.window), None)
            if traced is not None:
                fused_us = clock.wall_us()
                self._tracer.part(traced.trace, "fuse", self._ready_us, fused_us)
                self._fused_us[window.lane, window.window] = fused_us

    def cut(self, lane: int, number: int) -> None:
        if lane in self._now:
            self._cuts[lane, number] = self._now.pop(lane)

    def taken(self, slot: int) -> None:
        self._taken_us[slot] = clock.wall_us()

    def committed(self, slot: int, numbers: Mapping[int, int], wall_us: int | None) -> None:
        """By lane, the newest cut that the slot's transaction held; ``wall_us`` None: now."""
        wall_us = clock.wall_us() if wall_us is None else wall_us
        done = [k for k in self._cuts if k[0] in numbers and k[1] <= numbers[k[0]]]
        began_us = self._taken_us.pop(slot, wall_us)
        for key in done:
            for trace, opened in self._cuts.pop(key):
                fused_us = self._fused_us.pop((opened.lane, opened.window), began_us)
                if fused_us < began_us:  # windows before it were not done, or a commit was at work
                    self._tracer.part(trace, "wait", fused_us, began_us)
                self._tracer.part(trace, "commit", began_us, wall_us)
                first_us = opened.closed_us if opened.append_us is None else opened.append_us
                assert first_us is not None, "a window that is sampled has been by ingest, too"
                self._tracer.whole(
                    trace, first_us, wall_us, stream=opened.stream, start_us=opened.start_us,
                    lane=opened.lane, slot=slot,
                )  # fmt: skip
