"""Running a stage on real payloads: clips, batches, failures (contract sections 2 and 4)."""

from __future__ import annotations

import io
import itertools
import weakref

import librosa
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from pipeline.batching.batch import StageJob
from pipeline.encoders import clips as clips_module
from pipeline.encoders import contents as contents_module
from pipeline.encoders.audio import LogMel
from pipeline.encoders.base import Audio
from pipeline.encoders.clips import StagePlan
from pipeline.encoders.image import ColorHistogram
from pipeline.encoders.running import EncodeTask
from pipeline.encoders.text import HashText
from pipeline.media.facts import read_facts
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type

CPU = torch.device("cpu")
L16 = "audio/L16;rate=16000;channels=1"
SECOND_US = 1_000_000
_OFFSETS = itertools.count(100)


def record(media: str, payload: bytes, ts_us: int, *, input: str = "in", offset=None, span_us=1):
    facts = read_facts(parse_media_type(media), payload, 33_000_000)
    if facts.kind == "audio":
        span_us = facts.samples * SECOND_US // facts.rate
    offset = next(_OFFSETS) if offset is None else offset
    log = LogRecord(f"topic-{input}", 0, offset, ts_us, b"s", payload, [])
    return MediaRecord(input, "s", ts_us, ts_us + span_us, facts, payload, log)


def name_of(media: MediaRecord):
    return media.log.topic, media.log.partition, media.log.offset


def job(records=(), start_us: int = 0, upstream=None) -> StageJob:
    return StageJob("s", start_us, start_us + SECOND_US, list(records), dict(upstream or {}))


def plan(*of: str, **more) -> StagePlan:
    return StagePlan("stage", of or ("in",), **more)


def wave(count: int, seed: int = 0, rate: int = 16_000):
    hiss = np.random.default_rng(seed).standard_normal(count)
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(count) / rate) + 0.02 * hiss).clip(-1, 1)


def l16(samples) -> bytes:
    return np.round(np.asarray(samples) * 32_767).astype(">i2").tobytes()


def wav(samples, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def png(colour, size=(8, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def broken_png() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    whole = file.getvalue()
    return whole[: len(whole) // 2]


class Probe:
    """Keeps what it was given; answers with what it was built with."""

    def __init__(self, takes, answer=None, gives="vector", rate=None):
        self.takes, self.gives, self.batches = takes, gives, []
        self._answer = answer or (lambda clip: np.ones(2, np.float32))
        if rate:
            self.rate = rate

    def encode(self, batch):
        self.batches.append(list(batch))
        return [self._answer(clip) for clip in batch]

    @property
    def clips(self):
        return [clip for batch in self.batches for clip in batch]


def clip_of(probe: Probe, stage: StagePlan, task_job: StageJob):
    [result] = EncodeTask(probe, stage).run([task_job])
    assert result.failure is None
    [clip] = probe.clips
    return clip


# Audio


def test_bytes_to_the_contracts_log_mel():
    payload = l16(wave(16_000))
    [result] = EncodeTask(LogMel(CPU), plan(length=64)).run([job([record(L16, payload, 0)])])
    y = np.frombuffer(payload, ">i2").astype(np.float32) / 32_768
    power = librosa.feature.melspectrogram(y=y, sr=16_000, n_fft=400, hop_length=160, n_mels=64)
    expected = librosa.power_to_db(power, top_db=None).mean(axis=1)
    np.testing.assert_allclose(result.output, expected, atol=1e-3)


def test_a_window_is_cut_to_the_sample_and_missing_samples_are_zeros():
    samples = np.arange(1, 16_001) / 32_767
    pieces = [record(L16, l16(samples), 250_000), record(L16, l16(samples), -900_000)]
    clip = clip_of(Probe("audio", rate=16_000), plan(), job(pieces))
    assert (clip.stream, clip.start_us, clip.end_us) == ("s", 0, SECOND_US)
    assert (clip.rate, clip.samples_start_us, clip.samples.dtype) == (16_000, 0, np.float32)
    expected = np.zeros(16_000)
    expected[4_000:] = np.arange(1, 12_001)
    expected[:1_600] = np.arange(14_401, 16_001)
    np.testing.assert_array_equal(clip.samples * 32_768, expected)


def test_the_short_way_and_the_long_way_give_the_same_samples(monkeypatch):
    pieces = [record(L16, l16(wave(9_001, seed)), ts) for seed, ts in enumerate((-3_333, 444_444))]
    short = clip_of(Probe("audio", rate=16_000), plan(), job(pieces)).samples
    monkeypatch.setattr(clips_module, "raw_row", lambda *_: None)
    long = clip_of(Probe("audio", rate=16_000), plan(), job(pieces)).samples
    assert short.tobytes() == long.tobytes()


def test_the_resampling_margin_is_not_in_the_clip_but_feeds_the_resampler():
    """Records reach 50 ms around the window; the clip is the window at the encoder's rate."""
    samples = wave(3 * 44_100, rate=44_100).astype(np.float32)
    whole = librosa.resample(samples, orig_sr=44_100, target_sr=16_000, res_type="soxr_hq")
    records = [
        record(
            "audio/wav", wav(samples[first : first + 44_100], 44_100), first * SECOND_US // 44_100
        )
        for first in (0, 44_100, 88_200)
    ]
    clip = clip_of(Probe("audio", rate=16_000), plan(), job(records, SECOND_US))
    assert len(clip.samples) == 16_000
    np.testing.assert_allclose(clip.samples, whole[16_000:32_000], atol=2e-4)


def test_a_record_in_the_margin_alone_is_nothing_to_encode():
    outside = record(L16, l16(wave(320)), SECOND_US + 10_000)
    probe = Probe("audio", rate=16_000)
    [result] = EncodeTask(probe, plan()).run([job([outside])])
    assert result.failure == "nothing to read (in gave none)"
    assert probe.batches == []


def test_declared_context_is_in_the_clip():
    records = [record(L16, l16(wave(48_000)), -SECOND_US)]
    stage = plan(before_us=500_000, after_us=250_000)
    clip = clip_of(Probe("audio", rate=16_000), stage, job(records))
    assert (len(clip.samples), clip.samples_start_us) == (28_000, -500_000)
    expected = np.frombuffer(l16(wave(48_000)), ">i2")[8_000:36_000]
    np.testing.assert_array_equal(clip.samples * 32_768, expected)


def test_without_a_wish_the_rate_is_the_streams_own():
    clip = clip_of(Probe("audio"), plan(), job([record("audio/wav", wav(wave(8_000), 8_000), 0)]))
    assert (clip.rate, len(clip.samples)) == (8_000, 8_000)


def test_a_clips_samples_are_its_own():
    """Two windows share a record, and the encoder writes into the first one's samples."""
    shared = record("audio/wav", wav(wave(32_000), 16_000), 0)

    def scribble(clip):
        value = clip.samples.sum()
        clip.samples[:] = 7
        return np.array([value], np.float32)

    def run(jobs):
        return [r.output for r in EncodeTask(Probe("audio", scribble), plan()).run(jobs)]

    both = run([job([shared]), job([shared], 500_000)])
    assert both == [*run([job([shared])]), *run([job([shared], 500_000)])]


# Images


def test_frames_in_time_order_with_their_times():
    pieces = [
        record("image/png", png((9, 0, 0), (3, 2)), 700_000),
        record("image/png", png((5, 0, 0), (4, 7)), 100_000),
        record("image/png", png((1, 0, 0)), -300_000, span_us=400_000),
    ]
    clip = clip_of(Probe("image"), plan(), job(pieces))
    assert [int(frame[0, 0, 0]) for frame in clip.frames] == [1, 5, 9]
    assert [frame.shape for frame in clip.frames] == [(6, 8, 3), (7, 4, 3), (2, 3, 3)]
    assert list(clip.times_us) == [-300_000, 100_000, 700_000]
    assert list(clip.ends_us) == [100_000, 100_001, 700_001]
    assert clip.samples is clip.text is clip.vector is None


def test_frames_outside_the_declared_context_are_left_out():
    """A stage that also hears gets records of the resampling margin; its pictures stay out."""
    pieces = [record("image/png", png((n, 0, 0)), ts) for n, ts in enumerate((-40_000, 0, 999_999))]
    clip = clip_of(Probe(("audio", "image")), plan(), job(pieces))
    assert list(clip.times_us) == [0, 999_999]
    clip = clip_of(Probe(("audio", "image")), plan(before_us=40_000), job(pieces))
    assert list(clip.times_us) == [-40_000, 0, 999_999]


def test_a_picture_that_two_windows_share_is_decoded_once_and_lent_to_neither(monkeypatch):
    decoded = []
    decode = contents_module._DECODERS["image"]
    monkeypatch.setitem(
        contents_module._DECODERS, "image", lambda *given: decoded.append(1) or decode(*given)
    )
    shared = record("image/png", png((3, 4, 5)), 600_000)

    def scribble(clip):
        value = clip.frames[0].sum()
        clip.frames[0][:] = 200
        return np.array([value], np.float32)

    jobs = [job([shared], start) for start in (0, 500_000, 250_000)]
    results = EncodeTask(Probe("image", scribble), plan()).run(jobs)
    assert len(decoded) == 1
    assert [float(result.output[0]) for result in results] == [12.0 * 48] * 3


# Texts and outputs of other stages


def test_texts_by_time_then_order_in_of_then_offset():
    pieces = [
        record("text/plain", b"one", 500, input="chat", offset=9),
        record("text/plain", b"two", 500, input="chat", offset=4),
        record("text/plain", b"three", 200, input="chat", offset=5),
        record("text/plain", b"vier\n", 500, input="notes", offset=1),
    ]
    stage = plan("notes", "heard", "chat", "seen")
    upstream = {"seen": "a door", "heard": "hello"}
    clip = clip_of(Probe("text"), stage, job(pieces, 0, upstream))
    assert clip.text == "hello\na door\nthree\nvier\n\ntwo\none"


def test_outputs_of_other_stages_by_kind():
    upstream = {
        "seen": np.full((2, 3, 3), 9, np.uint8),
        "sound": np.array([1, 2], np.float32),
        "words": np.array([5], np.float32),
        "said": Audio(wave(8_000, rate=8_000).astype(np.float32), 8_000),
    }
    stage = plan("words", "none", "seen", "sound", "said",
                 upstream_lengths={"words": 1, "none": 3, "sound": 2})  # fmt: skip
    probe = Probe(("image", "vector", "audio"), rate=16_000)
    clip = clip_of(probe, stage, job((), 5_000_000, upstream))
    np.testing.assert_array_equal(clip.vector, [5, 0, 0, 0, 1, 2])
    assert clip.vector.dtype == np.float32
    assert list(clip.times_us) == [5_000_000]
    assert clip.frames[0].shape == (2, 3, 3)
    assert (clip.rate, len(clip.samples), clip.samples_start_us) == (16_000, 16_000, 5_000_000)


def test_a_stage_whose_sources_gave_nothing():
    [result] = EncodeTask(HashText(CPU), plan("heard", "seen")).run([job()])
    assert result.failure == "nothing to read (heard, seen gave none)"
    assert result.undecodable == []


# Undecodable records


def test_an_undecodable_picture_leaves_the_rest_of_its_window():
    good = record("image/png", png((200, 0, 0)), 1)
    bad = record("image/png", broken_png(), 0)
    task = EncodeTask(ColorHistogram(CPU), plan(length=24))
    both, alone, only_bad = task.run([job([bad, good]), job([good]), job([bad])])
    assert both.output.tobytes() == alone.output.tobytes()
    assert [name for name, _ in both.undecodable] == [name_of(bad)]
    assert "\n" not in both.undecodable[0][1]
    assert alone.undecodable == []
    assert (only_bad.output, only_bad.failure) == (None, "undecodable")
    assert only_bad.undecodable == both.undecodable


def test_an_undecodable_sound_is_zeros_and_a_window_of_nothing_else_fails():
    samples = wave(8_000).astype(np.float32)
    poison = samples.copy()
    poison[17] = np.nan
    good = record("audio/wav", wav(samples, 16_000), 0)
    bad = record("audio/wav", wav(poison, 16_000), 500_000)
    probe = Probe("audio", rate=16_000)
    both, only_bad = EncodeTask(probe, plan()).run([job([good, bad]), job([bad])])
    assert both.failure is None
    [clip] = probe.clips
    np.testing.assert_array_equal(clip.samples[:8_000], samples)
    assert not clip.samples[8_000:].any()
    assert only_bad.failure == "undecodable"
    assert [name for name, _ in only_bad.undecodable] == [name_of(bad)]


def test_an_input_of_another_kind_is_what_is_left():
    bad, text = record("image/png", broken_png(), 0), record("text/plain", b"left", 5)
    clip = clip_of(Probe(("image", "text")), plan(), job([bad, text]))
    assert (clip.frames, clip.text) == (None, "left")


# Failures of the encoder


def jobs_of_texts(count: int):
    return [job([record("text/plain", f"t{n}".encode(), 0)]) for n in range(count)]


@pytest.mark.parametrize("poison", [{0}, {5}, {12}, {0, 1, 7}, set(range(13)), set()])
def test_only_the_window_that_fails_alone_has_failed(poison: set[int]):
    def answer(clip):
        number = int(clip.text[1:])
        if number in poison:
            raise RuntimeError(f"poison\n  {number}")
        return np.array([number], np.float32)

    probe = Probe("text", answer)
    results = EncodeTask(probe, plan()).run(jobs_of_texts(13))
    for number, result in enumerate(results):
        if number in poison:
            assert (result.output, result.failure) == (None, f"RuntimeError: poison {number}")
        else:
            assert (result.output.tolist(), result.failure) == ([number], None)
    if not poison:
        assert len(probe.batches) == 1
    if len(poison) == 1:
        assert len(probe.batches) <= 9  # halves: 1 + 2 log2(13), never one by one


class Small:
    """An encoder on a device that holds ``fits`` clips at once."""

    takes, gives, length = "text", "vector", 1

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.calls: list[int] = []
        self.alive: list[weakref.ref] = []

    def encode(self, batch):
        assert not [1 for each in self.alive if each() is not None], "a failed call's memory"
        self.calls.append(len(batch))
        work = np.zeros(8, np.float32)
        self.alive.append(weakref.ref(work))
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError(f"{len(batch)} clips do not fit")
        return [np.ones(1, np.float32) for _ in batch]


def test_what_does_not_fit_runs_in_halves_and_later_at_full_size_again():
    small = Small(fits=5)
    task = EncodeTask(small, plan())
    jobs = [job([record("text/plain", b"x", 0)]) for _ in range(16)]
    assert [r.failure for r in task.run(jobs)] == [None] * 16
    assert small.calls == [16, 8, 4, 4, 4, 4]
    small.calls.clear()
    task.run(jobs)
    assert small.calls == [4, 4, 4, 4]  # it has learnt
    small.fits = 16
    for _ in range(40):
        small.calls.clear()
        task.run(jobs)
    assert small.calls == [16]


def test_a_window_that_does_not_fit_alone_has_failed():
    task = EncodeTask(Small(fits=0), plan())
    [result] = task.run([job([record("text/plain", b"x", 0)])])
    assert result.failure == "OutOfMemoryError: 1 clips do not fit"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_wrong_number_of_outputs_is_a_failure_of_the_batch(count: int):
    class Short:
        takes, gives = "text", "vector"

        def encode(self, batch):
            return [np.ones(1, np.float32)] * (len(batch) if len(batch) == 1 else count)

    results = EncodeTask(Short(), plan()).run(jobs_of_texts(3))
    assert [result.failure for result in results] == [None] * 3  # alone each gives its one


def test_a_wrong_number_of_outputs_for_one_clip():
    probe = Probe("text")
    probe.encode = lambda batch: []
    [result] = EncodeTask(probe, plan()).run(jobs_of_texts(1))
    assert result.failure == "ValueError: encode gave 0 outputs for 1 clips"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_fail_their_window_alone(value: float):
    def answer(clip):
        return np.array([1, value if clip.text == "t1" else 2], np.float32)

    probe = Probe("text", answer)
    results = EncodeTask(probe, plan()).run(jobs_of_texts(3))
    told = "NaN" if np.isnan(value) else "infinity"
    assert [r.failure for r in results] == [None, f"ValueError: gives {told} in its vector", None]
    assert results[1].output is None
    assert len(probe.batches) == 1


def test_a_vector_of_another_length_fails():
    results = EncodeTask(HashText(CPU, dim=3), plan(length=4)).run(jobs_of_texts(1))
    assert results[0].failure == "ValueError: gives a vector of 3 numbers where its length is 4"


def test_a_long_message_is_cut_to_one_line():
    def answer(clip):
        raise ValueError("x" * 5_000 + "\n" + clip.text)

    [result] = EncodeTask(Probe("text", answer), plan()).run(jobs_of_texts(1))
    assert len(result.failure) == 300
    assert result.failure.startswith("ValueError: xxx")
    assert result.failure.endswith("...")


def test_what_is_not_an_error_goes_through():
    def answer(clip):
        raise KeyboardInterrupt

    task = EncodeTask(Probe("text", answer), plan())
    with pytest.raises(KeyboardInterrupt):
        task.run(jobs_of_texts(1))


def test_no_jobs():
    assert EncodeTask(HashText(CPU), plan()).run([]) == []


def test_a_batch_is_its_jobs_alone_to_the_bit():
    starts = range(0, 9 * SECOND_US, SECOND_US)
    jobs = [
        job([record(L16, l16(wave(1 + start // 600, start)), start)], start) for start in starts
    ]
    task = EncodeTask(LogMel(CPU), plan(length=64))
    together = [result.output.tobytes() for result in task.run(jobs)]
    assert together == [task.run([each])[0].output.tobytes() for each in jobs]
