"""Which stream a record belongs to, when it was taken, and how far the times run back."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.media.event_time import Rfc3339
from pipeline.media.probe.json_value import TimeField
from pipeline.media.probe.raw import pairs
from pipeline.media.probe.sample import Finding, Placed, Sure, TopicSample, header, shown
from pipeline.media.reading import STREAM_BYTES_MAX
from pipeline.slot.ports import LogRecord

_NO_STREAM = re.compile(
    r"content-type|content-encoding|ce_(specversion|id|type|time|sequence|mediadur|datacontenttype"
    r"|dataschema)|traceparent|tracestate|baggage|b3|x-b3-.*|motet-.*|correlation-?id|schema.*",
    re.IGNORECASE,
)
_STREAM = re.compile(
    r"stream|device|camera|cam|mic|sensor|source|session|room|channel|station|partitionkey|subject",
    re.IGNORECASE,
)
_DISORDERS_US = (200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000)
OUT_OF_ORDERNESS_US = _DISORDERS_US[0]  # the default of a pipeline file
_MARGIN = 1.5


class StreamGuess(NamedTuple):
    """``where``: ``key``, ``partition`` or ``header:NAME``, as a pipeline file has it."""

    where: str
    findings: tuple[Finding, ...]

    def of(self, record: LogRecord) -> str | None:
        """The record's stream id, None where it has none that the reader takes."""
        if self.where == "partition":
            return str(record.partition)
        name = self.where.removeprefix("header:")
        return stream_id(record.key if self.where == "key" else header(record, name))


class TimeGuess(NamedTuple):
    """Where the event time is: in ``field`` (JSON), in ``ce_time``, or Kafka's timestamp."""

    source: Literal["json", "ce_time", "kafka"]
    field: TimeField | None
    times_us: tuple[int | None, ...]  # one a record
    findings: tuple[Finding, ...]


def stream_id(raw: bytes | None) -> str | None:
    if not raw or len(raw) > STREAM_BYTES_MAX:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def guess_stream(records: Sequence[LogRecord]) -> StreamGuess:
    """The key where there are keys, else a header that could be it, else the partition."""
    keys = [stream_id(record.key) for record in records]
    known = [key for key in keys if key is not None]
    of_its_own = len(records) >= 8 and len(set(known)) > 0.8 * len(records)
    if known and not of_its_own:
        text = f"the key ({_examples(known)})"
        if len(known) == len(records):
            return StreamGuess("key", (Finding("stream", text, "sure"),))
        lacking = len(records) - len(known)
        text += f"; {lacking} of {len(records)} records have no usable key: dead letters"
        return StreamGuess("key", (Finding("stream", text, "likely"),))
    why = "each record has a key of its own" if known else "the records have no usable key"
    name = _stream_header(records)
    if name is not None:
        values = [stream_id(header(record, name)) or "" for record in records]
        text = f"header {shown(name)} ({_examples(values)}); {why}"
        sure: Literal["likely", "guess"] = "likely" if _STREAM.search(name) else "guess"
        return StreamGuess(f"header:{name}", (Finding("stream", text, sure),))
    if known:
        text = "the key, though each record has a key of its own: a stream needs one for all of it"
        return StreamGuess("key", (Finding("stream", text, "guess"),))
    text = f"each partition is one; {why}, and no header could be it"
    return StreamGuess("partition", (Finding("stream", text, "likely"),))


def _stream_header(records: Sequence[LogRecord]) -> str | None:
    """A header that all records have, with few values; named as a stream's before others."""
    names = {name for name, _ in records[0].headers}
    best: tuple[int, str] | None = None
    for name in sorted(names):
        if _NO_STREAM.fullmatch(name) or not name.strip() or "$" in name:
            continue
        values = [stream_id(header(record, name)) for record in records]
        if None in values or (len(records) >= 8 and len(set(values)) > 0.5 * len(records)):
            continue
        rank = 0 if name == "ce_source" else 2 if _STREAM.search(name) else 1
        if best is None or rank > best[0]:
            best = rank, name
    return None if best is None else best[1]


def _examples(values: Sequence[str]) -> str:
    different = list(dict.fromkeys(values))
    listed = ", ".join(shown(value, 24) for value in different[:3])
    return listed if len(different) <= 3 else f"{listed} and {len(different) - 3} more"


def guess_time(sample: TopicSample, field: TimeField | None, others: Sequence[str]) -> TimeGuess:
    """A field of the JSON before ``ce_time`` before Kafka's timestamp, as the reader has it."""
    records = sample.records
    if field is not None:
        findings = [field.finding]
        if others:
            text = f"it could also be {', '.join(shown(other) for other in others[:3])}"
            findings.append(Finding("time", text, "guess"))
        return TimeGuess("json", field, field.times_us, tuple(findings))
    clock = Rfc3339()
    times = [_ce_time_us(record, clock) for record in records]
    there = sum(header(record, "ce_time") is not None for record in records)
    appended = "when they arrived" if sample.append_time else "when their producer made them"
    if there == 0:
        text = f"Kafka's timestamps, which say {appended}"
        kafka = tuple(record.timestamp_us for record in records)
        return TimeGuess("kafka", None, kafka, (Finding("time", text, "sure"),))
    text = "header ce_time"
    if there < len(records):
        text += f"; {len(records) - there} records without it take Kafka's ({appended})"
    broken = there - sum(time is not None for time in times)
    if broken:
        text += f"; {broken} are no RFC 3339 times and would be dead letters"
    placed = tuple(
        time if time is not None else record.timestamp_us
        for time, record in zip(times, records, strict=True)
    )
    sure: Sure = "likely" if there < len(records) or broken else "sure"
    return TimeGuess("ce_time", None, placed, (Finding("time", text, sure),))


def _ce_time_us(record: LogRecord, clock: Rfc3339) -> int | None:
    value = header(record, "ce_time")
    try:
        return None if value is None else clock.parse_us(value)
    except ValueError:
        return None


def disorder(placed: Sequence[Placed]) -> tuple[int, Finding]:
    """``out_of_orderness`` in microseconds: a half more than any record was seen to run back."""
    newest: dict[tuple[int, str], int] = {}
    back_us = late = 0
    for each in placed:
        place = each.run, each.stream
        top_us = newest.get(place, each.event_us)
        if each.event_us < top_us:
            back_us, late = max(back_us, top_us - each.event_us), late + 1
        newest[place] = max(top_us, each.event_us)
    if late == 0:
        text = f"200 ms, the default: of {len(placed)} seen, no record ran back"
        return OUT_OF_ORDERNESS_US, Finding(
            "out_of_orderness", text, "likely" if len(placed) >= 50 else "guess"
        )
    wanted_us = round(back_us * _MARGIN)
    chosen_us = next((each for each in _DISORDERS_US if each >= wanted_us), _DISORDERS_US[-1])
    text = f"{late} of {len(placed)} records ran back by up to {back_us / 1e6:.3g} s"
    if chosen_us < wanted_us:
        text += f"; more than {chosen_us / 1e6:g} s is not suggested, so some would be late"
    return chosen_us, Finding("out_of_orderness", text, "guess")


def spacing_us(placed: Sequence[Placed]) -> int | None:
    """The usual time from one record of a stream to its next; None where none is followed."""
    gaps = [abs(after.event_us - before.event_us) for before, after in pairs(placed)]
    return round(statistics.median(gaps)) if gaps else None
