"""How many closed windows a stage gets at once: what it does within its timeout, and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from math import inf
from typing import Generic, TypeVar

from pipeline.batching.batch import TIMEOUT, StageJob
from pipeline.batching.dispatch import StageDone
from pipeline.batching.stage_queue import BACKLOG_BATCHES, HELD_BATCHES, StageRule

Window = TypeVar("Window", bound=Hashable)

# A stage begins with a window a replica for each so much of its timeout: 3 for the usual 30 s.
_FIRST_US, _FIRST_MAX = 8_000_000, 8
# So many expired in a row, one a replica as they were: no answer is to come. A replica that hangs
# is replaced after two timeouts, and its successor answers.
_ALONE_MAX = 3
_NO_LIMIT = inf
# Of what the timeout leaves: a window that comes to a replica last may have to wait for two rounds.
_GOAL_SHARE = 1 / 3
# What takes less than so much of the goal may have more at once.
_FAST_SHARE, _FAST_MORE = 1 / 16, 4
_NOTHING_SEEN = 0, 1 << 62
_PROBE_SHARE = 0.9  # of the timeout that two windows may take, were they to take twice as long


class ConcurrencyLimit:
    """Windows a replica that one stage may have unsettled, found by how long they take.

    What windows take may be a line through the least that was seen for few and what was seen for
    more; the goal is a third of the way from the least to the timeout. A window raises the limit by
    one where that line would still be below the goal, for twice as many at most (slow start, RFC
    5681), and by four, for five times as many, where it takes next to nothing of the goal; one
    that takes longer than the goal lowers it in proportion: by delay and not by loss, as in TCP
    Vegas (Brakmo and Peterson, 1995). So a stage whose call takes as long for many as for one gets
    many. What was admitted before it was lowered says nothing of what holds now.

    Invariants: at least one window a replica is allowed, and at most what keeps it busy: windows
    to come may take longer than those that were seen. A stage that lets windows expire one by one
    has no limit until one comes back: it must not hold the others up.
    """

    def __init__(self, rule: StageRule, paced: bool = True) -> None:
        """``paced``: otherwise it begins without a limit."""
        self.set_rule(rule)
        self.unsettled = 0
        self._replicas = 1
        first = max(1, min(_FIRST_MAX, rule.timeout_us // _FIRST_US))
        self._allow(first if paced else _NO_LIMIT)
        self._least = _NOTHING_SEEN  # windows a replica, and us
        self._probed = False
        self._lowered_us: int | None = None
        self._full_us: int | None = None  # when it was last
        self._alone = 0

    def set_rule(self, rule: StageRule) -> None:
        """For what is admitted from now on."""
        self._timeout_us = rule.timeout_us
        batches = HELD_BATCHES * rule.call_batches + BACKLOG_BATCHES + 1
        self._busy = batches * rule.batch_max

    def set_replicas(self, count: int) -> None:
        """With none it waits for as much as one would get."""
        self._replicas = max(1, count)
        self._allow(self._limit)

    def admit(self, now_us: int) -> int:
        """One window more; how many a replica it has with it."""
        self.unsettled += 1
        if self.unsettled >= self.most:
            self._full_us = now_us
        return -(-self.unsettled // self._replicas)

    def came(self, windows: int, admitted_us: int, now_us: int) -> None:
        """A replica answered for a window: an output, or a failure of its own.

        ``windows``: how many a replica there were when it was admitted, with itself.
        """
        self._alone = 0
        took_us = now_us - admitted_us
        if self._limit == _NO_LIMIT:
            self._begin(1, now_us)
            return
        self._look(windows, took_us)
        goal_us = self._least[1] + _GOAL_SHARE * (self._timeout_us - self._least[1])
        if took_us > goal_us:
            if self._counts(admitted_us):
                self._allow(max(1, int(self._limit * goal_us / took_us)))
                self._lowered_us = now_us
            return
        held_back = self._full_us is not None and self._full_us >= admitted_us
        if held_back and self._most(windows, took_us, goal_us) > self._limit:
            more = _FAST_MORE if took_us < _FAST_SHARE * goal_us else 1
            self._allow(min(self._busy, self._limit + more / self._replicas))

    def expired(self, admitted_us: int, now_us: int) -> None:
        """Its timeout passed for a window that was admitted then."""
        if self._limit == _NO_LIMIT or not self._counts(admitted_us):
            return
        self._alone += self._limit == 1
        self._begin(_NO_LIMIT if self._alone >= _ALONE_MAX else 1, now_us)

    def _look(self, windows: int, took_us: int) -> None:
        """The least of what was seen; where fewer take twice as long, what was seen is over."""
        first, least_us = self._least
        if 10 * took_us < 9 * least_us or (windows <= first and took_us > 2 * least_us):
            self._least, self._probed = (windows, took_us), False

    def _most(self, windows: int, took_us: int, goal_us: float) -> int:
        """Windows a replica that one would take ``goal_us`` with, as far as this one tells."""
        first, least_us = self._least
        if windows > first:
            each_us = max(0.0, (took_us - least_us) / (windows - first))
        else:
            each_us = took_us / windows
            if not self._probed and 2 * took_us <= _PROBE_SHARE * self._timeout_us:
                self._probed = True
                return 2 * windows
        more = _FAST_MORE * windows if took_us < _FAST_SHARE * goal_us else windows
        return windows + int(min(more, (goal_us - took_us) / each_us) if each_us else more)

    def _counts(self, admitted_us: int) -> bool:
        return self._lowered_us is None or admitted_us >= self._lowered_us

    def _begin(self, limit: float, now_us: int) -> None:
        self._lowered_us, self._least, self._probed = now_us, _NOTHING_SEEN, False
        self._allow(limit)

    def _allow(self, limit: float) -> None:
        self._limit, self.most = limit, limit * self._replicas


class Admission(Generic[Window]):
    """Windows that are closed and wait until each of their stages has room for one more.

    Invariants: windows go on in the order in which they came; their time at a stage begins then.
    Of the stages of a window all have it or none.
    """

    def __init__(self, rules: Iterable[StageRule], paced: bool = True) -> None:
        """``paced``: otherwise there is always room."""
        self._paced = paced
        self._limits = {rule.name: ConcurrencyLimit(rule, paced) for rule in rules}
        self._waiting: deque[tuple[Window, dict[str, StageJob]]] = deque()
        self._admitted: dict[Window, tuple[int, dict[str, int]]] = {}
        self.held_by: str | None = None  # a stage that had no room for one more at the last take

    def put(self, window: Window, jobs: dict[str, StageJob]) -> None:
        """A window that has closed, with a job for each stage that runs for it."""
        self._waiting.append((window, jobs))

    def take(self, now_us: int) -> list[tuple[Window, dict[str, StageJob]]]:
        """Those that may go on now."""
        if self.held_by is not None:
            limits = self._limits.items()
            full = (stage for stage, limit in limits if limit.unsettled >= limit.most)
            self.held_by = next(full, None)
        taken = []
        while self._waiting and self.held_by is None:
            window, jobs = self._waiting.popleft()
            windows = {}
            for stage in jobs:
                limit = self._limits[stage]
                windows[stage] = limit.admit(now_us)
                if limit.unsettled >= limit.most:
                    self.held_by = stage
            self._admitted[window] = now_us, windows
            taken.append((window, jobs))
        return taken

    def settled(self, window: Window, done: StageDone, now_us: int, last: bool) -> None:
        """``last``: no other stage of the window is left."""
        admitted_us, windows = self._admitted[window]
        if last:
            del self._admitted[window]
        limit = self._limits[done.stage]
        if self._paced:
            if done.result.failure == TIMEOUT:
                limit.expired(admitted_us, now_us)
            elif done.began_us is not None:  # else what it reads has failed, or its replicas died
                limit.came(windows[done.stage], admitted_us, now_us)
        limit.unsettled -= 1

    def set_replicas(self, stage: str, count: int) -> None:
        self._limits[stage].set_replicas(count)

    def set_rule(self, rule: StageRule) -> None:
        """For what is admitted from now on."""
        self._limits[rule.name].set_rule(rule)
