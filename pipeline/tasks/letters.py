"""Late and dead-letter records: the original, and headers that say why (contract section 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pipeline.batching.batch import RecordId
from pipeline.connectors.limits import batch_bytes
from pipeline.record import Reason, UnsoundRecord, header_texts
from pipeline.slot.ports import Headers, LogRecord, OutRecord

REASON = "motet-reason"
ENCODE_FAILED: Reason = "encode-failed"
HEADER_CHARS_MAX = 1000  # of an error text: a decoder's message may quote the payload


class LetterBox:
    """Builds the records of the late and the dead-letter topic of one pipeline.

    Invariant: original key, value and headers, the input's partition number, and headers that
    name the record's place; and no record that its topic would refuse. One with a value over
    ``value_bytes_max``, or that is over its topic's limit, goes with an empty value.
    """

    def __init__(
        self,
        late_topic: str,
        dead_letter_topic: str,
        value_bytes_max: int,
        message_bytes: Mapping[str, int],
    ) -> None:
        """``message_bytes``: by topic the largest record that it takes; not known: any."""
        self._late_topic = late_topic
        self._dead_letter_topic = dead_letter_topic
        self._value_bytes_max = value_bytes_max
        self._message_bytes = message_bytes

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
            (REASON, ENCODE_FAILED.encode()),
            ("motet-error", _header(error)),
            ("motet-stage", stage.encode()),
        )
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        content = text.encode("utf-8", "backslashreplace")
        letter = OutRecord(self._dead_letter_topic, lane, stream.encode(), content, headers)
        return letter if self._fits(letter) else _emptied(letter)

    def _copy(self, topic: str, record: LogRecord, headers: Headers) -> OutRecord:
        value = record.value
        kept = [h for h in record.headers if not h[0].startswith("motet-")]
        letter = OutRecord(topic, record.partition, record.key, value, (*kept, *headers))
        if len(value or b"") <= self._value_bytes_max and self._fits(letter):
            return letter
        letter = _emptied(letter)
        if self._fits(letter):
            return letter
        # What fills it is a header or the key: where it lies in its input is told all the same.
        letter = letter._replace(headers=letter.headers[len(kept) :])
        return letter if self._fits(letter) else letter._replace(key=None)

    def _fits(self, letter: OutRecord) -> bool:
        limit = self._message_bytes.get(letter.topic)
        return limit is None or batch_bytes(letter) <= limit


def reason_of(letter: OutRecord) -> str:
    """Of a late record or a dead letter, as its header says."""
    return header_texts(letter.headers).get(REASON, "unknown")


def _emptied(letter: OutRecord) -> OutRecord:
    size = ("motet-original-bytes", str(len(letter.value or b"")).encode())
    return letter._replace(value=b"", headers=(*letter.headers, size))


def _header(error: str) -> bytes:
    return error[:HEADER_CHARS_MAX].encode("utf-8", "backslashreplace")


def _reason(reason: str, error: str, record: LogRecord) -> list[tuple[str, bytes]]:
    return [
        (REASON, reason.encode()),
        ("motet-error", _header(error)),
        ("motet-topic", record.topic.encode()),
        ("motet-partition", str(record.partition).encode()),
        ("motet-offset", str(record.offset).encode()),
    ]
