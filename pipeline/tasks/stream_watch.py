"""What is odd about a stream, said once: bytes that look swapped, two partition numbers."""

from __future__ import annotations

from pipeline.media.byte_order import looks_swapped
from pipeline.record import MediaRecord

STREAMS_MAX = 100_000  # remembered; beyond it a stream may be told of again


class StreamWatch:
    """Looks at the first record of each stream in each input; every finding is told once.

    ``copartition_violations`` counts records of a stream that came on another partition
    number than its first: such a stream's inputs never meet in one window.
    """

    def __init__(self) -> None:
        self._partitions: dict[str, int] = {}
        self._known: dict[tuple[str, int], set[str]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._split: set[str] = set()
        self._warnings: list[str] = []
        self.copartition_violations = 0

    def known(self, input: str, partition: int) -> set[str]:
        """Streams whose records in this partition need no look any more; ``look`` adds to them."""
        return self._known.setdefault((input, partition), set())

    def look(self, record: MediaRecord) -> None:
        partition = record.log.partition
        if self._partitions.setdefault(record.stream, partition) != partition:
            self._violated(record)
        else:
            self.known(record.input, partition).add(record.stream)
        key = (record.input, record.stream)
        if key not in self._seen:
            self._first(record)
            self._seen.add(key)
            if len(self._seen) > STREAMS_MAX:
                self._seen.clear()
                self._partitions.clear()
                self._known.clear()
                self._split.clear()

    def warn(self, text: str) -> None:
        self._warnings.append(text)

    def take_warnings(self) -> list[str]:
        warnings, self._warnings = self._warnings, []
        return warnings

    def _first(self, record: MediaRecord) -> None:
        facts = record.facts
        if facts.kind == "audio" and looks_swapped(record.payload, facts.format, facts.channels):
            self._warnings.append(
                f"inputs.{record.input}: audio of stream {record.stream!r} looks byte-swapped "
                f"({facts.format}); audio/L16 is big-endian: for samples as numpy writes them set "
                f"type: audio/x-raw;format=S16LE;rate={facts.rate};channels={facts.channels}"
            )

    def _violated(self, record: MediaRecord) -> None:
        self.copartition_violations += 1
        if record.stream in self._split:
            return
        self._split.add(record.stream)
        self._warnings.append(
            f"inputs.{record.input}: stream {record.stream!r} came on partition "
            f"{record.log.partition} and on {self._partitions[record.stream]} before: its inputs "
            "do not meet; give all producers the same partitioner (murmur2) and partition count"
        )
