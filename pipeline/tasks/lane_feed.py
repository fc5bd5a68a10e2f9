"""One lane between its fetches and its state machine: replay first, then the order of inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.lane import Applied, ClosedWindow, Lane, LaneCut, LaneRecord, LaneSpec, Merge, Waiting
from pipeline.lane.merge import FRESH_US

Apply = Callable[[LaneRecord, Applied], None]


class LaneFeed:
    """Feeds a lane: what is below the committed position is replayed as it comes, silently.

    Invariant: no record at or past a committed position is applied before every input has
    been replayed up to its own; after that all records pass through the merge.
    """

    def __init__(self, spec: LaneSpec, start: LaneCut, ends: dict[str, int] | None) -> None:
        """``ends`` by input stand for the log's own ends, for ever (``--until-end``)."""
        self.lane = Lane(spec, start)
        self.merge = Merge(spec, start.positions, FRESH_US if ends is None else None)
        self.names = [rule.name for rule in spec.inputs]
        self._until = ends is not None
        for name, end in (ends or {}).items():
            self.merge.ends(name, end, 0)
        self.changed = False  # since the last cut
        self.finished = False
        self.waits: Waiting | None = None  # what the last step had to wait for
        self.quiet_since_us: int | None = None

    def add(self, input: str, records: Sequence[LaneRecord], position: int) -> int:
        """Takes one fetch of an input; how many of it were replayed."""
        lane = self.lane
        if not lane.replaying:
            self.merge.add(input, records, position)
            return 0
        target = lane.replay_targets[input]
        replayed = 0
        for record in records:
            if record.offset >= target:
                break
            replayed += 1
            lane.apply(record)
        lane.skip_to(input, min(position, target))
        self.merge.add(input, records[replayed:], position)
        return replayed

    def step(self, now_us: int) -> tuple[LaneRecord, Applied] | Waiting | None:
        """Applies the next record in order, if the lane need not wait."""
        if self.lane.replaying:
            return None
        record = self.merge.next(now_us)
        self.waits = record if isinstance(record, Waiting) else None
        if not isinstance(record, LaneRecord):
            return record
        self.changed = True
        self.quiet_since_us = now_us
        return record, self.lane.apply(record)

    def pass_gaps(self) -> None:
        """Moves positions past offsets that hold no record."""
        if self.lane.replaying:
            return
        for name in self.names:
            position = self.merge.position(name)
            if position > self.lane.positions[name]:
                self.lane.skip_to(name, position)
                self.changed = True

    def silence(self, now_us: int) -> list[ClosedWindow]:
        """Lets the floor rise by the time that passed in silence; live runs only.

        The time that the answers with the ends were under way does not count: what came meanwhile
        is not known yet, and must not be late for that.
        """
        lane = self.lane
        if lane.replaying or self._until or not lane.open_windows:
            return []
        if self.quiet_since_us is None:
            self.quiet_since_us = now_us
        if not self.merge.caught_up(now_us):
            return []
        known_us = self.merge.known_us(now_us)
        if known_us <= self.quiet_since_us:
            return []
        closed = lane.silence(known_us - self.quiet_since_us)
        self.quiet_since_us = known_us
        self.changed |= bool(closed)
        return closed

    def finish(self, ends: dict[str, int]) -> list[ClosedWindow] | None:
        """Closes what is open once everything up to ``ends`` was applied; None before that."""
        if self.finished or self.lane.replaying:
            return None
        if any(self.lane.positions[name] < end for name, end in ends.items()):
            return None
        self.finished = True
        self.changed = True
        return self.lane.finish()

    @property
    def replay_left(self) -> int:
        """Offsets that a recovery has still to read again."""
        lane = self.lane
        if not lane.replaying:
            return 0
        left = (end - lane.positions[name] for name, end in lane.replay_targets.items())
        return sum(max(0, each) for each in left)

    def asks(self, now_us: int) -> list[str]:
        """Inputs whose stable end must be known anew for the lane to go on."""
        if self._until or self.lane.replaying:
            return []
        if not self.lane.open_windows and not any(map(self.merge.buffered, self.names)):
            return []
        return self.merge.unknown(now_us)

    def ahead(self) -> list[str]:
        """Inputs that hold fetched records already: they are paused, at one fetch each."""
        return [name for name in self.names if self.merge.buffered(name)]
