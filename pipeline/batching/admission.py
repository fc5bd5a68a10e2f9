"""How many closed windows a stage gets at once: what it does within its timeout, and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from math import inf
from typing import Generic, TypeVar

from pipeline.batching.batch import TIMEOUT, StageJob
from pipeline.batching.dispatch import StageDone

Window = TypeVar("Window", bound=Hashable)

START = 1.0  # window a replica, before anything is known of the stage
# So many expired in a row, one a replica as they were: no answer is to come. A replica that hangs
# is replaced after two timeouts, and its successor answers.
ALONE_MAX = 3
NO_LIMIT = inf


class ConcurrencyLimit:
    """Windows that one stage may have unsettled, found by how long it takes for them.

    It grows by what comes back within a quarter of the timeout, so it doubles with every round
    (slow start, RFC 5681), and shrinks in proportion where a window takes more than half: by delay
    and not by loss, as in TCP Vegas (Brakmo and Peterson, 1995). A round is at most twice as long
    as the one that made it grow, so none expires of it. What was admitted before the limit shrank
    says nothing of what holds now.

    Invariants: at least one window a replica is allowed. A stage that lets windows expire one by
    one has no limit until one comes back: it must not hold the others up.
    """

    def __init__(self, timeout_us: int, by_replica: float = START) -> None:
        """``by_replica``: where it begins."""
        self.timeout_us = timeout_us
        self.unsettled = 0
        self._replicas = 1
        self._by_replica = by_replica
        self._changed_us: int | None = None
        self._full_us: int | None = None  # when it was last
        self._alone = 0

    @property
    def full(self) -> bool:
        return self.unsettled >= self._by_replica * self._replicas

    def admitted(self, now_us: int) -> bool:
        """One window more; whether it is full now."""
        self.unsettled += 1
        if self.unsettled < self._by_replica * self._replicas:
            return False
        self._full_us = now_us
        return True

    def set_replicas(self, count: int) -> None:
        """With none it waits for as much as one would get."""
        self._replicas = max(1, count)

    def came(self, admitted_us: int, now_us: int) -> None:
        """A replica answered for a window that was admitted then: an output, or a failure."""
        self._alone = 0
        took_us = now_us - admitted_us
        if self._by_replica == NO_LIMIT:
            self._set(START, now_us)
        elif 4 * took_us <= self.timeout_us:
            if self._full_us is not None and self._full_us >= admitted_us:  # it held others back
                self._by_replica += 1 / self._replicas
        elif 2 * took_us > self.timeout_us and self._counts(admitted_us):
            share = self.timeout_us / (2 * took_us)
            self._set(max(1.0, self._by_replica * share), now_us)

    def expired(self, admitted_us: int, now_us: int) -> None:
        """Its timeout passed for a window that was admitted then."""
        if self._by_replica == NO_LIMIT or not self._counts(admitted_us):
            return
        self._alone += self._by_replica == 1
        self._set(NO_LIMIT if self._alone >= ALONE_MAX else 1.0, now_us)

    def _counts(self, admitted_us: int) -> bool:
        return self._changed_us is None or admitted_us >= self._changed_us

    def _set(self, by_replica: float, now_us: int) -> None:
        self._by_replica, self._changed_us = by_replica, now_us


class Admission(Generic[Window]):
    """Windows that are closed and wait until each of their stages has room for one more.

    Invariants: windows go on in the order in which they came; their time at a stage begins then.
    Of the stages of a window all have it or none.
    """

    def __init__(self, timeouts_us: Mapping[str, int], paced: bool = True) -> None:
        """``timeouts_us`` by stage. ``paced``: otherwise there is always room."""
        start = START if paced else NO_LIMIT
        self._paced = paced
        self._limits = {stage: ConcurrencyLimit(us, start) for stage, us in timeouts_us.items()}
        self._waiting: deque[tuple[Window, dict[str, StageJob]]] = deque()
        self._admitted_us: dict[Window, int] = {}
        self.held_by: str | None = None  # a stage that had no room for one more at the last take

    def put(self, window: Window, jobs: dict[str, StageJob]) -> None:
        """A window that has closed, with a job for each stage that runs for it."""
        self._waiting.append((window, jobs))

    def take(self, now_us: int) -> list[tuple[Window, dict[str, StageJob]]]:
        """Those that may go on now."""
        if self.held_by is not None:
            full = (stage for stage, limit in self._limits.items() if limit.full)
            self.held_by = next(full, None)
        taken = []
        while self._waiting and self.held_by is None:
            window, jobs = self._waiting.popleft()
            self._admitted_us[window] = now_us
            for stage in jobs:
                if self._limits[stage].admitted(now_us):
                    self.held_by = stage
            taken.append((window, jobs))
        return taken

    def settled(self, window: Window, done: StageDone, now_us: int, last: bool) -> None:
        """``last``: no other stage of the window is left."""
        admitted_us = self._admitted_us[window]
        if last:
            del self._admitted_us[window]
        limit = self._limits[done.stage]
        if self._paced:
            if done.result.failure == TIMEOUT:
                limit.expired(admitted_us, now_us)
            elif done.began_us is not None:  # else what it reads has failed, or its replicas died
                limit.came(admitted_us, now_us)
        limit.unsettled -= 1

    def set_replicas(self, stage: str, count: int) -> None:
        self._limits[stage].set_replicas(count)

    def set_timeout(self, stage: str, timeout_us: int) -> None:
        """For what is admitted from now on."""
        self._limits[stage].timeout_us = timeout_us
