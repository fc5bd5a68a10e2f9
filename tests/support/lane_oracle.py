"""The event-time rules of the contract (section 3, Lane), written down as naively as possible.

Nothing is incremental and nothing is ever forgotten: every question is answered by going
through the whole history again. It knows no recovery either, since a crash must not show:
what a lane says after any number of crashes is what the oracle says without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.lane.record import Applied, ClosedWindow, LaneRecord
from pipeline.lane.spec import LaneSpec

NEVER = -(10**30)
"""Before every time: the floor of a lane that has seen no record."""


class Rec(NamedTuple):
    """A record of a log, as a value; ``stream`` is None where it is unsound."""

    input: str
    offset: int
    append_us: int
    stream: str | None
    ts_us: int
    end_us: int
    size_bytes: int

    def fresh(self) -> LaneRecord:
        """The lane marks the records that it is given, so every run gets its own."""
        return LaneRecord(*self)


class Window(NamedTuple):
    """An emitted window: for each input with content, the offsets in log order."""

    start_us: int
    stream: str
    end_us: int
    content: tuple[tuple[str, tuple[int, ...]], ...]
    present: tuple[str, ...]


class Step(NamedTuple):
    """What one step of a lane gave; ``missed_by_us`` is the clock where something was late."""

    closed: tuple[Window, ...]
    late: tuple[int, ...] = ()
    missed_by_us: int | None = None
    fused: int = 0
    forced: int = 0


def seen_window(window: ClosedWindow) -> Window:
    content = tuple(
        (name, tuple(record.offset for record in window.content[name]))
        for name in sorted(window.content)
        if window.content[name]
    )
    return Window(window.start_us, window.stream, window.end_us, content, window.present)


def seen(applied: Applied) -> Step:
    """A lane's answer as a value that can be compared."""
    return Step(
        tuple(seen_window(window) for window in applied.closed),
        applied.late,
        applied.clock_us if applied.late else None,
        applied.fused,
        applied.forced,
    )


def windows_over(spec: LaneSpec, from_us: int, to_us: int) -> list[int]:
    """Starts of the windows ``[k*hop, k*hop + size)`` that overlap ``[from_us, to_us)``."""
    first = (from_us - spec.size_us) // spec.hop_us
    last = to_us // spec.hop_us
    starts = [k * spec.hop_us for k in range(first, last + 1)]
    return [s for s in starts if s < to_us and s + spec.size_us > from_us]


@dataclass(frozen=True)
class Arrival:
    record: Rec
    bar_us: int  # the clock that had been reached before the record arrived


class Oracle:
    """One lane. Times before the first record are ``NEVER``."""

    def __init__(self, spec: LaneSpec, positions: dict[str, int]) -> None:
        self.spec = spec
        self.positions = dict(positions)
        self.history: list[Arrival] = []
        self.emitted: set[tuple[str, int]] = set()
        self.floor_us = NEVER
        self.top_us = NEVER
        self.gating = [rule for rule in spec.inputs if rule.gating]
        self.hold_us = max(rule.bound_us for rule in self.gating) + spec.idle_us

    # -- the clocks

    def clock(self, stream: str, name: str) -> int:
        """``max(its greatest end there - B, floor)`` of a stream in a gating input."""
        bound_us = next(rule.bound_us for rule in self.gating if rule.name == name)
        mine = [a.record for a in self.history if a.record.stream == stream]
        ends = [record.end_us for record in mine if record.input == name]
        return max([end - bound_us for end in ends] + [self.floor_us])

    def closing_bound(self, stream: str) -> int:
        return min(self.clock(stream, rule.name) for rule in self.gating)

    def bar(self, stream: str, name: str) -> int:
        """The clock that decides whether a record of this stream and input is late."""
        if any(rule.name == name for rule in self.gating):
            return self.clock(stream, name)
        return self.closing_bound(stream)

    # -- the windows

    def streams(self) -> list[str]:
        return sorted({str(a.record.stream) for a in self.history})

    def open_windows(self) -> set[tuple[str, int]]:
        """What a record in time opened by overlapping it, and what has not closed yet."""
        opened = {
            (str(a.record.stream), start)
            for a in self.history
            for start in windows_over(self.spec, a.record.ts_us, a.record.end_us)
            if a.bar_us < start + self.spec.size_us
        }
        return opened - self.emitted

    def window(self, stream: str, start_us: int) -> Window:
        end_us = start_us + self.spec.size_us
        mine = [a for a in self.history if a.record.stream == stream and a.bar_us < end_us]
        content = []
        present = []
        for rule in sorted(self.spec.inputs, key=lambda rule: rule.name):
            around = sorted(
                a.record.offset
                for a in mine
                if a.record.input == rule.name
                and a.record.ts_us < end_us + self.spec.after_us
                and a.record.end_us > start_us - self.spec.before_us
            )
            if around:
                content.append((rule.name, tuple(around)))
            if any(
                a.record.input == rule.name
                and a.record.ts_us < end_us
                and a.record.end_us > start_us
                for a in mine
            ):
                present.append(rule.name)
        return Window(start_us, stream, end_us, tuple(content), tuple(present))

    def close(self) -> list[Window]:
        closed = [
            self.window(stream, start)
            for stream, start in self.open_windows()
            if self.closing_bound(stream) >= start + self.spec.size_us
        ]
        self.emitted |= {(window.stream, window.start_us) for window in closed}
        self.top_us = max([window.end_us for window in closed] + [self.top_us])
        return sorted(closed)

    def raise_floor(self, to_us: int) -> list[Window]:
        self.floor_us = max(self.floor_us, to_us)
        return self.close()

    def open_ends(self) -> list[int]:
        return [start + self.spec.size_us for _, start in self.open_windows()]

    # -- what happens to a lane

    def apply(self, record: Rec) -> Step:
        self.positions[record.input] = record.offset + 1
        if record.stream is None:
            return Step(())
        bar_us = self.bar(record.stream, record.input)
        starts = windows_over(self.spec, record.ts_us, record.end_us)
        late = tuple(start for start in starts if bar_us >= start + self.spec.size_us)
        self.history.append(Arrival(record, bar_us))
        closed = self.raise_floor(min(record.end_us, record.append_us) - self.hold_us)
        forced = 0
        while self.kept_bytes > self.spec.open_bytes and self.open_windows():
            closed += self.raise_floor(min(self.open_ends()))
            forced += 1
        missed_by_us = bar_us if late else None
        return Step(tuple(sorted(closed)), late, missed_by_us, len(starts) - len(late), forced)

    def silence(self, elapsed_us: int) -> Step:
        """The floor rises as if the newest record were newer, at most to the largest open end."""
        if not self.open_windows():
            return Step(())
        records = [a.record for a in self.history]
        newest_us = max(min(record.end_us, record.append_us) for record in records)
        newest_us = max(newest_us, self.floor_us + self.hold_us)
        risen_us = newest_us + elapsed_us - self.hold_us
        return Step(tuple(self.raise_floor(min(risen_us, max(self.open_ends())))))

    def finish(self) -> Step:
        if not self.open_windows():
            return Step(())
        return Step(tuple(self.raise_floor(max(self.open_ends()))))

    # -- what is kept (design section 4)

    def kept(self) -> list[Rec]:
        """Records with ``end >= (first start that is not closed for their stream) - before``."""
        records = [a.record for a in self.history]
        firsts = {s: self.first_start(self.closing_bound(s)) for s in self.streams()}
        return [r for r in records if r.end_us >= firsts[str(r.stream)] - self.spec.before_us]

    def first_start(self, bound_us: int) -> int:
        """The first window start that a clock there has not closed."""
        start = (bound_us - self.spec.size_us) // self.spec.hop_us * self.spec.hop_us
        while start + self.spec.size_us <= bound_us:
            start += self.spec.hop_us
        return start

    def kept_streams(self) -> set[str]:
        return {str(record.stream) for record in self.kept()}

    def live_streams(self) -> set[str]:
        """Streams with a record that the floor has not passed: more need not be remembered."""
        first_us = self.first_start(self.floor_us) - self.spec.before_us
        return {str(a.record.stream) for a in self.history if a.record.end_us >= first_us}

    @property
    def kept_bytes(self) -> int:
        return sum(record.size_bytes for record in self.kept())

    def froms(self) -> dict[str, int]:
        """The least offset that has to be read again of each input, else its position."""
        return {
            name: min([r.offset for r in self.kept() if r.input == name] + [position])
            for name, position in self.positions.items()
        }
