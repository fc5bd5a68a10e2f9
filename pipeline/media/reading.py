"""From a log record to a media record: what ingest decides, and nothing more (contract section 3).

``Reader.read`` is a pure function of the record's bytes and the pipeline file: no clock, no
time limit, no full decoding. What the readers here remember makes them fast and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from pipeline.errors import UndecodableRecord
from pipeline.media.event_time import Rfc3339
from pipeline.media.facts import SAMPLE_BYTES, read_facts
from pipeline.media.json_fields import (
    JsonPayload,
    JsonTime,
    MissingField,
    parse_json,
    payload_at,
    time_at,
)
from pipeline.record import Facts, MediaRecord, Reason, UnsoundRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import MediaType, parse_media_type
from pipeline.spec.models import InputSpec, PipelineSpec
from pipeline.spec.units import Wrong

STREAM_BYTES_MAX = 256

_DIGITS = re.compile(rb"[0-9]+")
_DURATION_MAX_US = 10**18  # more digits mean no other fate: it is over every record_span
_STREAMS_CACHED = 65_536
_FACTS_CACHED = 4_096
_TYPES_CACHED = 1_024
_TYPE_BYTES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """What the pipeline file says about reading one input.

    ``stream``: ``key``, ``partition`` or ``header:NAME``. Without ``payload`` the record's value
    is the payload; without ``time`` the event time is ``ce_time``, else the log's timestamp.
    """

    media: MediaType
    stream: str = "key"
    payload: JsonPayload | None = None
    time: JsonTime | None = None
    time_offset_us: int = 0
    future_max_us: int = 60_000_000
    record_bytes: int = 32 << 20
    record_span_us: int = 60_000_000
    pixels: int = 33_000_000


def rules_of(spec: PipelineSpec) -> dict[str, ReadingRules]:
    """What a pipeline file says about reading each of its inputs."""
    return {name: _rules_of_input(spec, found) for name, found in spec.inputs.items()}


def _rules_of_input(spec: PipelineSpec, found: InputSpec) -> ReadingRules:
    payload, time = found.payload, found.time
    return ReadingRules(
        media=found.media,
        stream=found.stream,
        payload=JsonPayload(tuple(payload.json.split(".")), payload.base64) if payload else None,
        time=JsonTime(tuple(time.json.split(".")), time.unit) if time else None,
        time_offset_us=found.time_offset_us,
        future_max_us=spec.windows.future_max_us,
        record_bytes=spec.limits.record_bytes,
        record_span_us=spec.limits.record_span_us,
        pixels=spec.limits.pixels,
    )


class Reader:
    """Reads the records of all inputs of a pipeline; one for each thread."""

    def __init__(self, rules: Mapping[str, ReadingRules]) -> None:
        self._inputs = {name: _InputReader(name, rule) for name, rule in rules.items()}

    def read(self, input: str, record: LogRecord) -> MediaRecord | UnsoundRecord:
        """The record, typed and placed in event time; or why it is unsound. Raises nothing."""
        try:
            return self._inputs[input].read(record)
        except _Unsound as error:
            return UnsoundRecord(input, error.reason, str(error), record)
        except UndecodableRecord as error:
            return UnsoundRecord(input, "undecodable", str(error), record)


class _Unsound(Exception):
    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def _bad(text: str) -> NoReturn:
    raise _Unsound("bad-record", text)


def _shown(value: bytes) -> str:
    return repr(value[:80].decode("utf-8", "replace")) + ("..." if len(value) > 80 else "")


class _InputReader:
    """Reads one input; of several faults the first in the contract's order is the one named."""

    __slots__ = (
        "_by_key",
        "_clock",
        "_facts",
        "_from_json",
        "_header",
        "_name",
        "_rules",
        "_streams",
        "_types",
    )

    def __init__(self, name: str, rules: ReadingRules) -> None:
        self._name = name
        self._rules = rules
        self._clock = Rfc3339()
        self._header = rules.stream[7:] if rules.stream.startswith("header:") else None
        self._from_json = rules.payload is not None or rules.time is not None
        self._by_key = rules.stream == "key"
        self._streams: dict[bytes | None, str] = {}  # None: never
        self._types: dict[bytes | None, MediaType] = {None: rules.media}
        # Raw audio: content-type and size give the facts and the duration.
        self._facts: dict[tuple[bytes | None, int], tuple[Facts, int]] = {}

    def read(self, record: LogRecord) -> MediaRecord:
        rules = self._rules
        headers = dict(record.headers)  # of equal names the last counts
        stream = self._streams.get(record.key) if self._by_key else None
        if stream is None:
            stream = self._stream(record, headers)
        append_us = record.timestamp_us
        if append_us < 0:
            _bad(f"the Kafka timestamp is {append_us // 1000} ms; stamp records when they are sent")
        stated = headers.get("ce_mediadur")
        stated_us = None if stated is None else _stated_duration_us(stated)
        ts_us = append_us + rules.time_offset_us
        ce_time = headers.get("ce_time")
        if ce_time is not None and rules.time is None:
            try:
                ts_us = self._clock.parse_us(ce_time) + rules.time_offset_us
            except ValueError as error:
                _bad(f"ce_time = {_shown(ce_time)}: {error}; write it as 2026-05-01T12:00:00.250Z")
        payload = record.value or b""
        if len(payload) > rules.record_bytes:
            raise _Unsound(
                "too-large",
                f"{len(payload)} bytes are more than limits.record_bytes = {rules.record_bytes}",
            )
        if self._from_json:
            payload, ts_us = self._json(payload, ts_us)
        # Where the file says what is in the JSON, the header speaks of the JSON.
        content_type = None if self._from_json else headers.get("content-type")
        known = self._facts.get((content_type, len(payload)))
        facts, duration_us = known or self._measured(content_type, payload, stated_us)
        end_us = ts_us + duration_us
        if end_us - append_us > rules.future_max_us:
            raise _Unsound(
                "future",
                f"ends {end_us - append_us} us after its Kafka timestamp, more than "
                f"windows.future_max = {rules.future_max_us} us; set the sender's clock",
            )
        if duration_us > rules.record_span_us:
            raise UndecodableRecord(
                f"lasts {duration_us} us, longer than limits.record_span, {rules.record_span_us} us"
            )
        return MediaRecord(self._name, stream, ts_us, end_us, facts, payload, record)

    def _stream(self, record: LogRecord, headers: Mapping[str, bytes | None]) -> str:
        if self._header is not None:
            raw = headers.get(self._header)
        elif self._rules.stream == "partition":
            return str(record.partition)
        else:
            raw = record.key
        stream = self._streams.get(raw) if raw is not None else None
        if stream is not None:
            return stream
        if not raw:
            where = f"header {self._header}" if self._header is not None else "key"
            _bad(f"no stream id: the {where} is empty or not there; send it, or set stream")
        if len(raw) > STREAM_BYTES_MAX:
            _bad(f"the stream id has {len(raw)} bytes, more than {STREAM_BYTES_MAX}")
        try:
            stream = raw.decode("utf-8")
        except UnicodeDecodeError:
            _bad(f"the stream id {_shown(raw)} is not UTF-8")
        if len(self._streams) >= _STREAMS_CACHED:
            self._streams.clear()
        self._streams[raw] = stream
        return stream

    def _json(self, value: bytes, ts_us: int) -> tuple[bytes, int]:
        """Payload and event time where the file says that they lie in JSON."""
        rules = self._rules
        if not value:
            raise UndecodableRecord("the value is empty")
        document = parse_json(value)
        if rules.time is not None:
            try:
                ts_us = time_at(document, rules.time, self._clock) + rules.time_offset_us
            except MissingField as error:
                _bad(f"no event time: {error}")
        if rules.payload is not None:
            value = payload_at(document, rules.payload, text=rules.media.kind == "text")
        return value, ts_us

    def _measured(
        self, content_type: bytes | None, payload: bytes, stated_us: int | None
    ) -> tuple[Facts, int]:
        """Facts and duration; what its samples or frames say counts before what is stated."""
        media = self._types.get(content_type) or self._media_type(content_type or b"")
        facts = read_facts(media, payload, self._rules.pixels)
        if facts.kind != "audio":
            return facts, facts.duration_us or stated_us or 1
        measured = facts, facts.samples * 1_000_000 // facts.rate
        if media.format in SAMPLE_BYTES:
            if len(self._facts) >= _FACTS_CACHED:
                self._facts.clear()
            self._facts[content_type, len(payload)] = measured
        return measured

    def _media_type(self, content_type: bytes) -> MediaType:
        if len(content_type) > _TYPE_BYTES_MAX:
            raise UndecodableRecord(f"a content-type of {len(content_type)} bytes")
        try:
            media = parse_media_type(content_type.decode("ascii"), strict=False)
        except UnicodeDecodeError:
            raise UndecodableRecord(f"content-type = {_shown(content_type)}: not ASCII") from None
        except Wrong as error:
            raise UndecodableRecord(
                f"content-type = {_shown(content_type)}: {error.why}; {error.remedy}"
            ) from None
        if media.kind != self._rules.media.kind:
            raise UndecodableRecord(
                f"content-type = {_shown(content_type)}: input {self._name} takes "
                f"{self._rules.media.kind} ({self._rules.media})"
            )
        if len(self._types) >= _TYPES_CACHED:
            self._types = {None: self._rules.media}
        self._types[content_type] = media
        return media


def _stated_duration_us(value: bytes) -> int:
    if not _DIGITS.fullmatch(value) or not value.strip(b"0"):
        _bad(f"ce_mediadur = {_shown(value)}: is not a whole number of microseconds from 1 on")
    digits = value.lstrip(b"0")
    return int(digits) if len(digits) <= 18 else _DURATION_MAX_US
