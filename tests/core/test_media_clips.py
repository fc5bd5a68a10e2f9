"""Where samples lie in a clip, whose they are, and that no seam is heard (contract section 2)."""

from __future__ import annotations

import itertools

import librosa
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.media.clips import (
    RESAMPLE_MARGIN_US,
    assemble_audio,
    nearest_sample,
)
from pipeline.media.coverage import coverage
from pipeline.media.decode import decode_audio
from pipeline.media.pcm import INT16_FORMATS, int16_mono
from pipeline.media.raw_rows import raw_row
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord

RATE = 16_000
LOG = LogRecord("t", 0, 0, 0, b"k", b"", [])


def record(ts_us, payload, rate=RATE, form="S16BE", channels=1):
    samples = len(payload) // {"S16BE": 2, "S16LE": 2, "F32LE": 4}[form] // channels
    facts = Facts("audio", form, rate, channels, samples)
    end_us = ts_us + samples * 1_000_000 // rate
    return MediaRecord("mic", "k", ts_us, end_us, facts, payload, LOG)


def pcm(*values):
    return np.array(values, ">i2").tobytes()


def clip(records, start_us, end_us, rate=RATE):
    decoded = [decode_audio(each.facts, each.payload) for each in records]
    found = assemble_audio(records, decoded, start_us, end_us, rate)
    assert found.start_us == start_us
    assert found.samples.dtype == np.float32
    assert found.samples.shape == (nearest_sample(end_us - start_us, found.rate),)
    return found.samples


def raw(records, start_us, end_us, rate):
    row = raw_row(records, start_us, rate, nearest_sample(end_us - start_us, rate))
    assert row is not None
    assert row.dtype == INT16_FORMATS[records[0].facts.format]
    return int16_mono(row.tobytes(), row.dtype, 1)


def levels(samples):
    return (samples * 32_768).astype(int).tolist()


class TestPlaces:
    """At 1 kHz a sample is a millisecond."""

    def levels(self, records, start_ms=0, end_ms=6):
        found = clip(records, start_ms * 1_000, end_ms * 1_000, 1_000)
        assert not records or (raw(records, start_ms * 1_000, end_ms * 1_000, 1_000) == found).all()
        return levels(found)

    def at(self, ts_us, *values):
        return record(ts_us, pcm(*values), 1_000)

    def test_what_is_not_there_is_zero(self):
        assert self.levels([self.at(2_000, 1, 2)]) == [0, 0, 1, 2, 0, 0]
        assert self.levels([]) == [0] * 6

    def test_what_lies_outside_is_cut_off(self):
        assert self.levels([self.at(-1_000, 1, 2), self.at(5_000, 3, 4)]) == [2, 0, 0, 0, 0, 3]
        assert self.levels([self.at(-3_000, *range(1, 13))]) == [4, 5, 6, 7, 8, 9]
        assert self.levels([self.at(-9_000, 1), self.at(9_000, 2)]) == [0] * 6

    def test_of_the_same_sample_the_first_in_the_log_counts(self):
        early, late = self.at(0, 1, 2, 3), self.at(2_000, 7, 8, 9)
        assert self.levels([early, late]) == [1, 2, 3, 8, 9, 0]
        assert self.levels([late, early]) == [1, 2, 7, 8, 9, 0]
        assert self.levels([early, self.at(0, 4, 5, 6, 7)]) == [1, 2, 3, 7, 0, 0]

    @pytest.mark.parametrize(("ts_us", "place"), [(1_499, 1), (1_500, 2), (-499, 0), (501, 1)])
    def test_on_the_nearest_point(self, ts_us, place):
        assert self.levels([self.at(ts_us, 5)]).index(5) == place

    def test_records_that_touch_stay_together_half_way_between_points(self):
        # Floored by a microsecond, the second one would lie nearer to the first one's last sample.
        assert self.levels([self.at(500, 1, 2), self.at(2_499, 3, 4)]) == [0, 1, 2, 3, 4, 0]
        assert self.levels([self.at(2_499, 3, 4), self.at(500, 1, 2)]) == [0, 1, 2, 3, 4, 0]
        assert self.levels([self.at(499, 1, 2), self.at(2_500, 3, 4)]) == [1, 2, 3, 4, 0, 0]
        # What is further away lies where it says.
        assert self.levels([self.at(499, 1, 2), self.at(2_502, 3, 4)]) == [1, 2, 0, 3, 4, 0]


def test_a_second_at_every_rate_has_as_many_samples_as_its_rate():
    for rate in (8_000, 11_025, 16_000, 22_050, 44_100, 48_000):
        assert nearest_sample(1_000_000, rate) == rate
    assert nearest_sample(250_000, 11_025) == 2_756
    assert [nearest_sample(us, 1_000) for us in (-1_500, -501, -500, 500)] == [-1, -1, 0, 1]


@st.composite
def cut_streams(draw):
    """A stream at a rate, the same cut in two ways, and a window somewhere in it."""
    rate = draw(st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]))
    count = draw(st.integers(1, 3_000))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(-9_999, 9_999, count)
    stream = values.astype(">i2")
    first_ms = draw(st.integers(0, 50))

    def cut():
        marks = sorted(draw(st.sets(st.integers(1, count), max_size=12)) | {0, count})
        return [
            record(first_ms * 1_000 + at * 1_000_000 // rate, stream[at:to].tobytes(), rate)
            for at, to in itertools.pairwise(marks)
        ]

    return rate, cut(), cut(), draw(st.integers(0, 100)) * 1_000


@settings(max_examples=200, deadline=None)
@given(cut_streams(), st.randoms(use_true_random=False))
def test_cutting_a_stream_otherwise_changes_no_bit(case, chance):
    rate, one, other, start_us = case
    first_us = one[0].ts_us
    # Between two points of the grid floored times cannot tell which is the nearer.
    assume(0.02 < ((first_us - start_us) * rate / 1e6 + 0.5) % 1 < 0.98)
    chance.shuffle(other)  # what does not overlap may come in any order
    reached = [clip(cut, start_us, start_us + 100_000, rate) for cut in (one, other)]
    assert (reached[0] == reached[1]).all()
    assert (raw(other, start_us, start_us + 100_000, rate) == reached[0]).all()


records = st.lists(
    st.builds(
        lambda ts_us, count, seed: record(
            ts_us, np.random.default_rng(seed).integers(-999, 999, count).astype(">i2").tobytes()
        ),
        st.integers(-5_000, 25_000),
        st.integers(1, 300),
        st.integers(0, 9),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(records)
def test_placing_sample_by_sample_gives_the_same(given_records):
    starts = sorted(each.ts_us for each in given_records)
    ends = [each.end_us for each in given_records]
    assume(not any(abs(start - end) <= 1 for start in starts for end in ends))  # none are joined
    expected = np.zeros(320, np.float32)
    for each in reversed(given_records):
        for k, value in enumerate(decode_audio(each.facts, each.payload)):
            at = int(np.floor(each.ts_us * RATE / 1e6 + 0.5)) + k
            if 0 <= at < 320:
                expected[at] = value
    assert (clip(given_records, 0, 20_000) == expected).all()


def test_rows_of_another_kind_go_the_long_way():
    first = record(0, bytes(2), 1_000)
    for other in (
        record(0, bytes(400), 8_000),
        record(0, bytes(400), 1_000, "F32LE"),
        record(0, bytes(400), 1_000, "S16LE"),
        record(0, bytes(400), 1_000, "S16BE", 2),
        record(0, bytes(401), 1_000),
    ):
        for both in ([first, other], [other, first]):
            assert raw_row(both, 0, 1_000, 1_000) is None


def test_a_record_that_is_the_window_is_not_copied():
    little = np.array([7, 8], "<i2").tobytes()
    for each, of in (
        (record(0, pcm(1, 2, 3), 1_000), [1, 2, 3]),
        (record(0, little, 1_000, "S16LE"), [7, 8]),
        (record(0, memoryview(b"-" + little)[1:], 1_000, "S16LE"), [7, 8]),
    ):
        whole = raw_row([each], 0, 1_000, len(of))
        assert np.shares_memory(whole, np.frombuffer(each.payload, np.uint8))
        assert whole.tolist() == of
        later = raw_row([each], 1_000, 1_000, len(of))
        assert not np.shares_memory(later, np.frombuffer(each.payload, np.uint8))
        assert later.tolist() == [*of[1:], 0]
    assert raw_row([record(0, pcm(9), 1_000)], 0, 1_000, 0).tolist() == []


def test_without_a_wish_the_first_record_gives_the_rate():
    both = [record(0, bytes(2_000), 1_000), record(1_000_000, bytes(4_000), 2_000)]
    for rate, first in ((1_000, both), (2_000, both[::-1])):
        decoded = [decode_audio(each.facts, each.payload) for each in first]
        assert assemble_audio(first, decoded, 0, 2_000_000, None).rate == rate
    with pytest.raises(ValueError, match="no record"):
        assemble_audio([], [], 0, 1_000_000, None)


def stream(rate, seconds, kind, seed=5):
    chance = np.random.default_rng(seed)
    count = rate * seconds
    if kind == "noise":
        return (chance.standard_normal(count) * 0.1).astype(np.float32)
    time = np.arange(count) / rate
    voices = [np.sin(2 * np.pi * f * time * (1 + 0.1 * time)) for f in (180, 360, 720, 1_500)]
    return (sum(voices) * 0.1 + chance.standard_normal(count) * 0.003).astype(np.float32)


def cut_to_records(samples, rate, first_us, size):
    return [
        record(first_us + at * 1_000_000 // rate, samples[at : at + size].tobytes(), rate, "F32LE")
        for at in range(0, len(samples), size)
    ]


def around(records, start_us, end_us):
    low, high = start_us - RESAMPLE_MARGIN_US, end_us + RESAMPLE_MARGIN_US
    return [each for each in records if each.end_us > low and each.ts_us < high]


def log_mel(samples, rate):
    power = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=400, hop_length=160, n_mels=64)
    return librosa.power_to_db(power, top_db=None).mean(axis=1)


@pytest.mark.parametrize(
    ("source", "target"), [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (16_000, 22_050)]
)
@pytest.mark.parametrize("first_us", [0, 31, 123_456])
@pytest.mark.parametrize("chunk_ms", [20, 1_000])
def test_resampling_a_window_is_resampling_the_stream(source, target, first_us, chunk_ms):
    samples = stream(source, 3, "voice")
    whole = librosa.resample(samples, orig_sr=source, target_sr=target, res_type="soxr_hq")
    cut = cut_to_records(samples, source, first_us, source * chunk_ms // 1_000)
    for start_us in (0, 1_000_000, 1_300_000):
        end_us = start_us + 1_000_000
        found = clip(around(cut, start_us, end_us), start_us, end_us, target)
        first = nearest_sample(start_us - first_us, target)
        expected = np.zeros(target, np.float32)
        there = whole[max(first, 0) : first + target]
        expected[max(-first, 0) : max(-first, 0) + len(there)] = there
        assert np.abs(log_mel(found, target) - log_mel(expected, target)).max() < 0.05
        # soxr itself rings in over the first four samples of a stream, a thousandth of full scale.
        settled = max(4 - first, 0)
        np.testing.assert_allclose(found[settled:], expected[settled:], rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["noise", "voice"])
@pytest.mark.parametrize("size", [1_000, 1_024])
def test_records_of_any_length_on_a_stream_that_meets_the_window(kind, size):
    """Their beginnings do not tell the stream's grid; the window's start does."""
    samples = stream(44_100, 3, kind)
    whole = librosa.resample(samples, orig_sr=44_100, target_sr=RATE, res_type="soxr_hq")
    cut = cut_to_records(samples, 44_100, 0, size)
    found = clip(around(cut, 1_000_000, 2_000_000), 1_000_000, 2_000_000)
    np.testing.assert_allclose(found, whole[RATE : 2 * RATE], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("source", "target"), [(44_101, 16_000), (12_345, 16_000)])
def test_rates_that_hardly_meet(source, target):
    samples = stream(source, 3, "voice")
    whole = librosa.resample(samples, orig_sr=source, target_sr=target, res_type="soxr_hq")
    cut = cut_to_records(samples, source, 0, source)
    found = clip(around(cut, 1_000_000, 2_000_000), 1_000_000, 2_000_000, target)
    expected = whole[target : 2 * target]
    assert np.abs(log_mel(found, target) - log_mel(expected, target)).max() < 0.05


@pytest.mark.parametrize("rate", [1, 7, 100, 999_983])
def test_the_strangest_rates_give_finite_samples(rate):
    chance = np.random.default_rng(6)
    strange = record(0, chance.integers(-99, 99, rate * 2).astype(">i2").tobytes(), rate)
    assert np.isfinite(clip([strange], 0, 1_000_000)).all()
    usual = record(0, bytes(64_000))
    assert np.isfinite(clip([usual], 0, 2_000_000, rate)).all()


def test_of_another_rate_the_gap_stays_silent_and_the_first_in_the_log_wins():
    tone = (np.sin(np.arange(8_000) * 0.1) * 0.5).astype(np.float32)
    here = record(0, tone[:4_000].tobytes(), 8_000, "F32LE")
    there = record(750_000, tone[:2_000].tobytes(), 8_000, "F32LE")
    found = clip([here, there], 0, 1_000_000)
    assert found[:8_000].any()
    assert not found[8_000:12_000].any()
    assert np.abs(found[12_000:]).max() > 0.4
    second = record(0, np.zeros(8_000, np.float32).tobytes(), 8_000, "F32LE")
    alone, both = clip([here], 0, 1_000_000), clip([here, second], 0, 1_000_000)
    assert (alone[:8_000] == both[:8_000]).all()
    assert not clip([second, here], 0, 1_000_000).any()


def test_records_of_two_rates_in_one_window():
    low = (np.sin(np.arange(4_000) * 2 * np.pi * 440 / 8_000) * 0.5).astype(np.float32)
    high = (np.sin(np.arange(8_000, 16_000) * 2 * np.pi * 440 / RATE) * 0.5).astype(np.float32)
    two = [record(0, low.tobytes(), 8_000, "F32LE"), record(500_000, high.tobytes(), form="F32LE")]
    tone = np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE) * 0.5
    for records in (two, two[::-1]):
        found = clip(records, 0, 1_000_000)
        assert (found[8_000:] == high).all()
        assert np.abs(found[200:7_800] - tone[200:7_800]).max() < 2e-3
    silence = record(0, bytes(4 * RATE), form="F32LE")
    assert not clip([silence, two[0]], 0, 1_000_000).any()
    assert clip([two[0], silence], 0, 1_000_000)[:7_900].any()


spans = st.lists(st.tuples(st.integers(-20, 40), st.integers(1, 30)), max_size=8)


@given(spans, st.integers(1, 30))
def test_coverage_counts_every_microsecond_once(given_spans, size_us):
    covered = {us for at, length in given_spans for us in range(at, at + length)}
    cover = [
        MediaRecord("mic", "k", at, at + length, Facts("audio", "S16BE"), b"", LOG)
        for at, length in given_spans
    ]
    expected = len(covered & set(range(size_us))) / size_us
    assert coverage(cover, 0, size_us) == expected
    assert coverage(cover[::-1], 0, size_us) == expected
