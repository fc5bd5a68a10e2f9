"""Records whose values are JSON: which field holds the media, and which the event time."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.event_time import Rfc3339
from pipeline.media.json_fields import JsonPayload, TimeUnit, payload_at
from pipeline.media.probe.formats import RAW, recognise
from pipeline.media.probe.raw import guess_raw
from pipeline.media.probe.sample import Finding, Sure, shown

_DEPTH_MAX = 6
_FIELDS_MAX = 200
_STEP = re.compile(r"[^.\s$]+")  # what a path in a pipeline file can name
_BASE64_MIN = 24
_LIST_MIN = 64
_DATA_URL = re.compile(r"data:[a-z]+/[^,]*;base64,")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_UNITS_US: dict[TimeUnit, float] = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
# 2000 to 2100: the units are a thousand apart, so only one of them fits a number.
_TIME_MIN_US, _TIME_MAX_US = 946_684_800_000_000, 4_102_444_800_000_000
_DAY_US = 86_400_000_000
_NAMED_TIME = re.compile(r"(^|_)(ts|time|timestamp|t|at|date|datetime|when|epoch)(_|$)|time|stamp")
_TAKEN_TIME = re.compile(r"captur|event|sampl|record|start|taken|media|frame|^ts$|^timestamp$")
_LATER_TIME = re.compile(r"receiv|process|ingest|creat|insert|update|sent|publish|expir|end")
_NAMED_TEXT = re.compile(r"text|message|msg|body|content|transcript|caption|comment|title|words")
_OPAQUE = re.compile(r"[0-9a-fA-F-]{16,}|\S*://\S*|\d+(\.\d+)?")


class PayloadField(NamedTuple):
    """``payload: {json: PATH, base64: ...}``."""

    path: str
    base64: bool
    finding: Finding

    def of(self, document: Any) -> bytes | None:
        """What a document holds there, None where the reader would find nothing."""
        where = JsonPayload(tuple(self.path.split(".")), self.base64)
        try:
            return payload_at(document, where, text=not self.base64)
        except UndecodableRecord:
            return None


class TimeField(NamedTuple):
    """``time: {json: PATH, unit: UNIT}``; one time a record, None where it has none."""

    path: str
    unit: TimeUnit
    times_us: tuple[int | None, ...]
    finding: Finding


def fields_of(document: Any) -> dict[str, Any]:
    """Dotted path -> value of every leaf that a pipeline file can name; lists are leaves."""
    found: dict[str, Any] = {}
    for path, value in _leaves(document, ()):
        if len(found) >= _FIELDS_MAX:
            break
        found[".".join(path)] = value
    return found


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, dict):
        if path:
            yield path, value
    elif len(path) < _DEPTH_MAX:
        for key, inner in value.items():
            if _STEP.fullmatch(key):
                yield from _leaves(inner, (*path, key))


def find_payload(documents: Sequence[dict[str, Any]]) -> PayloadField | None:
    """The field that holds media: known formats first, then raw audio, then plain text."""
    rows = [fields_of(document) for document in documents]
    texts = {
        path: found
        for path in dict.fromkeys(path for row in rows for path in row)
        if (found := _strings(rows, path)) is not None
    }
    packed = {
        path: payloads
        for path, found in texts.items()
        if (payloads := _unpacked(found)) is not None
    }
    for path, payloads in packed.items():
        kind = recognise(payloads[0]).content_type
        if kind.partition("/")[0] in ("image", "audio", "video"):
            text = f"field {shown(path)}, which is {kind} in base64"
            return PayloadField(path, True, Finding("payload", text, "sure"))
    for path, payloads in packed.items():
        if recognise(payloads[0]).content_type == RAW and guess_raw(payloads) is not None:
            text = f"field {shown(path)}, which is raw audio in base64"
            return PayloadField(path, True, Finding("payload", text, "likely"))
    plain = {path: found for path, found in texts.items() if path not in packed}
    scores = {path: _wordiness(path, found) for path, found in plain.items()}
    best = max(scores, key=lambda path: scores[path], default=None)
    if best is None or scores[best] < 1:
        return None
    sure: Sure = "likely" if scores[best] >= 3 else "guess"
    finding = Finding("payload", f"field {shown(best)}, which is text", sure)
    return PayloadField(best, False, finding)


def unread_field(documents: Sequence[dict[str, Any]]) -> str | None:
    """A field that plainly holds media in a form that is not read, and what to send instead."""
    for path, value in fields_of(documents[0]).items():
        name = f"field {shown(path)}"
        if isinstance(value, str) and _DATA_URL.match(value):
            return f"{name} holds a data: URL, which is not read; send the base64 behind its comma"
        if isinstance(value, list) and len(value) >= _LIST_MIN and _is_numbers(value):
            return f"{name} is a list of numbers, which is not read; send base64 of their bytes"
        if isinstance(value, str) and _is_base64url(value):
            return f"{name} is base64url, which is not read; send base64 with + and /"
    return None


def _is_numbers(values: list[Any]) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _is_base64url(text: str) -> bool:
    """Long, of that alphabet alone, with one of its own two letters; and media inside."""
    if len(text) < _LIST_MIN or not _BASE64URL.fullmatch(text) or not set(text) & {"-", "_"}:
        return False
    bare = text.rstrip("=")
    try:
        payload = binascii.a2b_base64(
            bare.replace("-", "+").replace("_", "/") + "=" * (-len(bare) % 4), strict_mode=True
        )
    except ValueError:
        return False
    return recognise(payload).content_type.partition("/")[0] in ("image", "audio", "video")


def _strings(rows: Sequence[dict[str, Any]], path: str) -> list[str] | None:
    """The strings at a path, where nearly all records have one there."""
    found = [row[path] for row in rows if isinstance(row.get(path), str)]
    return found if found and len(found) >= 0.9 * len(rows) else None


def _unpacked(texts: Sequence[str]) -> tuple[bytes, ...] | None:
    """What base64 holds; None where one of the texts is none, or too short to tell."""
    payloads = []
    for text in texts:
        joined = "".join(text.split())
        if len(joined) < _BASE64_MIN or len(joined) % 4:
            return None
        try:
            payloads.append(binascii.a2b_base64(joined, strict_mode=True))
        except ValueError:
            return None
    return tuple(payloads)


def _wordiness(path: str, texts: Sequence[str]) -> int:
    """How much a field looks like words that somebody said: 0 to 4."""
    if all(_OPAQUE.fullmatch(text) for text in texts) or _is_time(texts[0]):
        return 0
    spaced = sum(" " in text.strip() for text in texts) >= 0.5 * len(texts)
    named = bool(_NAMED_TEXT.search(path.rpartition(".")[2].lower()))
    varied = len(set(texts)) > 1
    return 2 * named + spaced + (varied and (named or spaced))


def _is_time(text: str) -> bool:
    return _unit_of(text) is not None


def find_time(
    documents: Sequence[dict[str, Any]], appended_us: Sequence[int]
) -> tuple[TimeField | None, list[str]]:
    """The field that is the event time, and the paths of others that could be."""
    rows = [fields_of(document) for document in documents]
    candidates: list[tuple[int, str, TimeUnit]] = []
    for path in dict.fromkeys(path for row in rows for path in row):
        values = [row[path] for row in rows if path in row]
        units = {_unit_of(value) for value in values}
        unit = units.pop() if len(units) == 1 else None
        if unit is None or len(values) < 0.9 * len(rows):
            continue
        score = _time_score(path, [_time_us(row.get(path), unit) for row in rows], appended_us)
        if score > 0:
            candidates.append((score, path, unit))
    candidates.sort(key=lambda each: -each[0])
    if not candidates:
        return None, []
    score, path, unit = candidates[0]
    times = tuple(_time_us(row.get(path), unit) for row in rows)
    sure: Sure = "sure" if score >= 5 and len(candidates) == 1 else "likely"
    if score < 3:
        sure = "guess"
    unit_text = "RFC 3339" if unit == "rfc3339" else f"in {unit} since 1970"
    text = f"field {shown(path)}, {unit_text}"
    lacking = sum(time is None for time in times)
    if lacking:
        text += f"; {lacking} of {len(times)} records have none and would be dead letters"
    finding = Finding("time", text, sure)
    return TimeField(path, unit, times, finding), [other for _, other, _ in candidates[1:]]


def _time_score(path: str, times_us: Sequence[int | None], appended_us: Sequence[int]) -> int:
    """By its name, and by how near it is to when the records came; 0 where it is no time."""
    known = [
        (time, near) for time, near in zip(times_us, appended_us, strict=True) if time is not None
    ]
    name = path.rpartition(".")[2].lower()
    near = all(abs(time - appended) <= _DAY_US for time, appended in known)
    named = bool(_NAMED_TIME.search(name))
    if not (named or near):
        return 0
    varied = len(known) == 1 or len({time for time, _ in known}) > 1
    score = 2 * named + near + varied + bool(_TAKEN_TIME.search(name))
    return max(1, score - 2 * bool(_LATER_TIME.search(name)))


def _unit_of(value: Any) -> TimeUnit | None:
    """The unit in which a value is a time of this century; None where it is no time."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,9})?", value):
        try:
            Rfc3339().parse_us(value.encode("ascii", "replace"))
        except ValueError:
            return None
        return "rfc3339"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int) and value.bit_length() > 63:
        return None
    number = float(value)
    for unit, factor in _UNITS_US.items():
        if _TIME_MIN_US <= number * factor <= _TIME_MAX_US:
            return unit
    return None


def _time_us(value: Any, unit: TimeUnit) -> int | None:
    if _unit_of(value) != unit:
        return None
    if unit == "rfc3339":
        return Rfc3339().parse_us(str(value).encode("ascii", "replace"))
    return int(float(value) * _UNITS_US[unit])
