"""Gaps, overlaps and drift of audio streams: what is counted, and that nothing else is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import LOBBY, RATE, SECOND_US, load

from pipeline.lane import LaneCut
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import Fetch, LogRecord
from pipeline.tasks import continuity
from pipeline.tasks.continuity import DRIFT_PERIOD_US, JUMP_US, Continuity
from pipeline.tasks.figures import Figures
from pipeline.tasks.ingest import IngestTask

LOG = LogRecord("t", 0, 0, 0, b"k", b"", [])


def record(ts_us, samples, rate=16_000, stream="s", input="mic"):
    facts = Facts("audio", "flac", rate, 1, samples)
    return MediaRecord(input, stream, ts_us, ts_us + samples * 1_000_000 // rate, facts, b"", LOG)


class Seen:
    def __init__(self, *records):
        self.warnings = []
        self.continuity = Continuity(self.warnings.append)
        for each in records:
            self.continuity.applied(each)

    def figures(self, now_us=0, input="mic"):
        figures = Figures()
        self.continuity.figures(figures, now_us)
        names = ("gaps_total", "overlaps_total", "drift_seconds")
        return tuple(figures.value(f"motet_audio_{name}", input) for name in names)


def stream_of(lengths, rate, first_us=1_780_000_000_000_000, clock=1.0):
    """Records that touch; their clock runs ``clock`` times as fast as their samples."""
    starts = itertools.accumulate(lengths, initial=0)
    return [
        record(first_us + int(at * 1_000_000 * clock) // rate, length, rate)
        for at, length in zip(starts, lengths, strict=False)
    ]


RATES = st.sampled_from([7_350, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])


@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=60), RATES)
def test_a_stream_whose_samples_are_counted_has_none_of_them(lengths, rate):
    gaps, overlaps, drift = Seen(*stream_of(lengths, rate)).figures()
    assert (gaps, overlaps) == (0, 0)
    assert drift <= 1e-6


def test_rounding_does_not_add_up():
    frames = stream_of([1_024] * 200_000, 44_100)  # more than an hour of AAC
    assert Seen(*frames).figures() == (0, 0, 0)


@given(
    st.lists(st.tuples(st.integers(2_000, 9_000), st.booleans()), min_size=2, max_size=40), RATES
)
def test_what_was_lost_is_a_gap_and_shifts_nothing_later(parts, rate):
    records = stream_of([length * rate // 8_000 for length, _ in parts], rate)
    sent = [each for each, (_, lost) in zip(records, parts, strict=True) if not lost]
    seen = Seen(*sent)
    holes = sum(b.ts_us - a.end_us > 1 for a, b in itertools.pairwise(sent))
    if sent:
        gaps, overlaps, drift = seen.figures()
        assert (gaps, overlaps) == (holes, 0)
        assert drift <= 1e-6  # every run is measured from its own beginning


@pytest.mark.parametrize(
    ("off_us", "counted"),
    [(JUMP_US, (0, 0)), (-JUMP_US, (0, 0)), (JUMP_US + 1, (1, 0)), (-JUMP_US - 1, (0, 1))],
)
def test_jitter_is_no_jump(off_us, counted):
    gaps, overlaps, drift = Seen(record(0, 16_000), record(1_000_000 + off_us, 16_000)).figures()
    assert (gaps, overlaps) == counted
    assert drift == (0 if any(counted) else JUMP_US / 1e6)


def test_records_that_changed_places_are_both():
    first, second, third = stream_of([16_000] * 3, 16_000)
    assert Seen(first, third, second).figures()[:2] == (1, 1)


@pytest.mark.parametrize("clock", [1.0001, 0.9999])
def test_a_clock_that_runs_apart_is_drift_and_is_said_once(clock):
    seen = Seen(*stream_of([16_000] * 2_001, 16_000, clock=clock))
    gaps, overlaps, drift = seen.figures()
    assert (gaps, overlaps) == (0, 0)
    assert drift == pytest.approx(0.2, abs=1e-4)
    [warning] = seen.warnings
    side, hz = ("ahead of", "15998.4") if clock > 1 else ("behind", "16001.6")
    assert f"inputs.mic: the timestamps of stream 's' run 100 ms {side} its samples" in warning
    assert f"its rate were {hz} Hz and not 16000 Hz" in warning


def test_drift_is_the_farthest_stream_of_late_and_is_forgotten():
    near, far = record(1_000_500, 16_000, stream="a"), record(998_000, 16_000, stream="b")
    seen = Seen(record(0, 16_000, stream="a"), record(0, 16_000, stream="b"), near, far)
    assert seen.figures(0)[2] == 0.002
    assert seen.figures(DRIFT_PERIOD_US)[2] == 0.002
    seen.continuity.applied(record(2_000_500, 16_000, stream="a"))
    assert seen.figures(DRIFT_PERIOD_US + 1)[2] == 0.002
    assert seen.figures(2 * DRIFT_PERIOD_US)[2] == 0.0005
    assert seen.figures(3 * DRIFT_PERIOD_US)[2] == 0


def test_inputs_and_streams_are_told_apart():
    seen = Seen(
        record(0, 16_000),
        record(0, 16_000, stream="other"),
        record(0, 8_000, input="line"),
        record(1_000_000, 16_000),
        record(1_500_000, 8_000, input="line"),
    )
    assert seen.figures()[:2] == (0, 0)
    assert seen.figures(input="line")[:2] == (1, 0)


def test_another_rate_begins_a_run():
    seen = Seen(record(0, 16_000), record(1_000_000, 48_000, rate=48_000), record(2_000_000, 1))
    assert seen.figures() == (0, 0, 0)


def test_records_shorter_than_a_jump_that_do_not_move_are_drift():
    seen = Seen(*(record(0, 16) for _ in range(200)))
    assert seen.figures() == (0, 0, 0.199)
    assert len(seen.warnings) == 1


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(continuity, "STREAMS_MAX", 10)
    seen = Seen(*(record(n, 16, stream=str(n)) for n in range(1_000)))
    assert len(seen.continuity._runs) <= 10


def test_an_ingest_half_shows_them_and_counts_what_is_read_again_once():
    seconds = (0, 1, 3, 4, 6)  # two gaps, the first of them before the committed position
    starts = {"mic": 3, "cam": 0, "chat": 0}
    cut = LaneCut(1, starts, {"mic": 0, "cam": 0, "chat": 0})
    task = IngestTask(load(LOBBY, {"slots": 1}), {0: {0: cut}})
    value = bytes(2 * RATE)  # one second
    records = [
        LogRecord("in.mic", 0, offset, at * SECOND_US, b"s", value, [])
        for offset, at in enumerate(seconds)
    ]
    task.on_fetches([Fetch("in.mic", 0, records, len(records))], 0)
    task.on_ends({each: each.partition for each in task.assignment()}, 0)
    task.pump(0)
    figures = task.view(0, 0).figures
    assert figures.value("motet_audio_gaps_total", "mic") == 1
    assert figures.value("motet_audio_overlaps_total", "mic") == 0
    assert ("motet_audio_drift_seconds", ("mic",)) in figures.gauges
    assert ("motet_audio_drift_seconds", ("cam",)) not in figures.gauges
