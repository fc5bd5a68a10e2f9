"""An entry of the dead-letter or the late topic, small, and safe to show on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.cli.terminal import printable
from pipeline.slot.ports import LogRecord

PREVIEW_CHARS = 60
PREVIEW_BYTES = 16
OWN = "motet-"


class Entry(NamedTuple):
    """One entry without its value: of that the size and a preview are kept.

    ``input`` is None where the entry stands for a window; ``source`` is the place of the
    original record, ``topic[partition]@offset``, None for a window. Texts are as they came:
    what shows them makes them safe.
    """

    topic: str
    partition: int
    offset: int
    time_us: int
    reason: str
    error: str
    input: str | None
    stage: str | None
    source: str | None
    key: str | None
    headers: Mapping[str, str]
    size_bytes: int
    preview: str


def entry_of(record: LogRecord, inputs: Mapping[str, str]) -> Entry:
    """``inputs``: topic -> input name; another topic's name is shown as it is."""
    headers = {name: text_of(value) for name, value in record.headers}
    topic = headers.get("motet-topic")
    source = None
    if topic is not None:
        source = f"{topic}[{headers.get('motet-partition')}]@{headers.get('motet-offset')}"
    size = headers.get("motet-original-bytes", "")
    value = record.value or b""
    return Entry(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        time_us=record.timestamp_us,
        reason=headers.get("motet-reason", "unknown"),
        error=headers.get("motet-error", ""),
        input=None if topic is None else inputs.get(topic, topic),
        stage=headers.get("motet-stage"),
        source=source,
        key=None if record.key is None else text_of(record.key),
        headers=headers,
        size_bytes=int(size) if size.isascii() and size.isdigit() else len(value),
        preview=preview(value, headers.get("content-type", "")),
    )


def as_json(entry: Entry) -> dict[str, Any]:
    from pipeline.spec import format_rfc3339

    shown = entry._asdict()
    del shown["time_us"]
    time = format_rfc3339(entry.time_us, "microseconds")
    return {**shown, "headers": dict(entry.headers), "time": time}


def lines_of(entry: Entry) -> list[str]:
    """An entry for people: what and why, then where it came from, then what is in it."""
    from pipeline.spec import format_rfc3339

    place = f"{entry.topic}[{entry.partition}]@{entry.offset}"
    stage = f"  stage {entry.stage}" if entry.stage else ""
    own = {"content-type", *(name for name in entry.headers if name.startswith(OWN))}
    others = " ".join(f"{k}={v}" for k, v in entry.headers.items() if k not in own)
    kind = entry.headers.get("content-type", "")
    lines = [
        f"{place}  {format_rfc3339(entry.time_us, 'milliseconds')}  {entry.reason}{stage}",
        f"  error    {entry.error}",
        f"  from     {entry.source or 'a window'}  key {entry.key or '-'}",
        f"  headers  {others}" if others else "",
        f"  value    {entry.size_bytes} bytes  {kind}  {entry.preview}",
    ]
    return [printable(line).rstrip() for line in lines if line]


def preview(value: bytes, content_type: str) -> str:
    """The beginning of a value: its text, where it is text, else its first bytes in hex."""
    if not value:
        return "(empty)"
    texts = content_type.startswith("text/") or "json" in content_type or not content_type
    if texts:
        head = value[: 4 * PREVIEW_CHARS]
        try:
            text = head.decode()
        except UnicodeDecodeError as error:
            # a character that the cut has split is no fault
            text = head[: error.start].decode() if error.start > len(head) - 4 else ""
        if text:
            whole = len(text) <= PREVIEW_CHARS and len(head) == len(value)
            return json.dumps(text if whole else f"{text[:PREVIEW_CHARS]}...", ensure_ascii=False)
    more = " ..." if len(value) > PREVIEW_BYTES else ""
    return f"{value[:PREVIEW_BYTES].hex(' ')}{more}"


def text_of(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "backslashreplace")
