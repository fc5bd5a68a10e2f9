"""What an ingest half counts in a lane between two of its cuts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.lane import LaneRecord
from pipeline.tasks.messages import Counts


@dataclass(slots=True)
class Tally:
    """Becomes the ``Counts`` of the lane's next cut, and is not used any more from then on."""

    records: dict[str, int] = field(default_factory=dict)
    record_bytes: dict[str, int] = field(default_factory=dict)
    late: int = 0
    forced: int = 0
    fates: dict[tuple[str, str], int] = field(default_factory=dict)
    incomplete: dict[str, int] = field(default_factory=dict)

    def record(self, record: LaneRecord) -> None:
        name = record.input
        self.records[name] = self.records.get(name, 0) + 1
        self.record_bytes[name] = self.record_bytes.get(name, 0) + record.size_bytes

    def fate(self, input: str, fate: str, count: int) -> None:
        if count:
            self.fates[input, fate] = self.fates.get((input, fate), 0) + count

    def missing(self, input: str) -> None:
        self.incomplete[input] = self.incomplete.get(input, 0) + 1

    def counts(self) -> Counts:
        return Counts(
            self.records, self.record_bytes, self.late, self.forced, self.fates, self.incomplete
        )
