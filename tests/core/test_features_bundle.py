"""Every feature of a bundle against librosa itself, within what ``bundle`` states."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import pipeline.demo
from pipeline.features.bundle import NAMES, FeatureConfig, bundle, columns
from pipeline.features.chroma import chroma_filters

pytestmark = pytest.mark.filterwarnings(
    "ignore:n_fft=.* is too large:UserWarning", "ignore:Empty filters detected:UserWarning"
)
SPEECH = sorted((Path(pipeline.demo.__file__).parent / "media" / "speech").glob("*.flac"))

DEFAULTS = (2048, 512, {})
FRAMINGS = [
    DEFAULTS,
    (400, 160, {}),
    (512, 128, {"win_length": 400, "window": "hamming"}),
    (405, 101, {"win_length": 300}),
    (1201, 480, {"window": "bartlett"}),
    (1024, 256, {"window": "blackman", "center": False}),
    (405, 160, {"win_length": 299, "center": False}),
    (64, 200, {}),
]


def librosas(y, config: FeatureConfig) -> dict[str, np.ndarray]:
    framing = {
        "n_fft": config.n_fft, "hop_length": config.hop_length, "win_length": config.win_length,
        "window": config.window, "center": config.center,
    }  # fmt: skip
    samples = {
        "frame_length": config.n_fft, "hop_length": config.hop_length, "center": config.center,
    }  # fmt: skip
    pitched = {"y": y, "sr": config.rate, **framing}
    mel = librosa.feature.melspectrogram(**pitched, n_mels=config.n_mels)
    cepstra = librosa.feature.mfcc(**pitched, n_mfcc=config.n_mfcc, n_mels=config.n_mels)
    mode = "interp" if mel.shape[1] >= 9 else "nearest"
    return {
        "log_mel": librosa.power_to_db(mel, top_db=None),
        "mfcc": cepstra,
        "mfcc_delta": librosa.feature.delta(cepstra, mode=mode),
        "mfcc_delta2": librosa.feature.delta(cepstra, order=2, mode=mode),
        "chroma": librosa.feature.chroma_stft(
            **pitched, tuning=config.tuning, n_chroma=config.n_chroma
        ),
        "centroid": librosa.feature.spectral_centroid(**pitched),
        "bandwidth": librosa.feature.spectral_bandwidth(**pitched),
        "rolloff": librosa.feature.spectral_rolloff(**pitched, roll_percent=config.roll_percent),
        "flatness": librosa.feature.spectral_flatness(y=y, **framing),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(y, **samples),
        "rms": librosa.feature.rms(y=y, **samples),
    }


def tolerances(config: FeatureConfig, theirs: dict[str, np.ndarray]) -> dict[str, object]:
    """As ``bundle`` states them; a rolloff's bin is told apart below."""
    db = theirs["log_mel"]
    return {
        "log_mel": np.where(db >= db.max() - 80, 1e-3, np.inf),
        "mfcc": 1e-3,
        "mfcc_delta": 1e-3,
        "mfcc_delta2": 1e-3,
        "chroma": 1e-5,
        "centroid": 1e-7 * config.rate,
        "bandwidth": 1e-7 * config.rate,
        "rolloff": 1e-2,
        "flatness": 1e-5,
        "zero_crossing_rate": 6e-8,
        "rms": 1e-6 * theirs["rms"] + 1e-12,
    }


def assert_librosas(y, config: FeatureConfig) -> None:
    [rows] = bundle([y], NAMES, config)
    theirs = librosas(y, config)
    assert rows.dtype == torch.float32
    assert rows.shape == (config.frames(len(y)), len(columns(NAMES, config)))
    assert torch.isfinite(rows).all()
    allowed, at = tolerances(config, theirs), 0
    for name in NAMES:
        ours = rows[:, at : at + config.width(name)].numpy().T
        at += config.width(name)
        assert ours.shape == theirs[name].shape, name
        off = np.abs(ours - theirs[name])
        if name == "rolloff":
            off = off[off > config.rate / config.n_fft * 1.01]  # a neighbour is allowed
            assert not off.size
            continue
        assert (off <= allowed[name]).all(), (name, off.max())


def noise(count: int, seed: int = 0, level: float = 0.1):
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def tone(hz: float, rate: int, level: float = 1.0):
    return (level * np.sin(2 * np.pi * hz * np.arange(rate // 2) / rate)).astype(np.float32)


def sounds(rate: int):
    half = rate // 2
    impulse = np.zeros(half, np.float32)
    impulse[half // 3] = 1.0
    return {
        "noise": noise(half),
        "negative": -np.abs(noise(half)) - np.float32(0.01),
        "low": tone(55.0, rate),
        "a440": tone(440.0, rate),
        "quarter": tone(rate / 4, rate),  # on a bin
        "high": tone(rate * 0.45, rate),
        "square": np.sign(tone(251.0, rate)),
        "burst": np.concatenate([noise(half // 2), noise(half // 2, 1, 1e-5)]),
        "gap": np.concatenate([noise(half // 2), np.zeros(half // 2, np.float32)]),
        "silence": np.zeros(half, np.float32),
        "constant": np.full(half, 0.3, np.float32),
        "impulse": impulse,
    }


def config_of(rate: int, framing, **more) -> FeatureConfig:
    n_fft, hop, rest = framing
    return FeatureConfig(rate, n_fft, hop, **{"n_mels": 40, **rest, **more})


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("framing", FRAMINGS[:3], ids=str)
def test_sounds_at_every_rate(rate: int, framing):
    for y in sounds(rate).values():
        assert_librosas(y, config_of(rate, framing))


@pytest.mark.parametrize("framing", FRAMINGS[3:], ids=str)
def test_other_frames_windows_and_edges(framing):
    for y in sounds(16_000).values():
        assert_librosas(y, config_of(16_000, framing))


@pytest.mark.parametrize("framing", FRAMINGS[:5], ids=str)
@pytest.mark.parametrize("file", SPEECH, ids=lambda file: file.stem)
def test_real_speech(file: Path, framing):
    y, rate = soundfile.read(file, dtype="float32")
    assert_librosas(y, config_of(rate, framing))


def test_a_rolloff_differs_only_where_rounding_decides():
    """librosa adds float32 magnitudes one by one: its own sums are off by some 1e-6."""
    different = frames = 0
    for file in SPEECH:
        y, rate = soundfile.read(file, dtype="float32")
        config = config_of(rate, DEFAULTS)
        ours = bundle([y], ["rolloff"], config)[0][:, 0].numpy()
        theirs = librosa.feature.spectral_rolloff(y=y, sr=rate)[0]
        sums = np.abs(librosa.stft(y)).astype(np.float64).cumsum(axis=0)
        for frame in np.flatnonzero(np.abs(ours - theirs) > 1e-2):
            lower = round(min(ours[frame], theirs[frame]) * 2048 / rate)
            share = sums[lower, frame] / sums[-1, frame]
            assert share == pytest.approx(config.roll_percent, abs=2e-6)
            different += 1
        frames += len(ours)
    assert different < 0.01 * frames


@pytest.mark.parametrize("framing", FRAMINGS[:5], ids=str)
@pytest.mark.parametrize(
    "count", [1, 2, 3, 63, 64, 160, 399, 400, 401, 512, 2047, 2048, 2049, 4096, 5120, 7_919]
)
def test_short_exact_and_odd_lengths(framing, count: int):
    assert_librosas(noise(count, seed=count), config_of(16_000, framing))


@pytest.mark.parametrize("framing", [f for f in FRAMINGS if not f[2].get("center", True)], ids=str)
def test_uncentred_frames_lie_within_the_clip(framing):
    n_fft, hop, _ = framing
    config = config_of(16_000, framing)
    for count in (n_fft, n_fft + 1, n_fft + hop - 1, n_fft + hop, 5_000):
        assert_librosas(noise(count), config)
    short, full = bundle([noise(n_fft - 1), noise(n_fft)], NAMES, config)
    assert short.shape == (0, full.shape[1])
    assert full.shape[0] == 1


@pytest.mark.parametrize(
    "more",
    [{"n_mfcc": 40}, {"n_chroma": 24}, {"n_chroma": 7, "tuning": -0.5}, {"tuning": 0.31},
     {"roll_percent": 0.1}, {"roll_percent": 0.99}],
    ids=str,
)  # fmt: skip
def test_numbers_of_a_feature(more):
    for y in (noise(8_000), tone(330.0, 16_000)):
        assert_librosas(y, config_of(16_000, DEFAULTS, **more))


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        st.integers(1, 1_500),
        elements=st.sampled_from([0.0, -0.0, 1e-10, -1e-10, -2e-10]) | st.floats(-1, 1, width=32),
    ),
    st.sampled_from(FRAMINGS[1:5]),
)
def test_any_samples(samples, framing):
    faint = np.abs(samples) < 1e-10  # what bundle takes for silence
    samples = np.where(faint & (np.abs(samples) > 0), np.float32(1e-10), samples)
    assert_librosas(samples, config_of(16_000, framing))


@pytest.mark.parametrize("n_chroma", [1, 12, 24, 36, 7])
@pytest.mark.parametrize("tuning", [0.0, 0.25, -0.5])
@pytest.mark.parametrize(("rate", "n_fft"), [(16_000, 400), (22_050, 2048), (48_000, 1201)])
def test_the_chroma_bank_is_librosas(rate: int, n_fft: int, n_chroma: int, tuning: float):
    theirs = librosa.filters.chroma(sr=rate, n_fft=n_fft, n_chroma=n_chroma, tuning=tuning)
    ours = chroma_filters(rate, n_fft, n_chroma, tuning)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)


def test_silence():
    """What librosa gives for zeros, by hand."""
    config = config_of(16_000, DEFAULTS)
    [rows] = bundle([np.zeros(16_000, np.float32)], NAMES, config)
    means = dict(zip(columns(NAMES, config), rows.mean(dim=0).tolist(), strict=True))
    assert means["flatness"] == pytest.approx(1.0)
    for name in ("centroid", "bandwidth", "rolloff", "zero_crossing_rate", "rms", "chroma_3"):
        assert means[name] == 0
    assert means["log_mel_7"] == -100


def test_columns_have_names_in_order():
    config = FeatureConfig(n_mels=2, n_mfcc=2, n_chroma=3)
    assert columns(("rms", "mfcc_delta", "chroma", "log_mel"), config) == [
        "rms", "mfcc_delta_0", "mfcc_delta_1", "chroma_0", "chroma_1", "chroma_2", "log_mel_0",
        "log_mel_1",
    ]  # fmt: skip


def test_no_clips_and_empty_clips():
    config = config_of(16_000, DEFAULTS)
    assert bundle([], NAMES, config) == []
    empty = np.zeros(0, np.float32)
    width = len(columns(NAMES, config))
    assert [rows.shape for rows in bundle([empty, empty], NAMES, config)] == [(0, width)] * 2
