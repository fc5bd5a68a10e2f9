"""audio_clean: what comes out is the window, cleaner, at its level, and joins its neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.demo import assets
from pipeline.encoders.audio_clean import AudioClean
from pipeline.encoders.base import Clip
from pipeline.encoders.loading import empty_clip
from pipeline.encoders.outputs import checked
from pipeline.errors import InvalidInput
from pipeline.features.loudness import integrated_lufs

CPU = torch.device("cpu")
RATE, SECOND_US = 16_000, 1_000_000
SPEECH = Path(assets.__file__).parent / "media" / "speech" / "sentence-1.flac"


def noise(seed: int, count: int, scale: float = 0.1):
    return (scale * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def reading():
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    assert rate == RATE
    return samples[: 7 * RATE]


def windows(line, before_us=0, after_us=0, size_us=SECOND_US) -> list[Clip]:
    """The windows of a stream that begins at 0, one after another, with their context."""
    before, size, after = (us * RATE // SECOND_US for us in (before_us, size_us, after_us))
    padded = np.concatenate([np.zeros(before, np.float32), line, np.zeros(after, np.float32)])
    clips = []
    for k in range(len(line) // size):
        samples = padded[k * size : (k + 1) * size + before + after]
        start_us = k * size_us
        clips.append(Clip("s", start_us, start_us + size_us, samples, RATE, start_us - before_us))
    return clips


def joined(encoder: AudioClean, clips: list[Clip]):
    return np.concatenate([audio.samples for audio in encoder.encode(clips)])


def lufs(line) -> float:
    return integrated_lufs(torch.from_numpy(line), RATE)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    before=st.integers(0, 3_000),
    window=st.integers(0, 9_000),
    after=st.integers(0, 3_000),
    scale=st.sampled_from([0.0, 1e-5, 0.1, 1.0]),
    options=st.fixed_dictionaries(
        {},
        optional={
            "highpass_hz": st.sampled_from([None, 10, 1_900.5]),
            "level_db": st.sampled_from([None, -60, 0]),
            "gain_db_max": st.sampled_from([0, 60]),
            "gate_db": st.sampled_from([-20, 40]),
            "reduce_db": st.sampled_from([0, 80]),
        },
    ),
)
def test_the_window_comes_out_whatever_goes_in(seed, before, window, after, scale, options):
    """As many samples as the window has, finite, within [-1, 1]; silence stays silence."""
    rate = 8_000
    line = noise(seed, before + window + after, scale).clip(-1, 1)
    start_us, samples_us = 5 * SECOND_US, 5 * SECOND_US - before * SECOND_US // rate
    clip = Clip("s", start_us, start_us + window * SECOND_US // rate, line, rate, samples_us)
    [audio] = AudioClean(CPU, rate=rate, **options).encode([clip])
    assert checked("audio", audio) is not None
    assert (len(audio.samples), audio.rate) == (window, rate)
    assert np.abs(audio.samples).max(initial=0) <= 1
    if scale == 0:
        assert not audio.samples.any()


def test_a_batch_is_its_singles_to_the_bit():
    encoder, other = AudioClean(CPU), AudioClean(CPU)
    clips = windows(reading() + noise(1, 7 * RATE, 0.01), 500_000, 100_000)
    clips += [empty_clip(encoder), Clip("t", 0, SECOND_US)]
    for clip in clips:
        if clip.samples is not None:
            clip.samples.flags.writeable = False
    together = encoder.encode(clips)
    backwards = other.encode(clips[::-1])[::-1]
    for clip, first, second in zip(clips, together, backwards, strict=True):
        [alone] = encoder.encode([clip])
        assert first.samples.tobytes() == second.samples.tobytes() == alone.samples.tobytes()


def test_speech_comes_to_the_level():
    for scale in (0.05, 1.0):
        encoder = AudioClean(CPU, level_db=-26, reduce_db=0, gain_db_max=40)
        heard = joined(encoder, windows(scale * reading(), 3_000_000, 100_000))
        assert lufs(heard[RATE:]) == pytest.approx(-26, abs=1.5)


def test_the_gain_has_bounds():
    quiet = noise(2, RATE, 1e-3)
    [audio] = AudioClean(CPU, gain_db_max=6, reduce_db=0, highpass_hz=None).encode(windows(quiet))
    np.testing.assert_allclose(audio.samples, quiet * 10 ** (6 / 20), rtol=1e-5)
    peaks = quiet.copy()
    peaks[8_000] = 0.9  # one click: raised no further than -1 dBFS
    [audio] = AudioClean(CPU, gain_db_max=60, reduce_db=0, highpass_hz=None).encode(windows(peaks))
    assert audio.samples.max() <= 0.9
    hiss = noise(3, RATE, 1e-5)  # under -70 LUFS there is nothing to be raised
    [audio] = AudioClean(CPU, reduce_db=0, highpass_hz=None).encode(windows(hiss))
    np.testing.assert_allclose(audio.samples, hiss, rtol=1e-5)


def gains_at_the_seams_db(encoder: AudioClean, line, context: tuple[int, int]):
    """What the encoder makes of the line's power, in dB: just before and just after each seam."""
    out = joined(encoder, windows(line, *context)).astype(np.float64)
    near = RATE // 50
    sides = [
        [
            10 * np.log10(np.mean(out[part] ** 2) / np.mean(line[part].astype(np.float64) ** 2))
            for part in (slice(seam - near, seam), slice(seam, seam + near))
        ]
        for seam in range(RATE, len(out), RATE)
    ]
    return np.array(sides)


def test_windows_with_context_join_without_a_step():
    """A tone over noise, 20 dB louder from one moment on: the gain moves, but never jumps."""
    times = np.arange(8 * RATE) / RATE
    loud = np.where(times < 4.3, 0.02, 0.2)
    line = (loud * np.sin(2 * np.pi * 500 * times) + noise(4, len(times), 0.002)).astype(np.float32)
    for options in ({}, {"reduce_db": 0}):
        encoder = AudioClean(CPU, **options)
        with_context = gains_at_the_seams_db(encoder, line, (2_000_000, 200_000))[1:-1]
        assert np.ptp(with_context) > 5
        assert np.abs(np.diff(with_context, axis=1)).max() < 0.5
        without = gains_at_the_seams_db(encoder, line, (0, 0))
        assert np.abs(np.diff(without, axis=1)).max() > 5


def test_noise_in_speech_goes_down():
    speech, hiss = reading(), noise(5, 7 * RATE, 1.0)
    hiss *= np.sqrt(np.mean(speech**2) / np.mean(hiss**2) / 10)  # 10 dB under the speech
    gate, passed = AudioClean(CPU, level_db=None), AudioClean(CPU, level_db=None, reduce_db=0)
    context = 4_000_000, 100_000
    clean = joined(passed, windows(speech, *context)).astype(np.float64)

    def snr_db(heard) -> float:
        fit = (heard @ clean) / (clean @ clean) * clean
        return float(10 * np.log10((fit @ fit) / np.sum((heard - fit) ** 2)))

    before = joined(passed, windows(speech + hiss, *context)).astype(np.float64)
    after = joined(gate, windows(speech + hiss, *context)).astype(np.float64)
    assert snr_db(after) - snr_db(before) > 3
    # and clean speech is hardly touched
    assert snr_db(joined(gate, windows(speech, *context)).astype(np.float64)) > 25


def test_rumble_and_offset_go():
    times = np.arange(RATE) / RATE
    line = (0.3 + 0.3 * np.sin(2 * np.pi * 25 * times)).astype(np.float32)
    [audio] = AudioClean(CPU, level_db=None).encode(windows(line))
    assert np.abs(audio.samples[1000:-1000]).max() < 0.01
    [kept] = AudioClean(CPU, level_db=None, highpass_hz=None, reduce_db=0).encode(windows(line))
    np.testing.assert_array_equal(kept.samples, line)


@pytest.mark.parametrize(
    "options",
    [{"highpass_hz": 9}, {"highpass_hz": "low"}, {"highpass_hz": 4_001}, {"level_db": 1},
     {"gain_db_max": -1}, {"gate_db": 41}, {"reduce_db": 81}, {"rate": 10}],
)  # fmt: skip
def test_wrong_options(options: dict):
    with pytest.raises(InvalidInput, match=rf"options\.{next(iter(options))}"):
        AudioClean(CPU, **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_cpus_sound():
    clips = windows(reading() + noise(6, 7 * RATE, 0.01), 2_000_000, 100_000)
    here, there = AudioClean(CPU).encode(clips), AudioClean(torch.device("cuda")).encode(clips)
    for ours, theirs in zip(here, there, strict=True):
        np.testing.assert_allclose(ours.samples, theirs.samples, atol=1e-6)
