"""Log-mel and cepstral coefficients against librosa itself (contract section 2)."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.features.log_mel import log_mel, mfcc
from pipeline.features.mel import MelConfig, cosine_transform, mel_filters

DB_MAX = 1e-3  # within 80 dB of the peak
pytestmark = pytest.mark.filterwarnings(
    "ignore:n_fft=.* is too large:UserWarning", "ignore:Empty filters detected:UserWarning"
)


def librosa_db(samples, config: MelConfig):
    power = librosa.feature.melspectrogram(
        y=samples, sr=config.rate, n_fft=config.n_fft, hop_length=config.hop_length,
        n_mels=config.n_mels, fmin=config.f_min_hz, fmax=config.f_max_hz,
    )  # fmt: skip
    return librosa.power_to_db(power, top_db=None)


def assert_equal_to_librosa(samples, config: MelConfig = MelConfig()):  # noqa: B008
    [ours] = log_mel([samples], config)
    theirs = librosa_db(samples, config)
    assert ours.dtype == torch.float32
    assert ours.shape == theirs.T.shape
    loud = theirs >= theirs.max() - 80
    assert np.abs(ours.numpy().T - theirs)[loud].max() <= DB_MAX


def noise(count: int, seed: int = 0, level: float = 0.1):
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def tone(hz: float, rate: int = 16_000, count: int = 16_000, level: float = 1.0):
    return (level * np.sin(2 * np.pi * hz * np.arange(count) / rate)).astype(np.float32)


@pytest.mark.parametrize("n_mels", [1, 13, 32, 33, 64, 80, 128])
@pytest.mark.parametrize(
    ("rate", "n_fft", "hop"),
    [(16_000, 400, 160), (8_000, 256, 80), (22_050, 2048, 512), (48_000, 1201, 480),
     (16_000, 401, 160)],
)  # fmt: skip
def test_noise_at_every_configuration(rate: int, n_fft: int, hop: int, n_mels: int):
    assert_equal_to_librosa(noise(rate // 2), MelConfig(rate, n_fft, hop, n_mels))


@pytest.mark.parametrize(
    "count", [1, 2, 79, 80, 159, 160, 161, 199, 200, 201, 399, 400, 401, 1_600]
)
@pytest.mark.parametrize("n_fft", [400, 401])
def test_short_clips(count: int, n_fft: int):
    assert_equal_to_librosa(noise(count, seed=count), MelConfig(n_fft=n_fft))


@pytest.mark.parametrize("count", [16_000, 16_001, 15_999, 44_100, 170_007])
def test_long_clips_over_several_tiles(count: int):
    assert_equal_to_librosa(noise(count))


@pytest.mark.parametrize("hz", [20.0, 123.4, 440.0, 1_000.0, 3_333.3, 4_000.0, 7_001.5, 7_990.0])
def test_pure_tones_keep_their_weak_bands(hz: float):
    """A float32 transform is 0.004 to 0.013 dB off here: its rounding noise fills the bands."""
    assert_equal_to_librosa(tone(hz))
    assert_equal_to_librosa(tone(hz) * np.float32(0.9) + tone(hz / 3, level=3e-4))


def test_a_loud_and_a_quiet_half():
    assert_equal_to_librosa(np.concatenate([noise(8_000, level=0.3), noise(8_000, level=3e-5)]))


def test_a_constant_and_an_impulse():
    impulse = np.zeros(16_000, np.float32)
    impulse[7_777] = 1.0
    assert_equal_to_librosa(impulse)
    assert_equal_to_librosa(np.full(16_000, 0.5, np.float32) + noise(16_000, level=1e-4))


def test_full_scale_square_wave():
    assert_equal_to_librosa(np.sign(tone(251.0)))


def test_silence_is_the_floor():
    [silence] = log_mel([np.zeros(16_000, np.float32)])
    assert silence.shape == (101, 64)
    assert torch.all(silence == -100.0)


def test_an_empty_clip_has_no_frames():
    empty, full = log_mel([np.zeros(0, np.float32), noise(16_000)])
    assert empty.shape == (0, 64)
    assert full.shape == (101, 64)
    assert log_mel([]) == []


def test_band_edges_in_hz():
    assert_equal_to_librosa(noise(16_000), MelConfig(f_min_hz=300.0, f_max_hz=3_400.0))


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, st.integers(1, 3_000), elements=st.floats(-1, 1, width=32)))
def test_any_samples(samples):
    assert_equal_to_librosa(samples)


@pytest.mark.parametrize(
    "config",
    [MelConfig(), MelConfig(22_050, 2048, 512, 128), MelConfig(8_000, 256, 80, 40, 20.0, 3_800.0),
     MelConfig(44_100, 1024, 256, 96), MelConfig(16_000, 64, 32, 64)],
)  # fmt: skip
def test_the_bank_is_librosas_to_the_bit(config: MelConfig):
    bank = librosa.filters.mel(
        sr=config.rate, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.f_min_hz,
        fmax=config.f_max_hz,
    )  # fmt: skip
    np.testing.assert_array_equal(mel_filters(config), bank)


def test_the_cosine_transform_is_orthonormal():
    basis = cosine_transform(64, 64)
    np.testing.assert_allclose(basis @ basis.T, np.eye(64), atol=1e-13)


LIBROSA_DEFAULTS = MelConfig(22_050, 2048, 512, 128)


@pytest.mark.parametrize(
    ("config", "n_mfcc", "lifter"),
    [(LIBROSA_DEFAULTS, 20, 0), (MelConfig(16_000, 2048, 512, 128), 13, 22), (MelConfig(), 64, 0)],
)
@pytest.mark.parametrize("kind", ["noise", "tone", "burst", "silence", "short"])
def test_mfcc_is_librosas(config: MelConfig, n_mfcc: int, lifter: int, kind: str):
    samples = {
        "noise": noise(config.rate),
        "tone": tone(440.0, config.rate, config.rate),
        "burst": np.concatenate([noise(9_000), np.zeros(7_000, np.float32)]),
        "silence": np.zeros(config.rate, np.float32),
        "short": noise(100),
    }[kind]
    [ours] = mfcc([samples], config, n_mfcc=n_mfcc, lifter=lifter)
    theirs = librosa.feature.mfcc(
        y=samples, sr=config.rate, n_mfcc=n_mfcc, lifter=lifter, n_fft=config.n_fft,
        hop_length=config.hop_length, n_mels=config.n_mels,
    )  # fmt: skip
    np.testing.assert_allclose(ours.numpy().T, theirs, atol=2e-3)


def test_the_mfcc_floor_is_the_clips_own():
    """librosa over a batch would raise the quiet clip to 80 dB under the loud one."""
    quiet, loud = noise(16_000, 1, 1e-5), noise(16_000, 2, 0.5)
    [alone] = mfcc([quiet], LIBROSA_DEFAULTS)
    together = mfcc([loud, quiet], LIBROSA_DEFAULTS)[1]
    assert torch.equal(alone, together)
