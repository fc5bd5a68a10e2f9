"""Fields of a record whose value is JSON: the payload, and the event time (contract section 2)."""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NoReturn

from pipeline.errors import UndecodableRecord
from pipeline.media.event_time import Rfc3339

TimeUnit = Literal["s", "ms", "us", "ns", "rfc3339"]

_UNIT_US: Mapping[str, Fraction] = {
    "s": Fraction(1_000_000),
    "ms": Fraction(1_000),
    "us": Fraction(1),
    "ns": Fraction(1, 1_000),
}
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
_TIME_MAX_US = 1 << 62  # what Kafka and the windows can count
_DEPTH_MAX = 64
# A string, to its end or the end of all (so that no text makes this quadratic), or a bracket.
_BRACKETS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class JsonPayload:
    """``payload: {json: data.audio, base64: true}``: where in the JSON the payload lies."""

    path: tuple[str, ...]
    base64: bool


@dataclass(frozen=True, slots=True)
class JsonTime:
    """``time: {json: data.ts, unit: ms}``: where the event time lies, and what it counts."""

    path: tuple[str, ...]
    unit: TimeUnit


class MissingField(Exception):
    """A field is not there, or is not what it should be; the text says which and why."""


def parse_json(value: bytes) -> Any:
    """Parses a record's value; numbers stay exact. Raises UndecodableRecord.

    Nesting is bounded before parsing: the parser would give up by the depth of the caller's
    stack, and what is decided about a record must not depend on that.
    """
    if value.count(b"[") + value.count(b"{") > _DEPTH_MAX and _depth(value) > _DEPTH_MAX:
        raise UndecodableRecord(f"JSON: nested deeper than {_DEPTH_MAX}")
    try:
        # Numbers are kept as text: only the one that is a time is ever read.
        return json.loads(
            value.decode("utf-8"),
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
        )
    except ValueError as error:
        raise UndecodableRecord(f"JSON: cannot be parsed ({error})") from None


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth(value: bytes) -> int:
    depth = deepest = 0
    for found in _BRACKETS.finditer(value):
        token = found[0]
        if token in b"[{":
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > _DEPTH_MAX:
                    break
        elif token in b"]}":
            depth -= 1
    return deepest


def field_at(document: Any, path: tuple[str, ...]) -> Any:
    """The value at ``path``; a step into a list is its index. Raises MissingField."""
    here = document
    for step in path:
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and re.fullmatch(r"[0-9]{1,9}", step) and int(step) < len(here):
            here = here[int(step)]
        else:
            raise MissingField(f"{'.'.join(path)}: the JSON has no {step!r} there")
    return here


def payload_at(document: Any, where: JsonPayload, *, text: bool) -> bytes:
    """The payload's bytes; raises UndecodableRecord."""
    name = ".".join(where.path)
    try:
        found = field_at(document, where.path)
    except MissingField as error:
        raise UndecodableRecord(str(error)) from None
    if not isinstance(found, str) or isinstance(found, _Number):
        raise UndecodableRecord(f"{name}: is not a JSON string")
    if where.base64:
        # Line breaks as in MIME (RFC 2045) are allowed, anything else outside the alphabet is not.
        packed = "".join(found.split())
        try:
            return binascii.a2b_base64(packed, strict_mode=True)
        except ValueError as error:
            raise UndecodableRecord(f"{name}: is not base64 ({error})") from None
    if not text:
        raise UndecodableRecord(f"{name}: media in JSON is base64; say payload.base64: true")
    try:
        return found.encode("utf-8")
    except UnicodeEncodeError:
        raise UndecodableRecord(f"{name}: holds a lone surrogate") from None


def time_at(document: Any, where: JsonTime, clock: Rfc3339) -> int:
    """The event time in microseconds, finer digits floored; raises MissingField."""
    name = ".".join(where.path)
    found = field_at(document, where.path)
    if not isinstance(found, str):
        raise MissingField(f"{name}: is neither a number nor a string")
    if where.unit == "rfc3339":
        try:
            return clock.parse_us(found.encode("ascii", "replace"))
        except ValueError as error:
            raise MissingField(f"{name} = {found[:80]!r}: {error}") from None
    if not _NUMBER.fullmatch(found):
        raise MissingField(f"{name} = {found[:80]!r}: is not a time in {where.unit}")
    time_us = math.floor(Fraction(found) * _UNIT_US[where.unit])
    if not -_TIME_MAX_US < time_us < _TIME_MAX_US:
        raise MissingField(f"{name} = {found[:80]!r}: is out of range; is it {where.unit}?")
    return time_us
