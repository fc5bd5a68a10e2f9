"""Counts, gauges and histograms of one process, in a form that crosses to others and adds up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from pipeline.tasks.metrics import METRICS

Labels = tuple[str, ...]  # values, in the order of the metric's labels
Key = tuple[str, Labels]


@dataclass(slots=True)
class Histogram:
    """``counts[i]`` values in (bounds[i-1], bounds[i]]; one more above all."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """By straight lines between the bounds, as Prometheus does; None where there is nothing."""
        rank = share * self.count
        if not self.count:
            return None
        below = 0
        for i, count in enumerate(self.counts):
            if count and below + count >= rank:
                if i == len(self.bounds):
                    return self.bounds[-1]
                low = self.bounds[i - 1] if i else 0.0
                return low + (self.bounds[i] - low) * (rank - below) / count
            below += count
        return self.bounds[-1]


@dataclass(slots=True)
class Figures:
    """What one process has counted so far and sees now.

    Counters and histograms only grow, so the figures of a process that ended are added to those
    of its successor and nothing is counted twice; gauges die with their process.
    """

    counters: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, Histogram] = field(default_factory=dict)
    gauges: dict[Key, list[float]] = field(default_factory=dict)  # one value for each process

    def count(self, name: str, amount: float = 1, *labels: str) -> None:
        self.counters[name, labels] = self.counters.get((name, labels), 0) + amount

    def observe(self, name: str, value: float, *labels: str, times: int = 1) -> None:
        histogram = self._histogram(name, labels)
        histogram.counts[bisect_left(histogram.bounds, value)] += times
        histogram.total += value * times

    def observe_all(self, name: str, values: Sequence[float], *labels: str) -> None:
        """As ``observe`` of each."""
        histogram = self._histogram(name, labels)
        bounds, counts = histogram.bounds, histogram.counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        histogram.total += sum(values)

    def begin(self, name: str, *labels: str) -> None:
        """A histogram of nothing yet: a series that is there before has growth with its first."""
        self._histogram(name, labels)

    def gauge(self, name: str, value: float, *labels: str) -> None:
        self.gauges[name, labels] = [value]

    def value(self, name: str, *labels: str) -> float:
        """Of a counter or a gauge; 0 where it was never told."""
        values = self.gauges.get((name, labels))
        if values is None:
            return self.counters.get((name, labels), 0)
        together = METRICS[name].together
        if together == "max":
            return max(values)
        if together == "any":  # owners send when their own windows close: as if by chance
            return 1 - prod(1 - share for share in values)
        return sum(values) / (len(values) if together == "mean" else 1)

    def add(self, other: Figures, *, ended: bool = False) -> None:
        """``ended``: of a process that is no more, whose gauges mean nothing now."""
        for key, amount in other.counters.items():
            self.counters[key] = self.counters.get(key, 0) + amount
        for key, theirs in other.histograms.items():
            ours = self.histograms.get(key)
            if ours is None:
                ours = self.histograms[key] = Histogram(theirs.bounds, [0] * len(theirs.counts))
            ours.counts = [a + b for a, b in zip(ours.counts, theirs.counts, strict=True)]
            ours.total += theirs.total
        if not ended:
            for key, values in other.gauges.items():
                self.gauges.setdefault(key, []).extend(values)

    def _histogram(self, name: str, labels: Labels) -> Histogram:
        found = self.histograms.get((name, labels))
        if found is None:
            bounds = METRICS[name].buckets
            found = self.histograms[name, labels] = Histogram(bounds, [0] * (len(bounds) + 1))
        return found

    def copy(self) -> Figures:
        copied = Figures()
        copied.add(self)
        return copied
