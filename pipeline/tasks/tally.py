"""What an ingest half counts in a lane between two of its cuts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.lane import LaneRecord
from pipeline.tasks.messages import Counts


@dataclass(slots=True)
class _Taken:
    """Of one input."""

    records: int = 0
    size_bytes: int = 0
    fused: int = 0  # pairs of record and window


@dataclass(slots=True)
class Tally:
    """Becomes the ``Counts`` of the lane's next cut, and is not used any more from then on."""

    taken: dict[str, _Taken] = field(default_factory=dict)  # by input
    late: int = 0
    forced: int = 0
    fates: dict[tuple[str, str], int] = field(default_factory=dict)
    incomplete: dict[str, int] = field(default_factory=dict)

    def record(self, record: LaneRecord, fused: int) -> None:
        """``fused``: how many windows it was fused into."""
        taken = self.taken.get(record.input)
        if taken is None:
            taken = self.taken[record.input] = _Taken()
        taken.records += 1
        taken.size_bytes += record.size_bytes
        taken.fused += fused

    def fate(self, input: str, fate: str, count: int) -> None:
        if count:
            self.fates[input, fate] = self.fates.get((input, fate), 0) + count

    def missing(self, input: str) -> None:
        self.incomplete[input] = self.incomplete.get(input, 0) + 1

    def counts(self) -> Counts:
        fused = {(name, "fused"): of.fused for name, of in self.taken.items() if of.fused}
        return Counts(
            {name: of.records for name, of in self.taken.items()},
            {name: of.size_bytes for name, of in self.taken.items()},
            self.late,
            self.forced,
            self.fates | fused,
            self.incomplete,
        )
