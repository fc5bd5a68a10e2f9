"""Units as a pipeline file writes them, and the integers that motet counts in.

Durations are integer microseconds, sizes integer bytes (contract section 2). Every number
carries its unit: ``5`` is refused, since nobody can see whether seconds or milliseconds
were meant. A decimal fraction is fine where it is a whole number of microseconds or bytes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Literal

# Largest first: formatting takes the first unit that divides without a rest.
DURATION_UNITS_US = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
SIZE_UNITS_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}

# A century and a pebibyte: sums of a few, and an epoch time, stay far inside 64 bits.
DURATION_US_MAX = 876_000 * DURATION_UNITS_US["h"]
SIZE_BYTES_MAX = 1 << 50

DURATION_PATTERN = r"[0-9]+(\.[0-9]+)?(ms|s|m|h)"
SIZE_PATTERN = r"[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB)"
PERCENT_PATTERN = r"[0-9]+(\.[0-9]+)?%"
RFC3339_PATTERN = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

# ASCII digits only and a bounded length: a number that nobody can read is no number.
_QUANTITY = re.compile(r"([+-]?)([0-9]{1,20}(?:\.[0-9]{1,20})?)([A-Za-z%]*)")
_RFC3339 = re.compile(RFC3339_PATTERN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US, _LAST_US = (
    (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    for moment in (datetime.min, datetime.max)  # noqa: DTZ901
)


class Wrong(ValueError):
    """A value that cannot be taken: why, and the remedy; the caller knows the key."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why, remedy)
        self.why = why
        self.remedy = remedy


def parse_duration(value: Any, *, zero: bool = False, signed: bool = False) -> int:
    """``200ms``, ``2s``, ``1.5s``, ``5m``, ``24h`` as microseconds.

    ``zero`` allows 0, ``signed`` allows zero and a minus sign; raises Wrong.
    """
    remedy = "write a duration such as 200ms, 2s, 5m or 24h"
    sign, number, unit = _quantity(value, "duration", remedy, example="s")
    if unit not in DURATION_UNITS_US:
        raise Wrong(f"'{unit}' is no unit of time", f"{remedy} (the units are ms, s, m and h)")
    duration_us = number * DURATION_UNITS_US[unit]
    if duration_us.denominator != 1:
        raise Wrong("is finer than a microsecond", "give a whole number of microseconds")
    if duration_us > DURATION_US_MAX:
        raise Wrong("is longer than a century", "give a shorter duration")
    if sign and not signed:
        raise Wrong("has a sign", "give a duration above 0ms, without a sign")
    if duration_us == 0 and not (zero or signed):
        raise Wrong("must be above 0ms", "give a longer duration")
    return -int(duration_us) if sign == "-" else int(duration_us)


def parse_size(value: Any) -> int:
    """``256MiB``, ``64KiB``, ``1GiB``, ``512B`` as bytes, at least 1; raises Wrong."""
    remedy = "write a size such as 512B, 64KiB, 256MiB or 1GiB"
    sign, number, unit = _quantity(value, "size", remedy, example="MiB")
    if unit not in SIZE_UNITS_BYTES:
        raise Wrong(f"'{unit}' is no unit of size", f"{remedy} (the units are B, KiB, MiB and GiB)")
    size_bytes = number * SIZE_UNITS_BYTES[unit]
    if size_bytes.denominator != 1:
        raise Wrong("is finer than a byte", "give a whole number of bytes")
    if size_bytes > SIZE_BYTES_MAX:
        raise Wrong("is larger than a pebibyte", "give a smaller size")
    if sign or size_bytes == 0:
        raise Wrong("must be above 0B", "give a larger size")
    return int(size_bytes)


def parse_percent(value: Any) -> float:
    """``5%`` as 0.05: above 0 % and at most 100 %; raises Wrong."""
    remedy = "write a percentage such as 5%"
    sign, number, unit = _quantity(value, "percentage", remedy, example="%")
    if unit != "%":
        raise Wrong(f"'{unit}' is not a percent sign", remedy)
    if sign or not 0 < number <= 100:
        raise Wrong("must be above 0% and at most 100%", remedy)
    return float(number / 100)


def parse_rfc3339_us(text: str) -> int:
    """An RFC 3339 time with its offset as microseconds since the epoch; raises Wrong."""
    remedy = "write it with its offset, such as 2026-01-31T12:00:00Z"
    if not _RFC3339.fullmatch(text):
        raise Wrong("is not an RFC 3339 time", remedy)
    try:
        moment = datetime.fromisoformat(text.upper())
        time_us = (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise Wrong("is not a time of the calendar", remedy) from None
    if time_us < 0:
        raise Wrong("is before 1970", "give a time that Kafka's timestamps can have")
    return time_us


def format_rfc3339(
    time_us: int, digits: Literal["auto", "seconds", "milliseconds", "microseconds"] = "auto"
) -> str:
    """A time in UTC, cut to ``digits``; ``auto`` is exact: the inverse of ``parse_rfc3339_us``.

    Kafka's timestamps reach beyond the years 1 to 9999: those are written as the nearest of them.
    """
    moment = _EPOCH + timedelta(microseconds=min(max(time_us, _FIRST_US), _LAST_US))
    return moment.isoformat(timespec=digits).replace("+00:00", "Z")


def format_duration(duration_us: int) -> str:
    """The shortest way to write a duration, exactly: the inverse of ``parse_duration``."""
    sign, left_us = ("-", -duration_us) if duration_us < 0 else ("", duration_us)
    for unit, unit_us in DURATION_UNITS_US.items():
        if left_us and left_us % unit_us == 0:
            return f"{sign}{left_us // unit_us}{unit}"
    whole_ms, rest_us = divmod(left_us, DURATION_UNITS_US["ms"])
    fraction = f".{rest_us:03d}".rstrip("0") if rest_us else ""
    return f"{sign}{whole_ms}{fraction}ms"


def format_size(size_bytes: int) -> str:
    """The shortest way to write a size, exactly: the inverse of ``parse_size``."""
    unit = next(unit for unit, factor in SIZE_UNITS_BYTES.items() if size_bytes % factor == 0)
    return f"{size_bytes // SIZE_UNITS_BYTES[unit]}{unit}"


def _quantity(value: Any, what: str, remedy: str, example: str) -> tuple[str, Fraction, str]:
    """Sign, number and unit of a text; a number without its unit is refused with the reason."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong("is a number without its unit", f"write the unit, such as {value}{example}")
    if not isinstance(value, str):
        raise Wrong(f"is not a {what}", remedy)
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise Wrong(f"is not a {what}", remedy)
    sign, digits, unit = match.groups()
    if not unit:
        raise Wrong("is a number without its unit", f"write the unit, such as {digits}{example}")
    return sign, Fraction(digits), unit
