"""Durations, sizes, percentages and times: read exactly or refused with the reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.spec import (
    Wrong,
    format_duration,
    format_size,
    parse_duration,
    parse_rfc3339_us,
    parse_size,
)
from pipeline.spec.units import (
    DURATION_UNITS_US,
    DURATION_US_MAX,
    SIZE_BYTES_MAX,
    SIZE_UNITS_BYTES,
    parse_percent,
)


@pytest.mark.parametrize(
    ("text", "us"),
    [("200ms", 200_000), ("2s", 2_000_000), ("5m", 300_000_000), ("24h", 86_400_000_000),
     ("1.5s", 1_500_000), ("0.001ms", 1), ("0.1s", 100_000), ("876000h", DURATION_US_MAX)],
)  # fmt: skip
def test_durations_are_exact_microseconds(text: str, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("256MiB", 256 << 20), ("1KiB", 1024), ("1GiB", 1 << 30), ("7B", 7), ("1.5GiB", 3 << 29)],
)
def test_sizes_are_exact_bytes(text: str, bytes_: int) -> None:
    assert parse_size(text) == bytes_


@given(st.integers(-DURATION_US_MAX, DURATION_US_MAX))
def test_a_duration_survives_writing_and_reading(us: int) -> None:
    assert parse_duration(format_duration(us), signed=True) == us


@given(st.integers(1, SIZE_BYTES_MAX))
def test_a_size_survives_writing_and_reading(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(
    st.decimals(0, 1000, places=7, allow_nan=False),
    st.sampled_from(sorted(DURATION_UNITS_US)),
)
def test_a_decimal_duration_is_read_exactly_or_not_at_all(number, unit) -> None:
    exact = Fraction(number) * DURATION_UNITS_US[unit]
    if exact.denominator == 1:
        assert parse_duration(f"{number:f}{unit}", zero=True) == exact
    else:
        with pytest.raises(Wrong, match="finer than a microsecond"):
            parse_duration(f"{number:f}{unit}", zero=True)


@given(st.decimals(0, 1000, places=4, allow_nan=False), st.sampled_from(sorted(SIZE_UNITS_BYTES)))
def test_a_decimal_size_is_read_exactly_or_not_at_all(number, unit) -> None:
    exact = Fraction(number) * SIZE_UNITS_BYTES[unit]
    if exact.denominator == 1 and exact > 0:
        assert parse_size(f"{number:f}{unit}") == exact
    else:
        with pytest.raises(Wrong):
            parse_size(f"{number:f}{unit}")


@pytest.mark.parametrize("bare", [5, 5.0, "5", "1.5", 0])
@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_percent])
def test_a_bare_number_is_refused_and_the_remedy_names_a_unit(parse, bare) -> None:
    with pytest.raises(Wrong, match="without its unit") as caught:
        parse(bare)
    assert str(bare) in caught.value.remedy


@pytest.mark.parametrize(
    "value",
    ["", "ms", "-", "1e3s", "5 s", " 5s", "5S", "5us", "5sec", "5d", "0x5s", "٥s", "5s5s", "1,5s",
     "9" * 30 + "s", "876001h", "+5s", "-5s", "0ms", "0s", True, None, [], {}, float("nan")],
)  # fmt: skip
def test_what_is_no_duration_is_refused(value) -> None:
    with pytest.raises(Wrong):
        parse_duration(value)


def test_zero_and_signs_only_where_they_are_allowed() -> None:
    assert parse_duration("0ms", zero=True) == 0
    assert parse_duration("-480ms", signed=True) == -480_000
    assert parse_duration("+480ms", signed=True) == 480_000
    assert parse_duration("0ms", signed=True) == 0
    with pytest.raises(Wrong, match="sign"):
        parse_duration("-1ms", zero=True)


@pytest.mark.parametrize("value", ["0B", "5MB", "5mib", "-1MiB", "0.5B", "2000000GiB", True, None])
def test_what_is_no_size_is_refused(value) -> None:
    with pytest.raises(Wrong):
        parse_size(value)


def test_percentages_are_shares() -> None:
    assert parse_percent("5%") == 0.05
    assert parse_percent("0.1%") == 0.001
    assert parse_percent("100%") == 1.0


@pytest.mark.parametrize("value", ["0%", "100.1%", "-5%", "5", "5 %", "%", 0.05, None, True])
def test_what_is_no_percentage_is_refused(value) -> None:
    with pytest.raises(Wrong):
        parse_percent(value)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001
def test_rfc3339_is_read_to_the_microsecond(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    us = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_rfc3339_us(at.isoformat().replace("+00:00", "Z")) == us


def test_rfc3339_with_an_offset() -> None:
    assert parse_rfc3339_us("1970-01-01T01:00:00.25+01:00") == 250_000
    assert parse_rfc3339_us("1970-01-01t00:00:01z") == 1_000_000


@pytest.mark.parametrize(
    "text",
    ["2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z",
     "yesterday", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+10:00", "2026-01-31 12:00:00Z"],
)  # fmt: skip
def test_what_is_no_rfc3339_time_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        parse_rfc3339_us(text)
