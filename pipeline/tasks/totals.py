"""What has been committed so far: the figures of the summary and of the counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.tasks.messages import Counts

_K = TypeVar("_K")


@dataclass(slots=True)
class Totals:
    """Committed counts; they never fall, and a recovery adds nothing twice."""

    records: dict[str, int] = field(default_factory=dict)
    record_bytes: dict[str, int] = field(default_factory=dict)
    fates: dict[tuple[str, str], int] = field(default_factory=dict)
    late: int = 0
    forced: int = 0
    windows: int = 0
    dead_letter: int = 0

    def add_counts(self, counts: Counts) -> None:
        _add(self.records, counts.records)
        _add(self.record_bytes, counts.record_bytes)
        _add(self.fates, counts.fates)
        self.late += counts.late
        self.forced += counts.forced

    def copy(self) -> Totals:
        """As they stand now, for another thread."""
        copied = Totals()
        copied.add(self)
        return copied

    def add(self, other: Totals) -> None:
        _add(self.records, other.records)
        _add(self.record_bytes, other.record_bytes)
        _add(self.fates, other.fates)
        self.late += other.late
        self.forced += other.forced
        self.windows += other.windows
        self.dead_letter += other.dead_letter


def _add(into: dict[_K, int], what: dict[_K, int]) -> None:
    for key, count in what.items():
        into[key] = into.get(key, 0) + count
