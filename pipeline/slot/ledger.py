"""Which cuts of a slot are complete, and what is produced with them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.lane.record import LaneCut


@dataclass(slots=True)
class Entry:
    """One thing of a lane that must be done before a cut behind it is complete."""

    lane: int
    records: Sequence[Any] = ()  # opaque here, but for their order
    done: bool = False


@dataclass(slots=True)
class Batch:
    """What one transaction holds: by lane its newest complete cut, and all output up to it."""

    cuts: dict[int, LaneCut] = field(default_factory=dict)
    records: list[Any] = field(default_factory=list)


class Ledger:
    """The output of a slot's lanes in lane order, with the cuts between.

    Invariant: a lane's output is taken as a contiguous prefix that ends at a cut, and each
    entry once. A maximum instead of the prefix would commit past a window that is still in
    an encoder; output behind the cut in the same transaction would be sent twice after a crash.
    """

    def __init__(self) -> None:
        self._lanes: defaultdict[int, deque[Entry | LaneCut]] = defaultdict(deque)
        self._touched: set[int] = set()  # lanes where a cut may have become complete

    def add(self, lane: int, records: Sequence[Any] | None = None) -> Entry:
        """A new entry behind all that the lane has; done at once where records are given."""
        entry = Entry(lane) if records is None else Entry(lane, records, done=True)
        self._lanes[lane].append(entry)
        return entry

    def cut(self, lane: int, cut: LaneCut) -> None:
        self._lanes[lane].append(cut)
        self._touched.add(lane)

    def complete(self, entry: Entry, records: Sequence[Any]) -> None:
        """What an entry stands for is done, and this is its output."""
        entry.records = records
        entry.done = True
        self._touched.add(entry.lane)

    def take(self) -> Batch | None:
        """The output up to the newest complete cut of each lane; None where none is complete."""
        batch = Batch()
        for lane in sorted(self._touched):
            self._take_lane(lane, self._lanes[lane], batch)
        self._touched.clear()
        return batch if batch.cuts else None

    @staticmethod
    def _take_lane(lane: int, queue: deque[Entry | LaneCut], batch: Batch) -> None:
        complete = 0
        for place, item in enumerate(queue):
            if isinstance(item, LaneCut):
                complete = place + 1
            elif not item.done:
                break
        for _ in range(complete):
            item = queue.popleft()
            if isinstance(item, LaneCut):
                batch.cuts[lane] = item
            else:
                batch.records += item.records

    @property
    def touched(self) -> bool:
        """Whether ``take`` may find a cut that was not complete the last time."""
        return bool(self._touched)

    @property
    def empty(self) -> bool:
        return not any(self._lanes.values())
