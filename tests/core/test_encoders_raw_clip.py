"""Clips whose samples are 16-bit until they are asked for: nobody can tell, but by the time."""

from __future__ import annotations

import copy
import itertools
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from pipeline.batching.batch import StageJob
from pipeline.encoders.audio import LogMel, Mfcc
from pipeline.encoders.base import Clip
from pipeline.encoders.clips import ClipBuilder
from pipeline.encoders.plan import StagePlan
from pipeline.encoders.raw_clip import RawClip, sound_of
from pipeline.encoders.running import EncodeTask
from pipeline.media.pcm import INT16_FORMATS, int16_mono
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord

CPU = torch.device("cpu")
RATE, SECOND_US = 16_000, 1_000_000
OFFSETS = itertools.count()
PLANS = {
    "alone": StagePlan("s", ("in",)),
    "with a context": StagePlan("s", ("in",), before_us=250_000, after_us=125_000),
}


def record(ts_us: int, count: int, form: str = "S16BE", seed: int = 0, rate: int = RATE):
    values = np.random.default_rng(seed).integers(-32_768, 32_768, count)
    payload = values.astype(INT16_FORMATS[form]).tobytes()
    log = LogRecord("t", 0, next(OFFSETS), ts_us, b"k", payload, [])
    facts = Facts("audio", form, rate, 1, count)
    return MediaRecord("in", "k", ts_us, ts_us + count * SECOND_US // rate, facts, payload, log)


def windows(form: str) -> dict[str, list[MediaRecord]]:
    """By name, the records of one second from 0 on."""
    odd = record(0, RATE, form)
    return {
        "one record": [record(0, RATE, form)],
        "one that is longer": [record(-SECOND_US, 3 * RATE, form)],
        "at an odd address": [odd._replace(payload=memoryview(b"-" + odd.payload)[1:])],
        "pieces": [record(20_000 * i, 320, form, i) for i in range(50)],
        "pieces with gaps": [record(90_001 * i, 997, form, i) for i in range(11)],
        "one over another": [record(300_000, 9_000, form, 1), record(0, RATE, form, 2)],
        "two byte orders": [record(0, 8_000, "S16BE"), record(500_000, 8_000, "S16LE")],
        "another rate": [record(0, 8_000, form, rate=8_000)],
        "silence": [record(0, 2, form, 3)._replace(payload=bytes(4))],
    }


def job(records, start_us: int = 0) -> StageJob:
    return StageJob("k", start_us, start_us + SECOND_US, list(records))


def clips_of(jobs, plan: StagePlan) -> list[Clip]:
    return [each.clip for each in ClipBuilder(plan, ("audio",), RATE).build(jobs)]


def plain(clip: Clip) -> Clip:
    """What a user would write down for it."""
    samples = None if clip.samples is None else clip.samples.copy()
    return Clip(clip.stream, clip.start_us, clip.end_us, samples, clip.rate, clip.samples_start_us)


@pytest.mark.parametrize("form", INT16_FORMATS)
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("encoder", [LogMel(CPU), Mfcc(CPU)], ids=["log_mel", "mfcc"])
def test_an_encoder_gives_the_same_bits_as_of_floats(encoder, plan, form):
    jobs = [job(records) for records in windows(form).values()]
    found = encoder.encode(clips_of(jobs, plan))
    expected = encoder.encode([plain(clip) for clip in clips_of(jobs, plan)])
    for name, one, other in zip(windows(form), found, expected, strict=True):
        assert one.tobytes() == other.tobytes(), name


def test_log_mel_asks_for_no_floats():
    jobs = [job(records) for records in windows("S16BE").values()]
    for plan in PLANS.values():
        clips = clips_of(jobs, plan)
        before = [sound_of(clip).dtype.kind for clip in clips]
        LogMel(CPU).encode(clips)
        assert [sound_of(clip).dtype.kind for clip in clips] == before
        kinds = dict(zip(windows("S16BE"), before, strict=True))
        assert {name for name, kind in kinds.items() if kind == "f"} == {
            "two byte orders", "another rate",
        }  # fmt: skip


def test_what_is_written_into_a_clip_is_what_every_encoder_reads():
    [heard] = clips_of([job([record(0, RATE)])], PLANS["alone"])
    heard.samples[:] = 0.25
    [replaced] = clips_of([job([record(0, RATE)])], PLANS["alone"])
    replaced.samples = np.full(RATE, 0.25, np.float32)
    expected = LogMel(CPU).encode([Clip("k", 0, SECOND_US, np.full(RATE, 0.25, np.float32), RATE)])
    for clip in (heard, replaced):
        assert np.array_equal(LogMel(CPU).encode([clip]), expected)
    heard.samples = None
    assert heard.samples is None
    assert not LogMel(CPU).encode([heard])[0].any()


def test_an_encoder_that_writes_into_one_window_spoils_no_other():
    class Scribbler:
        takes, gives, rate = "audio", "vector", RATE

        def encode(self, batch):
            for clip in batch:
                clip.samples[:] *= 0.5
            return LogMel(CPU).encode(batch)

    shared = record(0, 2 * RATE)
    jobs = [job([shared]), job([shared]), job([shared], 500_000)]
    before = bytes(shared.payload)
    together = [r.output for r in EncodeTask(Scribbler(), PLANS["alone"]).run(jobs)]
    for each, output in zip(jobs, together, strict=True):
        [alone] = EncodeTask(Scribbler(), PLANS["alone"]).run([each])
        assert np.array_equal(alone.output, output)
    assert shared.payload == before


def test_samples_are_made_once():
    [clip] = clips_of([job([record(0, RATE)])], PLANS["alone"])
    assert isinstance(clip, RawClip)
    samples = clip.samples
    assert clip.samples is samples
    assert sound_of(clip) is samples
    expected = int16_mono(record(0, RATE).payload, ">i2", 1)
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, replace, lambda clip: pickle.loads(pickle.dumps(clip))]
)
def test_a_copy_is_a_clip_like_it(again):
    [clip] = clips_of([job([record(0, RATE)])], PLANS["alone"])
    [other] = clips_of([job([record(0, RATE)])], PLANS["alone"])
    copied = again(clip)
    assert np.array_equal(copied.samples, other.samples)
    names = {field.name for field in fields(Clip)} - {"samples"}
    assert [getattr(copied, name) for name in names] == [getattr(other, name) for name in names]
    assert repr(copied) == repr(other)
