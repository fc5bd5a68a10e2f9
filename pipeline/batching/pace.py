"""How large a batch may be: t(B) as it is measured, against a latency target."""

from __future__ import annotations

_WEIGHT = 0.25  # of the newest measurement
_FORGET_BATCHES = 64


class BatchPace:
    """The largest batch that keeps a stage's latency target, never above ``batch_max``.

    A window waits for at most the batch that runs and then runs in its own, so a batch may take
    half the target: ``2 t(B) <= target`` (Nexus, SOSP 2019). t(B) is measured, by powers of two,
    and not assumed to be smooth: a network may be slower with two items than with eight. A size
    that was never tried is tried where it fits if t goes on as between the two sizes below it.
    One that was too slow is tried again after a while, since it may have been the machine.
    """

    def __init__(self, batch_max: int, target_us: int | None) -> None:
        self._batch_max = batch_max
        self._target_us = target_us
        self._took_us: dict[int, float] = {}  # by rung r: batches of 2^r to 2^(r+1) - 1
        self._seen: dict[int, int] = {}  # at which batch a rung was last measured
        self._batches = 0
        self.limit = batch_max if target_us is None else 1

    def observe(self, size: int, took_us: int) -> None:
        """A batch of ``size`` windows ran for ``took_us``, its own waiting not counted."""
        if self._target_us is None:
            return
        rung = size.bit_length() - 1
        known_us = self._took_us.get(rung, took_us)
        self._took_us[rung] = known_us + _WEIGHT * (took_us - known_us)
        self._batches += 1
        self._seen[rung] = self._batches
        for above in [r for r, seen in self._seen.items() if r > rung]:
            if self._batches - self._seen[above] > _FORGET_BATCHES:
                del self._seen[above], self._took_us[above]
        self.limit = min(self._batch_max, self._allowed(self._target_us))

    def _allowed(self, target_us: int) -> int:
        fitting = [rung for rung, took_us in self._took_us.items() if 2 * took_us <= target_us]
        if not fitting:
            return 1
        largest = max(fitting)
        if largest + 1 not in self._took_us and 2 * self._expected_us(largest) <= target_us:
            return 1 << (largest + 1)
        return 1 << largest

    def _expected_us(self, rung: int) -> float:
        """t of twice a rung's size, if it is a line through this rung and the one below."""
        took_us = self._took_us[rung]
        below_us = self._took_us.get(rung - 1, took_us)
        return took_us + 2 * max(0.0, took_us - below_us)
