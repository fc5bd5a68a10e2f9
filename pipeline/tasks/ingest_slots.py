"""The slots that an ingest owner has now: lanes, budgets and messages that come and go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.lane import LaneCut
from pipeline.slot.budget import Budget
from pipeline.tasks.lane_feed import LaneFeed
from pipeline.tasks.messages import Cut, Deliveries
from pipeline.tasks.tally import Tally

# A broker forgets positions that nobody commits again (offsets.retention.minutes, Kafka's own 7
# days; transactional ids likewise), so a lane without records commits what it has.
RENEWED_US = 6 * 3_600_000_000


@dataclass(slots=True)
class LaneState:
    """``leaving``: it applies nothing more. ``cut``: the newest that it made (None: none yet).

    ``cut_us``: when that was; where there is none, when it was first asked for one.
    """

    slot: int
    feed: LaneFeed
    tally: Tally = field(default_factory=Tally)
    windows: int = 0
    leaving: bool = False
    cut: int | None = None
    cut_us: int | None = None

    def has_cut(self, now_us: int) -> bool:
        """Whether a cut is to be made: something has changed, or what is committed grows old."""
        if self.cut_us is None:
            self.cut_us = now_us
        is_old = now_us - self.cut_us >= RENEWED_US and not self.feed.lane.replaying
        return self.feed.changed or is_old

    def make_cut(self, lane: int, now_us: int) -> Cut:
        self.cut_us = now_us
        made = self.feed.lane.cut()
        self.feed.changed = False
        self.cut = made.number
        last = self.leaving or self.feed.finished
        message = Cut(lane, made, self.tally.counts(), last)
        self.tally = Tally()
        return message


class IngestSlots:
    """By lane and by slot, what an ingest owner holds.

    Invariants: a lane is here once, and its slot's budget and messages with it; a slot that leaves
    applies no record from the moment that it was told to, and is let go only when all that it has
    closed is settled, cut and handed on.
    """

    def __init__(self, budget_bytes: int, feed: Callable[[int, LaneCut], LaneFeed]) -> None:
        """``feed`` makes a lane's, from the cut that it goes on from."""
        self._budget_bytes = budget_bytes
        self._feed = feed
        self.lanes: dict[int, LaneState] = {}
        self.budgets: dict[int, Budget] = {}
        self.deliveries: Deliveries = {}

    def take(self, slot: int, cuts: Mapping[int, LaneCut]) -> None:
        """By lane of the slot, the claimed cut."""
        if slot in self.budgets:
            raise ValueError(f"slot {slot} is here already")
        self.budgets[slot] = Budget(self._budget_bytes)
        self.deliveries[slot] = []
        for lane, cut in cuts.items():
            self.lanes[lane] = LaneState(slot, self._feed(lane, cut))

    def of(self, slot: int) -> dict[int, LaneState]:
        return {lane: state for lane, state in self.lanes.items() if state.slot == slot}

    def leave(self, slot: int) -> list[int]:
        """Its lanes apply nothing more from now on; these.

        Each makes one more cut, the last: it is committed without waiting for the interval.
        """
        lanes = self.of(slot)
        for state in lanes.values():
            state.leaving = True
            state.feed.changed |= not state.feed.lane.replaying  # amid a replay there is no cut
        return list(lanes)

    @property
    def leaving(self) -> set[int]:
        return {state.slot for state in self.lanes.values() if state.leaving}

    def let_go(self, slot: int) -> dict[int, int]:
        """The slot is here no more; by lane the last cut that it made, where it made one."""
        del self.budgets[slot], self.deliveries[slot]
        cuts = {}
        for lane, state in self.of(slot).items():
            del self.lanes[lane]
            if state.cut is not None:
                cuts[lane] = state.cut
        return cuts
