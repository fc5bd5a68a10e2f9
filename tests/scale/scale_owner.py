"""An owner in the simulation: its ingest half, its fusion half, and what arrives for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from scale_engine import Process
from scale_parts import Cut, Replica, Slot, together
from scale_queue import CountQueue, Group

if TYPE_CHECKING:
    from scale_model import World

TICK_US = 10_000  # arrivals are told apart by so much
POLL_IDLE_US = 20_000
FETCH_WALL_US = 1_000
POLL_RECORDS = 256  # the most that one poll gives (pipeline/connectors/kafka/clients.py)
GATHER_SHARE, GATHER_SHARE_BACKLOG = 0.1, 0.4  # as in pipeline/tasks/ingest_runner.py
BURST_SHARE, BURST_US = 0.1, 500_000
WINDOW_BYTES = 2_048  # as in pipeline/slot/budget.py


class Arrivals:
    """What lies in the log for an owner and is not fetched: windows by the time they came.

    Counts are Poisson about a rate that is ``burst`` times the mean in some half seconds.
    """

    def __init__(self, world: World, number: int, share: float) -> None:
        setup = world.setup
        self._rng = np.random.default_rng((setup.seed, number))
        self._rate = setup.rate * share / 1e6  # a microsecond
        self._burst = setup.burst
        self._low = (1 - BURST_SHARE * setup.burst) / (1 - BURST_SHARE)
        self._until_us = 0
        self._phase_us = 0
        self._now = self._low
        self.arrived = 0
        self.waiting: deque[tuple[int, int]] = deque()
        if not setup.rate:
            self.arrived = round(setup.windows * share)
            self.waiting.append((0, self.arrived))

    def take(self, now_us: int, most: int) -> list[tuple[int, int]]:
        """The oldest, up to ``most`` windows, by the time that they came."""
        self._extend(now_us)
        taken = []
        while self.waiting and most:
            came_us, windows = self.waiting[0]
            part = min(windows, most)
            most -= part
            taken.append((came_us, part))
            if part == windows:
                self.waiting.popleft()
            else:
                self.waiting[0] = came_us, windows - part
        return taken

    def put_back(self, groups: list[tuple[int, int]]) -> None:
        """What was fetched and never committed is read again."""
        self.waiting.extendleft(reversed(groups))

    def _extend(self, now_us: int) -> None:
        if not self._rate:
            return
        while self._until_us + TICK_US <= now_us:
            if self._until_us >= self._phase_us:
                self._phase_us += BURST_US
                bursts = self._rng.random() < BURST_SHARE
                self._now = self._burst if bursts else self._low
            windows = int(self._rng.poisson(self._rate * self._now * TICK_US))
            if windows:
                self.arrived += windows
                self.waiting.append((self._until_us + TICK_US // 2, windows))
            self._until_us += TICK_US


class Owner:
    """Both halves of some slots.

    Invariant: every window that arrived is in exactly one of: the log, on its way (``on_way``), or
    the count of those that are committed. ``die`` gives what was on its way back to the log.
    """

    def __init__(self, world: World, number: int, node: int, slots: list[Slot]) -> None:
        self.world = world
        self.number = number
        self.slots = slots
        self.lanes = sum(slot.lanes for slot in slots)
        self.committed = 0
        self.on_way = 0  # fetched, and not committed
        self.died_us: int | None = None  # until it has caught up
        self.arrivals = Arrivals(world, number, len(slots) / world.setup.slots)
        self.in_flight = 0
        self.limit = (
            len(slots) * world.setup.in_flight_bytes // (world.costs.window_bytes + WINDOW_BYTES)
        )
        self.settle(node)

    def settle(self, node: int) -> None:
        """Begins, or begins anew, on a node."""
        world, setup = self.world, self.world.setup
        self.node = node
        self.ended = False
        cores = world.nodes[node]
        self.ingest = Process(world.engine, f"ingest-{self.number}", cores)
        one = setup.one_process
        self.fusion = self.ingest if one else Process(world.engine, f"fusion-{self.number}", cores)
        self.queue = CountQueue(setup.batch_max, setup.call_batches, world.order(self))
        self._inbox: list[tuple[Replica, int, list[Group]]] = []
        self._fetched: list[tuple[int, int]] = []
        self._settled: dict[Cut, int] = {}
        self._fetching = False
        self._awake = False
        self._out = 0
        self._delivered_us = -(10**9)
        self._wake()

    def die(self) -> None:
        """With its node: nothing of it goes on, and what was not committed lies in the log."""
        self.ended = self.ingest.ended = self.fusion.ended = True
        self.died_us = self.world.engine.now_us
        open_cuts = [cut for slot in self.slots for cut in (*slot.taken, *slot.cuts)]
        self._put_back([(cut.closed_us, cut.windows) for cut in open_cuts] + self._fetched)
        self._fetched = []
        self.in_flight = 0
        for slot in self.slots:
            slot.cuts.clear()
            slot.taken = []
            slot.committing = False

    def _put_back(self, groups: list[tuple[int, int]]) -> None:
        self.on_way -= sum(windows for _, windows in groups)
        self.arrivals.put_back(sorted(groups))

    # -- ingest ---------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._awake and not self.ended:
            self._awake = True
            self._round()

    def _round(self) -> None:
        """Replies and a fetch are taken; what they cost is worked off before what they bring."""
        costs = self.world.costs
        replies, self._inbox = self._inbox, []
        fetched, self._fetched = self._fetched, []
        took_us = costs.lane_round * self.lanes + costs.poll
        took_us += sum(costs.batch / 2 + costs.result * windows for _, windows, _ in replies)
        took_us += costs.record * sum(windows for _, windows in fetched)
        self.ingest.work(took_us, self._rounded, replies, fetched)

    def _rounded(
        self, replies: list[tuple[Replica, int, list[Group]]], fetched: list[tuple[int, int]]
    ) -> None:
        for replica, windows, groups in replies:
            self.queue.returned(replica.number, windows)
            self._out -= 1
            for cut, part in together(groups).items():
                self._settled[cut] = self._settled.get(cut, 0) + part
        for came_us, windows in fetched:
            self._close(came_us, windows)
        while (found := self.queue.next_batch()) is not None:
            self._send(*found)
        self._deliver()
        self._fetch()
        if self._inbox or self._fetched:
            self._round()
        else:
            self._awake = False

    def _close(self, came_us: int, windows: int) -> None:
        """Windows of one moment, a part in each slot."""
        self.in_flight += windows
        each, more = divmod(windows, len(self.slots))
        for place, slot in enumerate(self.slots):
            part = each + (place < more)
            if part:
                cut = Cut(came_us, part)
                slot.cuts.append(cut)
                self.queue.put(cut, part)

    def _fetch(self) -> None:
        if self._fetching or self.queue.backlogged or self.in_flight >= self.limit:
            return
        world = self.world
        taken = self.arrivals.take(world.engine.now_us, POLL_RECORDS)
        self._fetching = True
        if not taken:
            world.engine.after(TICK_US // 2, self._came, [], self.ingest)
            return
        windows = sum(part for _, part in taken)
        self.on_way += windows
        here_us = world.network_in(self.node, windows)
        world.kafka.fetch(
            self.number,
            windows,
            lambda: world.engine.at(
                max(here_us, world.engine.now_us + FETCH_WALL_US), self._came, taken, self.ingest
            ),
        )

    def _came(self, taken: list[tuple[int, int]], to: Process) -> None:
        if to is not self.ingest or self.ended:
            self._put_back(taken)
            return
        self._fetching = False
        self._fetched += taken
        if taken:
            self._wake()
        else:
            self._fetch()

    def _send(self, number: int, windows: int, groups: list[Group]) -> None:
        world, costs = self.world, self.world.costs
        self._out += 1
        replica = world.replicas[number]
        took_us = costs.batch / 2 + costs.call_out + costs.byte * costs.window_bytes * windows / 2
        came_back = self._reply_of(replica, windows, groups, self.ingest)

        def sent() -> None:
            world.batch(self.node, replica, windows, came_back)

        self.ingest.work(took_us, sent)

    def _reply_of(self, replica: Replica, windows: int, groups: list[Group], to: Process) -> Any:
        def came_back() -> None:
            if to is self.ingest and not self.ended:
                self._inbox.append((replica, windows, groups))
                self._wake()

        return came_back

    # -- fusion ---------------------------------------------------------------------------

    def _deliver(self) -> None:
        """Messages are gathered while more are sure to come."""
        world, costs = self.world, self.world.costs
        now_us = world.engine.now_us
        share = GATHER_SHARE_BACKLOG if self.queue.backlogged else GATHER_SHARE
        gather_us = share * world.setup.commit_interval_us
        if not self._settled:
            return
        if (self._out or self.queue.queued) and now_us - self._delivered_us < gather_us:
            world.engine.at(round(self._delivered_us + gather_us), self._gathered, self.ingest)
            return
        self._delivered_us = now_us
        settled, self._settled = self._settled, {}
        windows = sum(settled.values())
        took_us = costs.call_in + costs.fuse * windows
        fusion = self.fusion

        def handed() -> None:
            world.call(self.node)
            fusion.work(took_us, self._fused, settled)

        self.ingest.work(costs.call_out, handed)

    def _gathered(self, to: Process) -> None:
        if to is self.ingest:
            self._wake()

    def _fused(self, settled: dict[Cut, int]) -> None:
        for cut, windows in settled.items():
            cut.left -= windows
        for slot in self.slots:
            self._commit(slot, self.fusion)

    def _commit(self, slot: Slot, by: Process) -> None:
        """The transaction of what is complete from the first cut on, if it is due."""
        world, costs, setup = self.world, self.world.costs, self.world.setup
        if by is not self.fusion or slot.committing or not slot.cuts or slot.cuts[0].left:
            return
        due_us = slot.last_us + setup.commit_interval_us
        last = not self.queue.queued and not self._out and not setup.rate
        if world.engine.now_us < due_us and not last:
            world.engine.at(due_us, self._commit, slot, by)
            return
        cuts = []
        while slot.cuts and not slot.cuts[0].left:
            cuts.append(slot.cuts.popleft())
        windows = sum(cut.windows for cut in cuts)
        lanes = min(slot.lanes, windows)
        slot.committing = True
        slot.last_us = world.engine.now_us
        took_us = costs.commit + costs.write * windows + costs.partition * lanes + costs.call_out
        slot.taken = cuts

        def sent() -> None:
            slot.taken = []
            world.kafka.commit(slot, windows, lanes, committed)

        def committed() -> None:
            self._committed(slot, cuts, windows, by)

        self.fusion.work(took_us, sent)

    def _committed(self, slot: Slot, cuts: list[Cut], windows: int, by: Process) -> None:
        self.committed += windows
        self.world.done(self, cuts)
        self.on_way -= windows
        if by is not self.fusion:
            return  # it died while the broker had the transaction, which took place
        slot.committing = False
        self.in_flight -= windows
        self.ingest.work(self.world.costs.call_in, self._wake)
        self._commit(slot, by)
