"""Looks at the run once a second, so that rates are those of the last seconds."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, replace

from pipeline import clock
from pipeline.monitor.growth import grown_histogram
from pipeline.monitor.history import History
from pipeline.monitor.state_lanes import behind_records, sum_known
from pipeline.tasks.figures import Figures, Histogram
from pipeline.tasks.view import Snapshot, View

_log = logging.getLogger(__name__)

STEP_S = 1.0
RATES_US = 5_000_000
QUANTILES_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    at_us: int  # monotonic
    snapshot: Snapshot
    lag_then: int | None = None

    @property
    def lag_records(self) -> int | None:
        """How far all lanes are behind; None where it is not known of any."""
        lanes = self.snapshot.lanes
        if not lanes:
            return self.lag_then
        return sum_known(behind_records(lane, name) for lane in lanes for name in lane.positions)

    def past(self) -> Sample:
        """What is asked for of a moment that is over: counts, and the lag of all lanes together.

        Lanes and gauges are as many as partitions, and a minute of them would be held.
        """
        figures = self.snapshot.figures
        counted = Figures(figures.counters, figures.histograms)
        return Sample(
            self.at_us, replace(self.snapshot, figures=counted, lanes=()), self.lag_records
        )


@dataclass(frozen=True, slots=True)
class Recent:
    """The run now, some seconds ago (for rates) and a minute ago (for quantiles)."""

    now: Sample
    seconds_ago: Sample
    minute_ago: Sample

    def rate(self, name: str, *labels: str) -> float:
        """A counter's growth a second."""
        span_s = self._span_s
        before = self.seconds_ago.snapshot.figures.value(name, *labels)
        return max(0.0, self._figures.value(name, *labels) - before) / span_s if span_s > 0 else 0.0

    def total_rate(self, name: str, *labels: str) -> float:
        """Growth a second of what a histogram's values add up to."""
        histogram = self._figures.histograms.get((name, labels))
        if histogram is None or (span_s := self._span_s) <= 0:
            return 0.0
        before = self.seconds_ago.snapshot.figures.histograms.get((name, labels))
        return max(0.0, histogram.total - (before.total if before else 0.0)) / span_s

    def histogram(self, name: str, *labels: str) -> Histogram | None:
        """What was observed in the last minute; None where nothing was."""
        return grown_histogram(self._figures, self.minute_ago.snapshot.figures, name, labels)

    def grown(self, name: str) -> dict[tuple[str, ...], float]:
        """A counter's series by their labels, with the growth of each in the last minute."""
        before = self.minute_ago.snapshot.figures.counters
        return {
            labels: max(0.0, count - before.get((of, labels), 0.0))
            for (of, labels), count in self._figures.counters.items()
            if of == name
        }

    @property
    def minute_s(self) -> float:
        """How long ago the minute began; shorter in a run's first minute."""
        return (self.now.at_us - self.minute_ago.at_us) / 1e6

    @property
    def _figures(self) -> Figures:
        return self.now.snapshot.figures

    @property
    def _span_s(self) -> float:
        return (self.now.at_us - self.seconds_ago.at_us) / 1e6


class Sampler:
    """Keeps a snapshot a second for a minute, and a history; may be asked from any thread.

    Invariant: ``_samples`` is in the order of time, and never empty once a view was shown.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque()
        self._view: View | None = None
        self.history = History()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor-sampler", daemon=True)

    def show(self, view: View) -> None:
        """Another view than before is another run: its rates begin anew."""
        with self._lock:
            self._view = view
            self._samples.clear()
        self.history.begin()
        self._sample()
        if not self._thread.is_alive() and not self._closed.is_set():
            self._thread.start()

    def snapshot(self) -> Snapshot | None:
        """The run as it stands now; None before there is one."""
        with self._lock:
            view = self._view
        return None if view is None else view.snapshot()

    def recent(self) -> Recent | None:
        snapshot = self.snapshot()
        with self._lock:
            if snapshot is None or not self._samples:
                return None
            now = Sample(clock.monotonic_us(), snapshot)
            return Recent(now, self._before(now, RATES_US), self._before(now, QUANTILES_US))

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(2 * STEP_S)

    def _before(self, now: Sample, distance_us: int) -> Sample:
        """The newest sample that is so far back, or the oldest."""
        fitting = (s for s in reversed(self._samples) if now.at_us - s.at_us >= distance_us)
        return next(fitting, self._samples[0])

    def _run(self) -> None:
        while not self._closed.wait(STEP_S):
            try:
                self._sample()
            except Exception as error:  # the next second may be better; a scrape says the same
                _log.error("motet: the run's figures: %s: %s", type(error).__name__, error)

    def _sample(self) -> None:
        snapshot = self.snapshot()
        if snapshot is None:
            return
        sample = Sample(clock.monotonic_us(), snapshot)
        self.history.take(sample.at_us, snapshot)
        past = sample.past()
        with self._lock:
            self._samples.append(past)
            while sample.at_us - self._samples[0].at_us > QUANTILES_US + 2_000_000:
                self._samples.popleft()
