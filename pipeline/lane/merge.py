"""The order in which a lane applies the records of its inputs (contract section 3, Order)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.lane.record import LaneRecord
from pipeline.lane.spec import LaneSpec

FRESH_US = 100_000  # how old a stable end may be and still say "caught up": one poll interval
# One that was under way for longer (a frozen process has woken) tells nothing of now.
ANSWER_US_MAX = 5_000_000
# The place of an unsound record: it moves no clock and belongs to no time, and must not hold its
# input back. By its append time it would, in a backfill, let the others run ahead to their end.
_AT_ONCE = -(1 << 62)


class Waiting(NamedTuple):
    """The lane waits for ``input``: it is behind, or its end is unknown or too old.

    ``ask`` says that only a new stable end can tell. ``deadline_us`` is when an input that
    does not gate is waited for no longer; None where it is waited for as long as it takes.
    """

    input: str
    ask: bool
    since_us: int
    deadline_us: int | None


class _Head:
    """One input: what is fetched and not applied, and what is known of its end."""

    __slots__ = (
        "buffer",
        "end",
        "end_at_us",
        "gating",
        "name",
        "position",
        "took_us",
        "waited_since_us",
    )

    def __init__(self, name: str, gating: bool, position: int) -> None:
        self.name = name
        self.gating = gating
        self.position = position  # next offset to be fetched
        self.buffer: deque[tuple[int, LaneRecord]] = deque()
        self.end: int | None = None
        self.end_at_us = 0
        self.took_us = 0  # how long the answer with the end was under way
        self.waited_since_us: int | None = None


class Merge:
    """Merges the heads of a lane's inputs, each partition in log order.

    Invariant: a record is handed out only when every input has a head or is caught up (its
    stable end, no older than ``fresh_us``, is not past what was applied), but for inputs that
    do not gate and were waited for ``align_wait``. So neither fetch sizes nor polls show.

    With ``fresh_us=None`` the ends that are given hold for ever (``--until-end``): records at
    or past them are ignored.
    """

    def __init__(
        self, spec: LaneSpec, positions: Mapping[str, int], fresh_us: int | None = FRESH_US
    ) -> None:
        self._heads = {
            rule.name: _Head(rule.name, rule.gating, positions[rule.name]) for rule in spec.inputs
        }
        # Ties: those that do not gate first, then by name; min() keeps the first of equals.
        self._order = sorted(self._heads.values(), key=lambda head: (head.gating, head.name))
        self._fresh_us = fresh_us
        self._align_wait_us = spec.align_wait_us
        self.align_waits_total = 0

    def add(self, input: str, records: Iterable[LaneRecord], position: int) -> None:
        """Takes one fetch: records in log order, and the position after it."""
        head = self._heads[input]
        head.position = max(head.position, position)
        limit = head.end if self._fresh_us is None else None
        for record in records:
            if limit is not None and record.offset >= limit:
                break
            if record.stream is None:
                key = _AT_ONCE
            else:
                key = record.end_us if head.gating else record.ts_us
                if record.append_us < key:
                    key = record.append_us
            head.buffer.append((key, record))

    def ends(self, input: str, stable_end: int, now_us: int, asked_us: int | None = None) -> None:
        """Tells the input's stable end as the broker gave it at ``now_us``.

        ``asked_us``: when it was asked for (None: now); the end may be as old as that.
        """
        head = self._heads[input]
        head.took_us = 0 if asked_us is None else now_us - asked_us
        if self._fresh_us is None:
            head.end = stable_end
        else:
            head.end = max(stable_end, head.end or 0)
        head.end_at_us = now_us - (head.took_us if head.took_us > ANSWER_US_MAX else 0)

    def position(self, input: str) -> int:
        """The first offset that is neither handed out nor known to hold no record."""
        head = self._heads[input]
        position = head.buffer[0][1].offset if head.buffer else head.position
        if self._fresh_us is None and head.end is not None:
            return min(position, head.end)
        return position

    def end(self, input: str) -> int | None:
        """The stable end as it was told last; None before."""
        return self._heads[input].end

    def buffered(self, input: str) -> int:
        return len(self._heads[input].buffer)

    def caught_up(self, now_us: int) -> bool:
        """Whether every input is known to hold nothing that was not handed out."""
        return all(not h.buffer and self._standing(h, now_us) is None for h in self._order)

    def known_us(self, now_us: int) -> int:
        """Up to when it is known that it was caught up: answers were under way since then."""
        return now_us - max(head.took_us for head in self._order)

    def unknown(self, now_us: int) -> list[str]:
        """Empty inputs of which only a new stable end can tell whether they are caught up."""
        return [h.name for h in self._order if not h.buffer and self._standing(h, now_us)]

    def next(self, now_us: int) -> LaneRecord | Waiting | None:
        """The next record in order; what the lane must wait for; None where nothing is fetched."""
        best: _Head | None = None
        best_key = 0
        empty = []
        for head in self._order:
            if head.buffer:
                key = head.buffer[0][0]
                if best is None or key < best_key:
                    best, best_key = head, key
            else:
                empty.append(head)
        if best is None:
            return None
        for head in empty:
            waiting = self._wait(head, now_us)
            if waiting is not None:
                return waiting
        best.waited_since_us = None
        return best.buffer.popleft()[1]

    def _standing(self, head: _Head, now_us: int) -> bool | None:
        """None: caught up; False: behind; True: only a new stable end can tell."""
        if head.end is None:
            return True
        if head.position < head.end:
            return False
        if self._fresh_us is not None and now_us - head.end_at_us > self._fresh_us:
            return True
        return None

    def _wait(self, head: _Head, now_us: int) -> Waiting | None:
        ask = self._standing(head, now_us)
        if ask is None:
            head.waited_since_us = None
            return None
        if head.waited_since_us is None:
            head.waited_since_us = now_us
        since = head.waited_since_us
        if head.gating:
            return Waiting(head.name, ask, since, None)
        deadline = since + self._align_wait_us
        if now_us < deadline:
            return Waiting(head.name, ask, since, deadline)
        self.align_waits_total += 1
        return None
