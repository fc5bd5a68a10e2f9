"""What batches cost a replica, t(B) = fixed + each * B, learnt from the batches that it ran."""

from __future__ import annotations

from dataclasses import dataclass

_DECAY = 0.98  # of what was seen before, at every look that brings new batches
_SPREAD_MIN = 0.01  # of sizes, relative: below it they say nothing about the fixed part


@dataclass(frozen=True, slots=True)
class BatchCost:
    """Sums for a line through (batches, windows) -> time, without an intercept.

    Invariant: both parts are 0 or more. Where all batches were of one size the fixed part cannot
    be told from the rest; then all of it counts for each window, which asks for too many replicas
    sooner than for too few.
    """

    batches2: float = 0.0
    windows2: float = 0.0
    mixed: float = 0.0
    batches_time: float = 0.0
    windows_time: float = 0.0
    batches: float = 0.0
    windows: float = 0.0
    time_s: float = 0.0

    def seen(self, batches: int, windows: int, time_s: float) -> BatchCost:
        """So many batches with so many windows together took so long, at one look."""
        if batches <= 0 or windows <= 0:
            return self
        n, w, t = float(batches), float(windows), time_s
        weight = 1.0 / n  # a look with many batches is a mean of many
        return BatchCost(
            self.batches2 * _DECAY + weight * n * n,
            self.windows2 * _DECAY + weight * w * w,
            self.mixed * _DECAY + weight * n * w,
            self.batches_time * _DECAY + weight * n * t,
            self.windows_time * _DECAY + weight * w * t,
            self.batches * _DECAY + n,
            self.windows * _DECAY + w,
            self.time_s * _DECAY + t,
        )

    @property
    def known(self) -> bool:
        return self.windows > 0

    @property
    def mean_batch(self) -> float:
        return self.windows / self.batches if self.batches else 0.0

    def parts(self) -> tuple[float, float]:
        """``(fixed_s, each_s)``; zeros while nothing is known."""
        if not self.known:
            return 0.0, 0.0
        mean_s = self.time_s / self.windows
        determinant = self.batches2 * self.windows2 - self.mixed * self.mixed
        if determinant <= _SPREAD_MIN * self.batches2 * self.windows2:
            return 0.0, mean_s
        fixed_s = (self.batches_time * self.windows2 - self.windows_time * self.mixed) / determinant
        each_s = (self.windows_time * self.batches2 - self.batches_time * self.mixed) / determinant
        if each_s < 0:  # larger batches took no longer: a window more is free
            return self.time_s / self.batches, 0.0
        return (0.0, mean_s) if fixed_s < 0 else (fixed_s, each_s)

    def window_s(self, batch: float) -> float:
        """Time of a replica for one window in batches of this size."""
        fixed_s, each_s = self.parts()
        return fixed_s / max(1.0, batch) + each_s
