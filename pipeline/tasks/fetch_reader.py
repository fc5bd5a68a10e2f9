"""What was fetched of an input, as its lane takes it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.lane import LaneRecord
from pipeline.media.reading import Reader, rules_of
from pipeline.record import UnsoundRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec import PipelineSpec
from pipeline.tasks.ingest_view import IngestFigures
from pipeline.tasks.stream_watch import StreamWatch


class FetchReader:
    """Invariant: every record of the log becomes one of its lane, in log order, whether it is
    sound or not: an unsound one has its place too, and is dead-lettered when it is applied.
    """

    def __init__(self, spec: PipelineSpec, watch: StreamWatch, shown: IngestFigures) -> None:
        self._reader = Reader(rules_of(spec))
        self._watch = watch
        self._shown = shown

    def read(self, name: str, partition: int, raws: Sequence[LogRecord]) -> list[LaneRecord]:
        """Records of one partition of the input ``name``."""
        records, newest_us = [], None
        known = self._watch.known(name, partition)
        for raw in raws:
            offset, append_us = raw.offset, raw.timestamp_us
            read = self._reader.read(name, raw)
            if isinstance(read, UnsoundRecord):
                size = len(raw.value or b"")
                record = LaneRecord(name, offset, append_us, None, size_bytes=size, body=read)
            else:
                _, stream, ts_us, end_us, _, payload, _ = read
                if stream not in known:
                    self._watch.look(read)
                size = len(payload)
                record = LaneRecord(name, offset, append_us, stream, ts_us, end_us, size, read)
                if newest_us is None or end_us > newest_us:
                    newest_us = end_us
            records.append(record)
        if newest_us is not None:
            self._shown.read(name, newest_us)
        return records
