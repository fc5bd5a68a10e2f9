"""Event time of one lane: clocks, the floor, windows, lateness, silence, force and the cut.

The rules are those of contract section 3; the reasons stand in docs/ARCHITECTURE.md. In short:

1. A stream's clock in a gating input is ``max(its greatest end there - B, floor)``.
2. The floor rises to ``min(end, append time) - A`` at every sound record, and never falls.
3. A window of a stream closes when its clock in every gating input has reached its end: when
   ``closed_to = max(floor, least raw clock)`` has.
4. A record belongs to a window that it overlaps where the window ends after the record's bar
   (its stream's clock in its own input before it was applied), and is late for the others.
5. Kept is every record with ``end >= first start not closed for its stream - before``.

Windows have starts ``k * hop``, so all that happens to a stream happens when the index
``(closed_to - size) // hop`` rises. A stream that the floor must wake stands in one heap.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right

from pipeline.lane.kept import NO_END_US, KeptOffsets, KeptRecords
from pipeline.lane.open_indices import OpenIndices
from pipeline.lane.record import Applied, ClosedWindow, Holding, LaneCut, LaneRecord
from pipeline.lane.spec import LaneSpec

_NEVER = -(1 << 62)  # before all event time
_REPLAYED = Applied(closed=[], late=(), clock_us=_NEVER, fused=0)
_NONE_KEPT = KeptRecords()  # where a stream has sent nothing; never added to


class _Stream:
    """One stream: raw clocks by gating input, kept records by input, indices of open windows.

    ``order`` has the indices of open windows, rising. Until what closes its windows reaches
    ``next_us`` none of them closes, and nothing that is kept is dropped. ``wake`` is the index at
    which the floor will look here again, never above the least that is open or to be dropped
    (None: it stands in no heap). There may be a million of these, most of them silent: what one
    holds is memory, and each list of it is time at every full collection of garbage
    (docs/SCALING.md has both).
    """

    __slots__ = ("kept", "name", "next_us", "order", "raw", "wake")

    def __init__(self, name: str, gating: int, inputs: int) -> None:
        self.name = name
        self.raw = [_NEVER] * gating
        self.kept = [_NONE_KEPT] * inputs
        self.order: list[int] = []
        self.next_us = _NEVER
        self.wake: int | None = None


class Lane:
    """The state machine of one lane; it is told records and silence and answers what closed.

    Invariants: the floor and every clock never fall; no window is emitted twice, across any
    number of recoveries; the state after recovery from a cut equals the state at the cut (but
    for bars at or below the closing bound, which decide nothing any more).

    Work a record does not depend on the number of streams, open windows or kept records.
    """

    def __init__(self, spec: LaneSpec, start: LaneCut) -> None:
        self._spec = spec
        self._size = spec.size_us
        self._hop = spec.hop_us
        self._hold = spec.hold_us
        self._names = [rule.name for rule in spec.inputs]
        self._index = {name: i for i, name in enumerate(self._names)}
        gating = [rule for rule in spec.inputs if rule.gating]
        places = {rule.name: g for g, rule in enumerate(gating)}
        self._gate = [places.get(rule.name, -1) for rule in spec.inputs]
        self._bound = [rule.bound_us for rule in spec.inputs]
        self._gating_count = len(gating)
        self._floor = _NEVER if start.floor_us is None else start.floor_us
        self._top = _NEVER if start.top_us is None else start.top_us
        self._number = start.number
        self._streams: dict[str, _Stream] = {}
        self._offsets = [KeptOffsets() for _ in self._names]
        self._wakes: list[tuple[int, int, _Stream]] = []
        self._wake_serial = 0
        self._open = OpenIndices()
        self.kept_bytes = 0
        self.positions = dict(start.froms)
        self._targets = dict(start.positions)
        self._behind = {n for n in self._names if self.positions[n] < self._targets[n]}

    # -- what it answers ------------------------------------------------------------------

    @property
    def floor_us(self) -> int | None:
        return None if self._floor == _NEVER else self._floor

    @property
    def top_us(self) -> int | None:
        return None if self._top == _NEVER else self._top

    @property
    def replaying(self) -> bool:
        """Whether records below the committed position are still to be applied again."""
        return bool(self._behind)

    @property
    def replay_targets(self) -> dict[str, int]:
        """The committed positions that a replay runs up to."""
        return self._targets

    @property
    def open_windows(self) -> int:
        return self._open.total

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    def clock_us(self, stream: str, input: str) -> int | None:
        """The clock of a stream in a gating input; the floor where it has none of its own."""
        state = self._streams.get(stream)
        gate = self._gate[self._index[input]]
        raw = state.raw[gate] if state is not None and gate >= 0 else _NEVER
        clock = max(raw, self._floor)
        return None if clock == _NEVER else clock

    def holding(self) -> Holding | None:
        """Who holds the earliest open window back; None where no window is open.

        Looks at streams that the floor wakes for that window, and at no others.
        """
        if not self._open.total:
            return None
        k = self._open.least()
        stream = self._holder(k)
        end_us = k * self._hop + self._size
        behind = sorted((raw, g) for g, raw in enumerate(stream.raw) if raw < end_us)
        newest: dict[str, int | None] = {}
        for raw, gate in behind:
            index = self._gate.index(gate)
            newest[self._names[index]] = None if raw == _NEVER else raw + self._bound[index]
        return Holding(stream.name, end_us - self._size, end_us, newest, end_us - self._floor)

    def cut(self) -> LaneCut:
        """What recovery needs to come back to this very state; its size is that of the inputs."""
        self._number += 1
        froms = {}
        for name, offsets in zip(self._names, self._offsets, strict=True):
            least = offsets.least()
            froms[name] = self.positions[name] if least is None else least
        return LaneCut(self._number, dict(self.positions), froms, self.floor_us, self.top_us)

    # -- what it is told ------------------------------------------------------------------

    def apply(self, record: LaneRecord) -> Applied:
        """Applies the next record of an input; offsets below its position are refused."""
        replaying = bool(self._behind)
        self._advance(record.input, record.offset, record.offset + 1)
        if record.stream is None:
            return _REPLAYED
        index = self._index[record.input]
        stream = self._streams.get(record.stream)
        if stream is None:
            stream = _Stream(record.stream, self._gating_count, len(self._names))
            self._streams[record.stream] = stream
        gate = self._gate[index]
        own = stream.raw[gate] if gate >= 0 else min(stream.raw)
        bar = own if own > self._floor else self._floor
        record.bar_us = bar

        hop = self._hop
        first = (record.ts_us - self._size) // hop + 1
        last = (record.end_us - 1) // hop
        missed = min(last, (bar - self._size) // hop)
        opened = max(first, missed + 1)
        order = stream.order
        for k in range(opened, last + 1):
            if not order or k > order[-1]:
                order.append(k)
            elif order[at := bisect_left(order, k)] != k:
                order.insert(at, k)
            else:
                continue
            self._open.add(k)
        self.kept_bytes += record.size_bytes
        self._offsets[index].keep(record)
        kept = stream.kept[index]
        if kept is _NONE_KEPT:
            kept = stream.kept[index] = KeptRecords()
        kept.add(record)
        wake = opened if opened <= last else (record.end_us + self._spec.before_us) // hop
        if stream.wake is None or wake < stream.wake:
            self._wake_at(stream, wake)
        if gate >= 0 and record.end_us - self._bound[index] > stream.raw[gate]:
            stream.raw[gate] = record.end_us - self._bound[index]

        closed: list[ClosedWindow] = []
        floor = min(record.end_us, record.append_us) - self._hold
        if floor > self._floor:
            self._raise_floor(floor, closed)
        next_us = stream.next_us
        if (
            min(stream.raw) >= next_us
            or self._floor >= next_us
            or record.end_us < next_us - self._size - self._spec.before_us  # too late to be kept
        ):
            self._settle(stream, closed)
        forced = 0
        if replaying:
            return _REPLAYED
        if self.kept_bytes > self._spec.open_bytes:
            forced = self._force(closed)
        if closed:
            self._emit(closed)
        late = tuple(k * hop for k in range(first, missed + 1)) if missed >= first else ()
        return Applied(closed, late, bar, last - opened + 1, forced)

    def skip_to(self, input: str, position: int) -> None:
        """Passes offsets that hold no record (transaction markers, compaction)."""
        if position > self.positions[input]:
            self._advance(input, self.positions[input], position)

    def silence(self, elapsed_us: int) -> list[ClosedWindow]:
        """Every input is caught up and ``elapsed_us`` passed since the last record or rise.

        The lane's newest record counts as at least ``floor + A``, and every record has raised
        the floor to within A of itself: so the floor rises by what elapsed, never above the
        largest end of the windows that are open.
        """
        return self._rise(self._floor + elapsed_us)

    def finish(self) -> list[ClosedWindow]:
        """Closes every open window (``--until-end``): the floor rises to their largest end."""
        return self._rise(1 << 62)

    # -- how -------------------------------------------------------------------------------

    def _advance(self, input: str, offset: int, position: int) -> None:
        if offset < self.positions[input]:
            raise ValueError(f"{input}: offset {offset} is below position {self.positions[input]}")
        self.positions[input] = position
        if self._behind and position >= self._targets[input]:
            self._behind.discard(input)

    def _wake_at(self, stream: _Stream, k: int) -> None:
        stream.wake = k
        self._wake_serial += 1
        heapq.heappush(self._wakes, (k, self._wake_serial, stream))

    def _holder(self, k: int) -> _Stream:
        """A stream whose earliest open window is k, the earliest of all.

        Its wake is not above k, and in a heap all such stand together at the top.
        """
        wakes, places = self._wakes, [0]
        while True:
            place = places.pop()
            if place < len(wakes) and wakes[place][0] <= k:
                stream = wakes[place][2]
                if stream.order[:1] == [k]:
                    return stream
                places += (2 * place + 2, 2 * place + 1)

    def _rise(self, floor_us: int) -> list[ClosedWindow]:
        closed: list[ClosedWindow] = []
        if self._open.total and not self._behind:
            limit = self._open.greatest() * self._hop + self._size
            self._raise_floor(min(floor_us, limit), closed)
        self._emit(closed)
        return closed

    def _emit(self, closed: list[ClosedWindow]) -> None:
        """Orders what closed. Only what is emitted counts for ``top``: never what a replay closes.

        In another interleaving a replay may fuse a record that does not gate into a window that
        it had been late for, and close a window that was never there.
        """
        if len(closed) > 1:
            closed.sort(key=_start_and_stream)
        if closed and closed[-1].end_us > self._top:
            self._top = closed[-1].end_us

    def _force(self, closed: list[ClosedWindow]) -> int:
        rises = 0
        while self.kept_bytes > self._spec.open_bytes and self._open.total:
            self._raise_floor(self._open.least() * self._hop + self._size, closed)
            rises += 1
        return rises

    def _raise_floor(self, floor_us: int, closed: list[ClosedWindow]) -> None:
        if floor_us <= self._floor:
            return
        self._floor = floor_us
        k = (floor_us - self._size) // self._hop
        wakes = self._wakes
        while wakes and wakes[0][0] <= k:
            at, _, stream = heapq.heappop(wakes)
            if stream.wake == at:  # otherwise it was woken for something earlier already
                stream.wake = None
                self._settle(stream, closed)

    def _settle(self, stream: _Stream, closed: list[ClosedWindow]) -> None:
        """Closes and drops what the stream's clocks have passed; forgets a stream without rest."""
        closed_to = min(stream.raw)
        if closed_to < self._floor:
            closed_to = self._floor
        k = (closed_to - self._size) // self._hop
        order = stream.order
        if order and order[0] <= k:
            passed = order[: bisect_right(order, k)]
            del order[: len(passed)]
            closed += [self._close(stream, index) for index in passed]
        self._drop(stream, (k + 1) * self._hop - self._spec.before_us)
        stream.next_us = (k + 1) * self._hop + self._size
        if stream.wake is None:
            self._rest(stream)

    def _close(self, stream: _Stream, k: int) -> ClosedWindow:
        start = k * self._hop
        end = start + self._size
        low, high = start - self._spec.before_us, end + self._spec.after_us
        content = {}
        present = []
        for name, kept in zip(self._names, stream.kept, strict=True):
            if kept.first_end_us == NO_END_US:
                continue
            records = kept.overlapping(low, high, end)
            if records:
                content[name] = records
            for record in records:
                if record.end_us > start and record.ts_us < end:
                    present.append(name)
                    break
        present.sort()
        self._open.remove(k)
        return ClosedWindow(stream.name, start, end, content, tuple(present))

    def _drop(self, stream: _Stream, before_us: int) -> None:
        for kept, offsets in zip(stream.kept, self._offsets, strict=True):
            if kept.first_end_us < before_us:
                dropped = kept.drop_before(before_us)
                offsets.drop(dropped)
                for record in dropped:
                    self.kept_bytes -= record.size_bytes

    def _rest(self, stream: _Stream) -> None:
        """Asks to be woken for the stream's next event, or forgets the stream.

        Nothing is lost with it: the record that gave a clock is kept while that clock is
        above the floor (its end >= clock >= closed_to), so all its clocks are the floor.
        """
        nexts = stream.order[:1]
        nexts += [
            (kept.first_end_us + self._spec.before_us) // self._hop
            for kept in stream.kept
            if kept.first_end_us != NO_END_US
        ]
        if nexts:
            self._wake_at(stream, min(nexts))
        else:
            self._streams.pop(stream.name, None)


def _start_and_stream(window: ClosedWindow) -> tuple[int, str]:
    return window.start_us, window.stream
