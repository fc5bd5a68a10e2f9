"""Late and dead-letter records: the original, and headers that say why (contract section 4)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.batching.batch import RecordId
from pipeline.record import UnsoundRecord
from pipeline.slot.ports import Headers, LogRecord, OutRecord

HEADER_CHARS_MAX = 1000  # of an error text: a decoder's message may quote the payload


class LetterBox:
    """Builds the records of the late and the dead-letter topic of one pipeline.

    Invariant: original key, value and headers, the input's partition number, and headers that
    name the record's place. One over ``value_bytes_max`` goes with an empty value.
    """

    def __init__(self, late_topic: str, dead_letter_topic: str, value_bytes_max: int) -> None:
        self._late_topic = late_topic
        self._dead_letter_topic = dead_letter_topic
        self._value_bytes_max = value_bytes_max

    def late(self, record: LogRecord, starts_us: Sequence[int], clock_us: int) -> OutRecord:
        behind = f"its windows closed before it came: the clock stood at {clock_us}"
        headers = [
            *_reason("late", behind, record),
            ("motet-clock-us", str(clock_us).encode()),
            ("motet-windows", ",".join(map(str, starts_us)).encode()),
        ]
        return self._copy(self._late_topic, record, headers)

    def unsound(self, unsound: UnsoundRecord) -> OutRecord:
        headers = _reason(unsound.reason, unsound.error, unsound.log)
        return self._copy(self._dead_letter_topic, unsound.log, headers)

    def undecodable(self, record: LogRecord, stage: str, error: str) -> OutRecord:
        headers = [*_reason("undecodable", error, record), ("motet-stage", stage.encode())]
        return self._copy(self._dead_letter_topic, record, headers)

    def failed(
        self, lane: int, stream: str, window: tuple[int, int], stage: str, error: str,
        records: Sequence[RecordId],
    ) -> OutRecord:  # fmt: skip
        """The one entry of a window that a stage failed on."""
        value = {
            "stream": stream,
            "window": {"start_us": window[0], "end_us": window[1]},
            "stage": stage,
            "error": error,
            "records": records,
        }
        headers = (
            ("content-type", b"application/json"),
            ("motet-reason", b"encode-failed"),
            ("motet-error", error[:HEADER_CHARS_MAX].encode()),
            ("motet-stage", stage.encode()),
        )
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return OutRecord(self._dead_letter_topic, lane, stream.encode(), text.encode(), headers)

    def _copy(self, topic: str, record: LogRecord, headers: Headers) -> OutRecord:
        value = record.value or b""
        kept = [h for h in record.headers if not h[0].startswith("motet-")]
        if len(value) > self._value_bytes_max:
            headers = [*headers, ("motet-original-bytes", str(len(value)).encode())]
            value = b""
        return OutRecord(topic, record.partition, record.key, value, (*kept, *headers))


def _reason(reason: str, error: str, record: LogRecord) -> list[tuple[str, bytes]]:
    return [
        ("motet-reason", reason.encode()),
        ("motet-error", error[:HEADER_CHARS_MAX].encode()),
        ("motet-topic", record.topic.encode()),
        ("motet-partition", str(record.partition).encode()),
        ("motet-offset", str(record.offset).encode()),
    ]
