"""From what a run counts to what the policy is told: rates over the last seconds."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pipeline.scaling.batch_cost import BatchCost

SPAN_S = 10.0  # rates are about so long, at least
RISE_S = 3.0  # a rise is seen sooner
LOOKS_MAX = 64
FULL_SHARE = 0.5  # of ``batch_max``: what batches hold where a stage is loaded and still in time


class Counted(NamedTuple):
    """One stage at one moment; the totals only grow, over all owners and those that ended.

    ``waiting``: windows that are queued for it or with its replicas. ``behind``: windows that
    its inputs' logs still hold, estimated. ``busy``: share of the last seconds that replicas had
    work, as their owners see it.
    """

    at_s: float
    done: int
    batches: int
    computed_s: float
    waiting: int
    behind: int
    busy: float
    ready: int


class Measured(NamedTuple):
    """What ``Meter`` makes of it; rates in windows a second.

    ``rising``: what arrives by the last ``RISE_S``, where that is more. ``window_s``: time of a
    replica for one window in batches as large as they are under load. ``batch``: the mean of
    late. ``sure``: whether enough batches were seen to rely on it.
    """

    arriving: float
    rising: float
    served: float
    busy: float
    window_s: float
    batch: float
    backlog: int
    behind: int
    sure: bool


class Meter:
    """Rates of one stage over the last ``SPAN_S``, and what its batches cost.

    Invariant: a look gives the same whatever the time between looks, but for rates that are about
    a longer span where looks are rare.
    """

    def __init__(self, batch_max: int, latency_target_s: float | None) -> None:
        self.limits(batch_max, latency_target_s)
        self._looks: deque[Counted] = deque(maxlen=LOOKS_MAX)
        self._cost = BatchCost()
        self._batches = 0

    def limits(self, batch_max: int, latency_target_s: float | None) -> None:
        """Changed while it runs, what was measured stays."""
        self._batch_max = batch_max
        self._target_s = latency_target_s

    def look(self, now: Counted) -> Measured:
        before = self._looks[-1] if self._looks else now
        batches = now.batches - before.batches
        self._batches += batches
        computed_s = now.computed_s - before.computed_s
        self._cost = self._cost.seen(batches, now.done - before.done, computed_s)
        self._looks.append(now)
        while len(self._looks) > 2 and now.at_s - self._looks[1].at_s >= SPAN_S:
            self._looks.popleft()
        since = self._looks[0]
        span_s = now.at_s - since.at_s
        served = busy = 0.0
        arriving = _arriving(since, now)
        if span_s > 0:
            served = (now.done - since.done) / span_s
            replicas_s = span_s * max(1, now.ready, since.ready)
            busy = (now.computed_s - since.computed_s) / replicas_s
        window_s = self._cost.window_s(self._loaded_batch())
        return Measured(
            arriving=arriving,
            rising=max(arriving, _arriving(self._lately(now.at_s), now)),
            served=served,
            busy=min(1.0, max(busy, now.busy)),
            window_s=window_s,
            batch=self._cost.mean_batch,
            backlog=now.waiting,
            behind=now.behind,
            sure=self._batches >= 3,
        )

    def _lately(self, now_s: float) -> Counted:
        """The newest look that is at least ``RISE_S`` old, or the oldest."""
        old = (look for look in reversed(self._looks) if now_s - look.at_s >= RISE_S)
        return next(old, self._looks[0])

    def _loaded_batch(self) -> float:
        """The size that batches have under load, as ``BatchPace`` keeps them within the target."""
        batch = max(1.0, FULL_SHARE * self._batch_max)
        if self._target_s is None:
            return batch
        fixed_s, each_s = self._cost.parts()
        room_s = self._target_s / 2 - fixed_s
        return max(1.0, min(batch, room_s / each_s if each_s > 0 else batch))


def _arriving(since: Counted, now: Counted) -> float:
    """What was done and what waits more; a log that is cut off makes it no less than nothing."""
    span_s = now.at_s - since.at_s
    if span_s <= 0:
        return 0.0
    more = now.waiting + now.behind - since.waiting - since.behind
    return max(0.0, (now.done - since.done + more) / span_s)
