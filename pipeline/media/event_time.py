"""RFC 3339 times to integer microseconds, exactly."""

from __future__ import annotations

import re
from datetime import date

_MINUTE = re.compile(rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})")
_REST = re.compile(rb":([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MINUTE_US = 60_000_000
_DAY_US = 86_400_000_000
_SECONDS = {b"%02d" % second: second * 1_000_000 for second in range(60)}
_TEXT_MAX = 128  # a longer one is no time, and is not looked at
_CACHE_MAX = 4096


class Rfc3339:
    """Parses times; remembers the minutes that it saw, since a live stream repeats them.

    The memory changes no answer. A fraction finer than a microsecond is floored; a leap second
    (``23:59:60`` in UTC) is the first second of the next day, as POSIX counts it.
    """

    __slots__ = ("_minutes",)

    def __init__(self) -> None:
        self._minutes: dict[bytes, int] = {}

    def parse_us(self, text: bytes) -> int:
        """Microseconds since 1970-01-01T00:00:00Z (RFC 3339 section 5.6); ValueError otherwise."""
        minute_us = self._minutes.get(text[:16])
        if minute_us is None:
            minute_us = self._minute_us(text)
        if text[-1:] == b"Z":
            # The forms that nearly all producers write: ":SSZ", ":SS.mmmZ", ":SS.uuuuuuZ".
            second_us = _SECONDS.get(text[17:19])
            fraction = text[20:-1]
            digits = len(fraction)
            if second_us is not None and text[16:17] == b":":
                if digits == 0 and len(text) == 20:
                    return minute_us + second_us
                if 0 < digits <= 6 and text[19:20] == b"." and fraction.isdigit():
                    return minute_us + second_us + int(fraction.ljust(6, b"0"))
        return minute_us + self._rest_us(text, minute_us)

    def _minute_us(self, text: bytes) -> int:
        found = _MINUTE.match(text) if len(text) <= _TEXT_MAX else None
        if found is None:
            raise ValueError("not an RFC 3339 time")
        year, month, day, hour, minute = (int(part) for part in found.groups())
        days = date(year, month, day).toordinal() - _EPOCH_DAY  # ValueError: no such day
        if hour > 23 or minute > 59:
            raise ValueError("no such time of day")
        minute_us = days * _DAY_US + (hour * 60 + minute) * _MINUTE_US
        if len(self._minutes) >= _CACHE_MAX:
            self._minutes.clear()
        self._minutes[text[:16]] = minute_us
        return minute_us

    @staticmethod
    def _rest_us(text: bytes, minute_us: int) -> int:
        """Seconds, fraction and offset, to be added to the minute."""
        found = _REST.fullmatch(text, 16) if len(text) <= _TEXT_MAX else None
        if found is None:
            raise ValueError("not an RFC 3339 time (date, T, time of day, and Z or an offset)")
        second, fraction, sign, hours, minutes = found.groups()
        offset_us = 0
        if sign is not None:
            if int(hours) > 23 or int(minutes) > 59:
                raise ValueError("no such offset")
            offset_us = (int(hours) * 60 + int(minutes)) * _MINUTE_US
            if sign == b"-":
                offset_us = -offset_us
        seconds = int(second)
        if seconds > 60:
            raise ValueError("no such second")
        if seconds == 60 and (minute_us - offset_us) % _DAY_US != _DAY_US - _MINUTE_US:
            raise ValueError("a leap second is 23:59:60 in UTC")
        fraction_us = int((fraction or b"0")[:6].ljust(6, b"0"))
        return seconds * 1_000_000 + fraction_us - offset_us
