"""The run's last hour, a point every few seconds: what the charts of the page are drawn from."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline.monitor.growth import grown_histogram
from pipeline.tasks.figures import Figures
from pipeline.tasks.view import Snapshot

STEP_US = 5_000_000
POINTS_MAX = 720
MARKS_MAX = 100
RATES = {
    "records": "motet_records_total",
    "windows": "motet_windows_total",
    "late": "motet_record_fates_total",
    "dead_letters": "motet_dead_letters_total",
    "commits": "motet_commits_total",
    "retried": "motet_commits_total",
}
_WHERE = {"late": "late", "commits": "committed", "retried": "retried"}  # the last label


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened once: ``words`` at a point of the history."""

    number: int
    at_us: int
    words: str


class History:
    """Points of one run, numbered without a gap; the oldest are let go.

    Told by one thread, asked by any. Memory: POINTS_MAX points of some twenty numbers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS_MAX)
        self._marks: deque[Mark] = deque(maxlen=MARKS_MAX)
        self._number = 0
        self._before: tuple[int, Snapshot] | None = None

    def begin(self) -> None:
        """Another run: what was is forgotten, but numbers go on."""
        with self._lock:
            self._points.clear()
            self._marks.clear()
            self._before = None

    def take(self, at_us: int, snapshot: Snapshot) -> None:
        """A look at the run, monotonic time; makes a point of it once STEP_US have passed."""
        with self._lock:
            if self._before is None:
                self._before = at_us, snapshot
                return
            since_us, before = self._before
            if at_us - since_us < STEP_US:
                return
            self._before = at_us, snapshot
            self._number += 1
            self._points.append(_point(snapshot, before, (at_us - since_us) / 1e6))
            for words in _restarts(snapshot.figures, before.figures):
                self._marks.append(Mark(self._number, snapshot.taken_us, words))

    def since(self, number: int) -> dict[str, Any]:
        """All points after this number, in columns (docs/schemas/history.schema.json)."""
        with self._lock:
            first = self._number - len(self._points) + 1
            points = list(islice(self._points, max(0, number + 1 - first), None))
            marks = [mark for mark in self._marks if mark.number > number]
            last = self._number
        return {
            "step_seconds": STEP_US / 1e6,
            "points_max": POINTS_MAX,
            "last": last,
            "at_ms": [point["at_ms"] for point in points],
            "rates": {name: [point["rates"][name] for point in points] for name in RATES},
            "latency": _columns(points, "latency"),
            "commit": _columns(points, "commit"),
            "lag": _columns(points, "lag"),
            "busy": _columns(points, "busy"),
            "marks": [{"at_ms": mark.at_us // 1000, "words": mark.words} for mark in marks],
        }


def _columns(points: list[dict[str, Any]], name: str) -> dict[str, list[float | None]]:
    keys = dict.fromkeys(key for point in points for key in point[name])
    return {key: [point[name].get(key) for point in points] for key in keys}


def _point(snapshot: Snapshot, before: Snapshot, span_s: float) -> dict[str, Any]:
    figures, then = snapshot.figures, before.figures
    return {
        "at_ms": snapshot.taken_us // 1000,
        "rates": {
            name: max(0.0, _counted(figures, name) - _counted(then, name)) / span_s
            for name in RATES
        },
        "latency": _quantiles(figures, then, "motet_end_to_end_seconds"),
        "commit": _quantiles(figures, then, "motet_commit_seconds"),
        "lag": _lag(snapshot),
        "busy": {
            labels[0]: figures.value(name, *labels)
            for name, labels in figures.gauges
            if name == "motet_stage_busy_ratio"
        },
    }


def _counted(figures: Figures, rate: str) -> float:
    name, where = RATES[rate], _WHERE.get(rate)
    return sum(
        count
        for (of, labels), count in figures.counters.items()
        if of == name and (where is None or labels[-1] == where)
    )


def _quantiles(figures: Figures, then: Figures, name: str) -> dict[str, float | None]:
    histogram = grown_histogram(figures, then, name)
    return {
        "p50": histogram.quantile(0.5) if histogram else None,
        "p99": histogram.quantile(0.99) if histogram else None,
    }


def _lag(snapshot: Snapshot) -> dict[str, int]:
    """Records behind, by input; an input of which no end is known is left out."""
    found: dict[str, int] = {}
    for lane in snapshot.lanes:
        for name, end in lane.ends.items():
            if end is not None:
                found[name] = found.get(name, 0) + max(0, end - lane.positions[name])
    return found


def _restarts(figures: Figures, then: Figures) -> Iterable[str]:
    for (name, labels), count in sorted(figures.counters.items()):
        if name == "motet_actor_restarts_total" and count > then.counters.get((name, labels), 0):
            yield f"{labels[0]} was started anew: {labels[1]}"
