"""The parts of the cluster that is simulated: replicas, Kafka, and what an owner's halves hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from scale_costs import Costs
from scale_engine import Cores, Engine, Line, Process
from scale_queue import Group
from scale_setup import Setup

Reply = Callable[[], None]


class Cut:
    """Windows of one slot that one round of its ingest half closed; done once ``left`` is 0."""

    __slots__ = ("closed_us", "left", "windows")

    def __init__(self, closed_us: int, windows: int) -> None:
        self.closed_us = closed_us
        self.windows = windows
        self.left = windows


class Slot:
    """The cuts of a slot that are not committed, in order."""

    __slots__ = ("committing", "cuts", "lanes", "last_us", "number", "taken")

    def __init__(self, number: int, lanes: int) -> None:
        self.number = number
        self.lanes = lanes
        self.cuts: deque[Cut] = deque()
        self.taken: list[Cut] = []  # of a transaction that the broker has not got yet
        self.committing = False
        self.last_us = 0


class Replica:
    """One replica of the stage: it runs all that waits at its door, up to ``batch_max``, in a call.

    Invariant: batches are replied to in the order in which they came.
    """

    __slots__ = ("_busy", "_costs", "_door", "_engine", "_setup", "busy_us", "ended", "node",
                 "number", "process", "runs", "windows")  # fmt: skip

    def __init__(self, number: int, node: int, cores: Cores, costs: Costs, setup: Setup) -> None:
        self.number = number
        self.node = node
        self.process = Process(cores.engine, f"replica-{number}", cores)
        self._engine = cores.engine
        self._costs = costs
        self._setup = setup
        self._door: deque[list[Any]] = deque()  # windows left, windows, reply
        self._busy = False
        self.ended = False
        self.busy_us = 0
        self.runs = 0
        self.windows = 0

    def call(self, windows: int, reply: Reply) -> None:
        """A batch has come to its process."""
        costs = self._costs
        took_us = costs.call_in + costs.batch_in + costs.window_in * windows
        took_us += costs.byte * costs.window_bytes * windows / 2
        self.process.work(took_us, self._came, windows, reply)

    def end(self) -> list[Reply]:
        """It has died; what it had is lost."""
        self.ended = self.process.ended = True
        lost = [reply for _, _, reply in self._door]
        self._door.clear()
        return lost

    def _came(self, windows: int, reply: Reply) -> None:
        self._door.append([windows, windows, reply])
        if not self._busy:
            self._run()

    def _run(self) -> None:
        room, taken = self._setup.batch_max, []
        while self._door and room:
            batch = self._door[0]
            part = min(batch[0], room)
            batch[0] -= part
            room -= part
            taken.append((batch, batch[0] == 0))
            if batch[0] == 0:
                self._door.popleft()
        size = self._setup.batch_max - room
        device = self._setup.device
        took_us = round(device.fixed_us + device.window_us * size)
        self._busy = True
        self.busy_us += took_us
        self.runs += 1
        self.windows += size
        if device.on_cores:
            self.process.work(took_us, self._ran, taken)
        else:
            self._engine.after(took_us, self._ran, taken)

    def _ran(self, taken: list[tuple[list[Any], bool]]) -> None:
        if self.ended:
            return
        self._busy = False
        if self._door:
            self._run()
        for batch, whole in taken:
            if whole:
                batch[2]()


class Kafka:
    """Brokers: their cards, their cores, and the one log that all offsets of a group go to."""

    def __init__(self, engine: Engine, costs: Costs, setup: Setup, shared: Cores | None) -> None:
        """``shared``: the cores that the brokers have, where they have none of their own."""
        self._engine = engine
        self._costs = costs
        self._setup = setup
        self.cores = [
            shared or Cores(engine, f"broker {number}", setup.broker_cores)
            for number in range(setup.brokers)
        ]
        threads = max(1, setup.broker_cores)
        self._threads = [
            [Process(engine, f"broker {number}.{thread}", cores) for thread in range(threads)]
            for number, cores in enumerate(self.cores)
        ]
        self._turn = 0
        self.out = [Line(engine, "broker out", setup.broker_bytes_s / 1e6) for _ in self.cores]
        self.disk = [Line(engine, "broker in", setup.broker_bytes_s / 1e6) for _ in self.cores]
        self.coordinator = Line(engine, "group coordinator")
        self.commits = 0
        self.offset_bytes = 0

    def fetch(self, owner: int, windows: int, done: Callable[[], None]) -> None:
        """A fetch of an owner: its records have been taken from the brokers' memory."""
        number = (owner + self._next()) % len(self.cores)
        sent_us = self.out[number].take(windows * self._costs.window_bytes)
        took_us = self._costs.broker_out * windows
        thread = self._thread(number)
        thread.work(took_us, lambda: self._engine.at(sent_us, done))

    def commit(self, slot: Slot, windows: int, lanes: int, done: Callable[[], None]) -> None:
        """A transaction: its records, and offsets through the coordinator of the group."""
        costs = self._costs
        number = (slot.number + self._next()) % len(self.cores)
        self.commits += 1
        offsets_bytes = lanes * costs.offset_bytes
        self.offset_bytes += offsets_bytes
        took_us = costs.broker_commit + costs.broker_in * windows

        def appended() -> None:
            through_us = self.coordinator.take(
                costs.coordinator + costs.coordinator_partition * lanes
            )
            self._engine.at(through_us + round(costs.commit_wall), done)

        self._thread(number).work(took_us, appended)

    @property
    def processes(self) -> list[Process]:
        return [thread for threads in self._threads for thread in threads]

    def _thread(self, number: int) -> Process:
        threads = self._threads[number]
        return threads[self._turn % len(threads)]

    def _next(self) -> int:
        self._turn += 1
        return self._turn


def together(groups: list[Group]) -> dict[Cut, int]:
    """Windows of a batch by the cut that they are in."""
    found: dict[Cut, int] = {}
    for cut, windows in groups:
        found[cut] = found.get(cut, 0) + windows
    return found
