"""What a reader of the results sees: how many, how fast, and whether each came exactly once."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline import clock
from pipeline.monitor.speak import STREAM_PREFIX
from pipeline.slot.ports import LogRecord

LATENCIES_KEPT = 100_000  # the newest: a demo that runs for days keeps no more


@dataclass(frozen=True, slots=True)
class Seen:
    """A committed result as it was read. Latencies count from the end of its window."""

    result: Mapping[str, Any]
    produced_us: int  # by the result's Kafka timestamp
    read_us: int  # by the clock of the reader, after the commit

    @classmethod
    def of(cls, record: LogRecord, now_us: int) -> Seen:
        result = json.loads(record.value or b"")
        end_us = result["window"]["end_us"]
        return cls(result, record.timestamp_us - end_us, now_us - end_us)


@dataclass(slots=True)
class Measured:
    """Counts of the results that were read.

    The streams of the demo send without a pause, and results of a stream come in the order of
    time: a window that does not begin where the one before ended is a gap or a repeat. A visitor
    who speaks into the page may pause as they like: of theirs only repeats are counted.
    """

    windows: int = 0
    complete: int = 0  # with every input present
    live_us: int = 0  # windows that ended before this were sent at once: they tell no latency
    repeated: int = 0
    skipped: int = 0  # windows that lie in gaps
    # When the first result was read, and the newest, by the clock that never steps.
    began_us: int | None = None
    newest_us: int = 0
    first_us: int | None = None  # event time: start of the earliest window, end of the latest
    last_us: int = 0
    produced_us: deque[int] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    read_us: deque[int] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    _ends_us: dict[str, int] = field(default_factory=dict)  # stream -> end of its newest window

    def add(self, seen: Seen) -> None:
        self.newest_us = clock.monotonic_us()
        if self.began_us is None:
            self.began_us = self.newest_us
        self.windows += 1
        self.complete += not seen.result["missing"]
        stream, window = seen.result["stream"], seen.result["window"]
        start_us, end_us = window["start_us"], window["end_us"]
        if end_us >= self.live_us:
            self.produced_us.append(seen.produced_us)
            self.read_us.append(seen.read_us)
        self.first_us = start_us if self.first_us is None else min(self.first_us, start_us)
        self.last_us = max(self.last_us, end_us)
        expected_us = self._ends_us.get(stream, start_us)
        if start_us < expected_us:
            self.repeated += 1
            return
        if not stream.startswith(STREAM_PREFIX):
            self.skipped += (start_us - expected_us) // (end_us - start_us)
        self._ends_us[stream] = end_us

    @property
    def streams(self) -> list[str]:
        return sorted(self._ends_us)

    def live_seconds(self) -> float:
        """How much live media the windows cover, by event time."""
        return 0.0 if self.first_us is None else (self.last_us - self.first_us) / 1e6


def percentile_us(latencies_us: deque[int], share: float) -> int:
    """By nearest rank: the smallest one that at least ``share`` of all do not exceed."""
    ordered = sorted(latencies_us)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]
