"""What has been committed so far: the figures of the summary and of the counters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import TypeVar

from pipeline.record import LETTERED
from pipeline.tasks.figures import Figures
from pipeline.tasks.messages import Counts

FATES = ("fused", "late", "dead_letter")
_K = TypeVar("_K")


@dataclass(slots=True)
class Totals:
    """Committed counts; they never fall, and a recovery adds nothing twice."""

    records: dict[str, int] = field(default_factory=dict)
    record_bytes: dict[str, int] = field(default_factory=dict)
    fates: dict[tuple[str, str], int] = field(default_factory=dict)
    incomplete: dict[str, int] = field(default_factory=dict)  # windows, by the input they miss
    late: int = 0
    forced: int = 0
    windows: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)  # entries, by reason

    @property
    def dead_letter(self) -> int:
        return sum(self.dead_letters.values())

    @classmethod
    def begun(cls, inputs: Iterable[str]) -> Totals:
        """Nothing yet, of each input: a series that is there before has growth with its first."""
        names = tuple(inputs)
        return cls(
            records=dict.fromkeys(names, 0),
            record_bytes=dict.fromkeys(names, 0),
            fates=dict.fromkeys(product(names, FATES), 0),
            incomplete=dict.fromkeys(names, 0),
            dead_letters=dict.fromkeys(LETTERED, 0),
        )

    def add_counts(self, counts: Counts) -> None:
        _add(self.records, counts.records)
        _add(self.record_bytes, counts.record_bytes)
        _add(self.fates, counts.fates)
        _add(self.incomplete, counts.incomplete)
        self.late += counts.late
        self.forced += counts.forced

    def add_letter(self, reason: str) -> None:
        self.dead_letters[reason] = self.dead_letters.get(reason, 0) + 1

    def copy(self) -> Totals:
        """As they stand now, for another thread."""
        copied = Totals()
        copied.add(self)
        return copied

    def add(self, other: Totals) -> None:
        _add(self.records, other.records)
        _add(self.record_bytes, other.record_bytes)
        _add(self.fates, other.fates)
        _add(self.incomplete, other.incomplete)
        self.late += other.late
        self.forced += other.forced
        self.windows += other.windows
        _add(self.dead_letters, other.dead_letters)

    def figures(self) -> Figures:
        """The counters that these are."""
        figures = Figures()
        for input, count in self.records.items():
            figures.count("motet_records_total", count, input)
        for input, count in self.record_bytes.items():
            figures.count("motet_record_bytes_total", count, input)
        for (input, fate), count in self.fates.items():
            figures.count("motet_record_fates_total", count, input, fate)
        for input, count in self.incomplete.items():
            figures.count("motet_windows_incomplete_total", count, input)
        for reason, count in self.dead_letters.items():
            figures.count("motet_dead_letters_total", count, reason)
        figures.count("motet_windows_total", self.windows)
        figures.count("motet_windows_forced_total", self.forced)
        return figures


def _add(into: dict[_K, int], what: dict[_K, int]) -> None:
    for key, count in what.items():
        into[key] = into.get(key, 0) + count
