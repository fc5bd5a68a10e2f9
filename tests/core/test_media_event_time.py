"""RFC 3339 to microseconds: exact against the standard library, strict against everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media.event_time import Rfc3339

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)

moments = st.integers(-62_000_000_000, 253_000_000_000).flatmap(
    lambda second: st.integers(0, 999_999).map(
        lambda us: EPOCH.replace(tzinfo=None) + timedelta(seconds=second, microseconds=us)
    )
)
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@given(moments, offsets, st.sampled_from("Tt "))
def test_equals_the_standard_library_in_every_zone(moment, offset, separator):
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    text = zoned.isoformat().replace("T", separator)
    assert Rfc3339().parse_us(text.encode()) == (zoned - EPOCH) // US


@given(st.lists(moments, min_size=1, max_size=20), st.integers(0, 6))
def test_memory_changes_no_answer(seen, digits):
    warm = Rfc3339()
    for moment in seen:
        fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
        text = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + "Z"
        expected = Rfc3339().parse_us(text.encode())
        assert warm.parse_us(text.encode()) == warm.parse_us(text.encode()) == expected


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        (b"1970-01-01T00:00:00Z", 0),
        (b"1970-01-01T00:00:00.5z", 500_000),
        (b"1970-01-01T00:00:00.000001999999Z", 1),  # finer digits are floored
        (b"1969-12-31T23:59:59.9999999Z", -1),
        (b"1970-01-01T00:00:00.25-00:00", 250_000),
        (b"1970-01-01T02:30:00+02:30", 0),
        (b"2016-12-31T23:59:60Z", 1_483_228_800_000_000),  # a leap second: the next second
        (b"2016-12-31T23:59:60.25Z", 1_483_228_800_250_000),
        (b"2017-01-01T00:59:60+01:00", 1_483_228_800_000_000),
        (b"0001-01-01T00:00:00+23:59", -62_135_683_140_000_000),
    ],
)
def test_is_exact(text, expected_us):
    assert Rfc3339().parse_us(text) == expected_us


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"now",
        b"1714564800",
        b"2024-05-01",
        b"2024-05-01T12:00Z",
        b"2024-05-01T12:00:00",  # no zone: which one it is cannot be known
        b"2024-05-01T12:00:00.Z",
        b"2024-05-01T12:00:00,5Z",
        b"2024-05-01T12:00:00xZ",
        b"2024-05-01T12:00:00Z ",
        b" 2024-05-01T12:00:00Z",
        b"2024-05-01T12:00:00Z\n",
        b"20240501T120000Z",
        b"2024-W18-3T12:00:00Z",
        b"2024-02-30T12:00:00Z",
        b"2024-13-01T12:00:00Z",
        b"0000-01-01T00:00:00Z",
        b"2024-05-01T24:00:00Z",
        b"2024-05-01T12:60:00Z",
        b"2024-05-01T12:00:61Z",
        b"2024-05-01T12:00:60Z",  # a leap second ends a day in UTC
        b"2016-12-31T23:59:60+01:00",
        b"2024-05-01T12:00:00+24:00",
        b"2024-05-01T12:00:00+02:60",
        b"2024-05-01T12:00:00+0200",
        b"2024-05-01T12:00:+1Z",
        b"2024-05-01T12:00:00.1_0Z",
        "2024-05-01T12:00:0٣Z".encode(),
        "٢٠٢٤-05-01T12:00:00Z".encode(),
        b"2024-05-01T12:00:00." + b"0" * 10_000 + b"Z",
    ],
)
def test_refuses(text):
    clock = Rfc3339()
    clock.parse_us(b"2024-05-01T12:00:00Z")  # the minute is known: its rest is still checked
    with pytest.raises(ValueError, match=r"."):
        clock.parse_us(text)
