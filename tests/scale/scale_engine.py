"""Time, events and what is used up: the ground of the simulation of a cluster.

All times are whole microseconds. Events of one time come in the order in which they were made, so
a run depends on its seed alone.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

Work = Callable[..., None]


class Engine:
    """What happens when. Invariant: time never falls, and every event is called once."""

    def __init__(self) -> None:
        self.now_us = 0
        self.events = 0
        self._serial = 0
        self._heap: list[tuple[int, int, Work, tuple[Any, ...]]] = []

    def at(self, when_us: int, call: Work, *given: Any) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (max(when_us, self.now_us), self._serial, call, given))

    def after(self, wait_us: int, call: Work, *given: Any) -> None:
        self.at(self.now_us + wait_us, call, *given)

    def run(self, until_us: int) -> None:
        """Up to that time, or until nothing is left to happen."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            self.now_us, _, call, given = heapq.heappop(heap)
            self.events += 1
            call(*given)
        self.now_us = max(self.now_us, until_us) if heap else self.now_us


class Line:
    """A resource that does one thing after the other: a network card, a log, a coordinator.

    Who comes is told at once when it will be done. ``rate``: units a microsecond (1: times).
    """

    __slots__ = ("busy_us", "engine", "free_us", "name", "rate")

    def __init__(self, engine: Engine, name: str, rate: float = 1.0) -> None:
        self.engine = engine
        self.name = name
        self.rate = rate
        self.free_us = 0
        self.busy_us = 0

    def take(self, amount: float) -> int:
        """When it is done with so much more."""
        took_us = int(amount / self.rate) + 1
        self.free_us = max(self.free_us, self.engine.now_us) + took_us
        self.busy_us += took_us
        return self.free_us


class Cores:
    """The cores of a node: so many processes run, and the others wait in their turn."""

    __slots__ = ("busy_us", "count", "engine", "free", "name", "waiting")

    def __init__(self, engine: Engine, name: str, count: int) -> None:
        self.engine = engine
        self.name = name
        self.count = count
        self.free = count
        self.busy_us = 0
        self.waiting: deque[Process] = deque()

    def ask(self, process: Process) -> None:
        if self.free:
            self.free -= 1
            process.begin()
        else:
            self.waiting.append(process)

    def give_back(self) -> None:
        if self.waiting:
            self.waiting.popleft().begin()
        else:
            self.free += 1


class Process:
    """An operating system's process that does one piece of work at a time, as one interpreter does.

    Invariant: pieces are done in the order in which they came, each on one core of its node.
    A process that has ended does nothing more, and what it had is dropped.
    """

    __slots__ = ("_running", "_work", "busy_us", "cores", "ended", "engine", "name")

    def __init__(self, engine: Engine, name: str, cores: Cores) -> None:
        self.engine = engine
        self.name = name
        self.cores = cores
        self.busy_us = 0
        self.ended = False
        self._work: deque[tuple[int, Work, tuple[Any, ...]]] = deque()
        self._running = False

    def work(self, took_us: float, done: Work, *given: Any) -> None:
        """``done`` is called once a core has worked for so long on it."""
        if self.ended:
            return
        self._work.append((max(1, round(took_us)), done, given))
        if not self._running:
            self._running = True
            self.cores.ask(self)

    def begin(self) -> None:
        took_us, done, given = self._work.popleft()
        self.busy_us += took_us
        self.cores.busy_us += took_us
        self.engine.after(took_us, self._done, done, given)

    def _done(self, done: Work, given: tuple[Any, ...]) -> None:
        if self.ended:
            self._work.clear()
        if self._work:
            # To the back of those that wait: no process has a core for itself.
            self.cores.give_back()
            self.cores.ask(self)
        else:
            self._running = False
            self.cores.give_back()
        if not self.ended:
            done(*given)

    @property
    def idle(self) -> bool:
        return not self._running
