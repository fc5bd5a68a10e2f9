"""Warnings about streams that come late, and about windows that memory closes."""

from __future__ import annotations

import pytest
from ingest_told import Told, raw
from pipelines import SECOND_US

from pipeline.lane import Applied, LaneRecord
from pipeline.tasks.late_watch import LATE_MIN, PERIOD_US, STREAMS_MAX, TOLD_MAX, LateWatch


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watch(said) -> LateWatch:
    return LateWatch(said.append, {"mic": "in.mic"}, "out.late", 1000)


def tell(watch: LateWatch, late_us: int | None = None, stream="s", now_us=0, forced=0) -> None:
    """One record of a second, late by so much (None: in time)."""
    record = LaneRecord("mic", 0, 0, stream, ts_us=0, end_us=SECOND_US)
    late = () if late_us is None else (0,)
    watch.applied(record, Applied([], late, SECOND_US + (late_us or 0), 1, forced), now_us)


def test_a_stream_of_which_most_comes_late_is_named_once_with_how_much(watch, said):
    for number in range(2 * LATE_MIN):
        tell(watch, (number + 1) * SECOND_US)
    [line] = said
    assert line.startswith(
        "inputs.mic: most of stream 's' comes late: 5 of its 5 records, up to 5.0 s behind"
    )
    assert "they are in out.late" in line


def test_half_of_a_stream_is_not_most_of_it(watch, said):
    for _ in range(50):
        tell(watch)
        tell(watch, SECOND_US)
    assert said == []
    tell(watch, SECOND_US)
    assert len(said) == 1


def test_a_stream_that_was_in_time_for_long_is_told_of_within_a_period(watch, said):
    for _ in range(10_000):
        tell(watch)
    for _ in range(LATE_MIN):
        tell(watch, SECOND_US, now_us=PERIOD_US)
    assert len(said) == 1


def test_what_it_remembers_and_says_has_a_limit(watch, said):
    for stream in range(TOLD_MAX + 50):
        for _ in range(LATE_MIN):
            tell(watch, 1, f"s{stream}")
    assert len(said) == TOLD_MAX
    for stream in range(STREAMS_MAX):
        tell(watch, None, f"t{stream}")
    assert len(watch._records) <= STREAMS_MAX


def test_that_windows_are_forced_is_said_once_a_period(watch, said):
    tell(watch, forced=2)
    tell(watch, forced=1, now_us=PERIOD_US - 1)
    assert len(said) == 1
    assert said[0].startswith("limits.open_bytes = 1000 bytes: open windows hold more")
    tell(watch, forced=1, now_us=PERIOD_US)
    assert len(said) == 2


def test_an_ingest_half_warns_of_both():
    told = Told({"limits.open_bytes": "1KiB", "windows.idle": "5m"})
    told.fetch(*(raw("in.chat", n, n * SECOND_US, b"x" * 600) for n in range(3)))
    told.ends(mic=0, cam=0, chat=3)
    told.pump()
    [forced] = told.task.watch.take_warnings()
    assert "limits.open_bytes = 1024 bytes" in forced
    told.fetch(*(raw("in.chat", n, 0, b"late") for n in range(3, 3 + LATE_MIN)))
    told.ends(chat=3 + LATE_MIN)
    told.pump()
    [late] = told.task.watch.take_warnings()
    assert "most of stream 's' comes late" in late
