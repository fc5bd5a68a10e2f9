"""Records of a stage's own topic (``stages.NAME.out``), in the transaction of the results.

Text, data, audio and images are one record a window, like what a producer would send: a stage
of another pipeline can read them. Vectors are Arrow, with many rows a record (design, records).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from pipeline.encoders.base import Audio
from pipeline.slot.ports import OutRecord
from pipeline.spec import PipelineSpec
from pipeline.tasks.messages import Opened
from pipeline.tasks.results import rfc3339

OUTPUT_TYPE = b"motet.output.v1"
ARROW_TYPE = b"application/vnd.apache.arrow.stream"
# Rows of one record: below the 1 MiB that a broker takes by default, since a transaction may
# hold any number of windows (after an outage, all that the slot's budget admits).
ARROW_BYTES_MAX = 512 << 10


class VectorRow(NamedTuple):
    """One window's vector on its way into an Arrow record; stands among a slot's records."""

    topic: str
    partition: int
    stage: str
    stream: str
    start_us: int
    end_us: int
    vector: np.ndarray[Any, np.dtype[np.float32]]


class StageOutputs:
    """Builds what the stages with an ``out`` topic give.

    Invariant: every output of such a stage is in exactly one record of its topic, on the
    lane's partition; an Arrow record holds rows of one transaction, in lane order, of at most
    ``ARROW_BYTES_MAX`` or one row.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        self._topics = {name: stage.out for name, stage in spec.stages.items() if stage.out}
        self._source = f"motet/{spec.name}".encode()

    def of_window(
        self, window: Opened, outputs: dict[str, Any]
    ) -> list[tuple[str, OutRecord | VectorRow]]:
        """By stage, what it gives; a vector is still to be packed with others."""
        return [
            (name, self._record(name, topic, window, outputs[name]))
            for name, topic in self._topics.items()
            if name in outputs
        ]

    def packed(self, records: Iterable[OutRecord | VectorRow]) -> list[OutRecord]:
        """The records of one transaction, with vectors gathered by topic and partition."""
        packed: list[OutRecord] = []
        rows: dict[tuple[str, int], list[VectorRow]] = {}
        for record in records:
            if isinstance(record, VectorRow):
                rows.setdefault((record.topic, record.partition), []).append(record)
            else:
                packed.append(record)
        for (topic, lane), held in rows.items():
            packed += [self._arrow(topic, lane, part) for part in _parts(held)]
        return packed

    def _record(self, stage: str, topic: str, window: Opened, output: Any) -> OutRecord | VectorRow:
        if isinstance(output, np.ndarray) and output.ndim == 1:
            return VectorRow(
                topic, window.lane, stage, window.stream, window.start_us, window.end_us, output
            )
        content_type, value = _written(output)
        length_us = window.end_us - window.start_us
        if isinstance(output, Audio):  # speech lasts as long as it takes to say it
            length_us = max(1, len(output.samples) * 1_000_000 // output.rate)
        headers = (
            ("content-type", content_type),
            *self._cloud_event(stage),
            ("ce_id", f"{window.stream}/{window.start_us}/{stage}".encode()),
            ("ce_time", rfc3339(window.start_us)),
            ("ce_mediadur", str(length_us).encode()),
        )
        return OutRecord(topic, window.lane, window.stream.encode(), value, headers)

    def _arrow(self, topic: str, lane: int, rows: list[VectorRow]) -> OutRecord:
        import pyarrow as pa

        flat = np.concatenate([row.vector for row in rows]).astype(np.float32)
        width = len(rows[0].vector)
        table = pa.table(
            {
                "stream": pa.array([row.stream for row in rows], pa.string()),
                "start_us": pa.array([row.start_us for row in rows], pa.int64()),
                "end_us": pa.array([row.end_us for row in rows], pa.int64()),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), width),
            }
        )
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        first = rows[0]
        headers = (
            ("content-type", ARROW_TYPE),
            *self._cloud_event(first.stage),
            ("ce_id", f"{first.stage}/{lane}/{first.stream}/{first.start_us}".encode()),
            ("ce_time", rfc3339(first.start_us)),
        )
        return OutRecord(topic, lane, None, sink.getvalue(), headers)

    def _cloud_event(self, stage: str) -> tuple[tuple[str, bytes], ...]:
        return (
            ("ce_specversion", b"1.0"),
            ("ce_type", OUTPUT_TYPE),
            ("ce_source", self._source + b"/" + stage.encode()),
        )


def _parts(rows: list[VectorRow]) -> Iterator[list[VectorRow]]:
    first, size_bytes = 0, 0
    for place, row in enumerate(rows):
        row_bytes = row.vector.nbytes + len(row.stream.encode()) + 24  # two times and an offset
        if place > first and size_bytes + row_bytes > ARROW_BYTES_MAX:
            yield rows[first:place]
            first, size_bytes = place, 0
        size_bytes += row_bytes
    yield rows[first:]


def _written(output: Any) -> tuple[bytes, bytes]:
    """Content type and bytes of a text, a data map, audio (L16) or an image (PNG)."""
    if isinstance(output, str):
        return b"text/plain", output.encode()
    if isinstance(output, dict):
        text = json.dumps(output, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return b"application/json", text.encode()
    if isinstance(output, Audio):
        samples = np.clip(np.rint(output.samples * 32768.0), -32768, 32767).astype(">i2")
        return f"audio/L16;rate={output.rate};channels=1".encode(), samples.tobytes()
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(output).save(sink, "PNG")
    return b"image/png", sink.getvalue()
