"""The audio encoders against librosa, over a window's own samples."""

from __future__ import annotations

import inspect
import warnings

import librosa
import numpy as np
import pytest
import torch

from pipeline.encoders.audio import LibrosaFeature, LogMel, Mfcc, window_samples
from pipeline.encoders.base import Clip
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")
SECOND_US = 1_000_000


def speechlike(count: int = 16_000, rate: int = 16_000, seed: int = 0):
    time = np.arange(count) / rate
    voice = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 20))
    hiss = np.random.default_rng(seed).standard_normal(count)
    return (0.1 * voice * (1 + np.sin(7 * time)) + 0.01 * hiss).astype(np.float32)


def window(samples, rate: int = 16_000, start_us: int = 0, **more) -> Clip:
    end_us = start_us + len(samples) * SECOND_US // rate
    return Clip("s", start_us, end_us, samples=samples, rate=rate, **more)


def test_log_mel_is_the_contracts_formula():
    y = speechlike()
    [vector] = LogMel(CPU).encode([window(y)])
    power = librosa.feature.melspectrogram(y=y, sr=16_000, n_fft=400, hop_length=160, n_mels=64)
    expected = librosa.power_to_db(power, top_db=None).mean(axis=1)
    assert vector.shape == (64,)
    np.testing.assert_allclose(vector, expected, atol=1e-3)


def test_mfcc_is_librosas_with_its_defaults():
    y = speechlike()
    [vector] = Mfcc(CPU).encode([window(y)])
    np.testing.assert_allclose(vector, librosa.feature.mfcc(y=y, sr=16_000).mean(axis=1), atol=2e-3)


def test_mfcc_with_options():
    y = speechlike(22_050, 22_050)
    encoder = Mfcc(CPU, n_mfcc=13, rate=22_050, n_mels=40, fmin=50.0, fmax=8_000.0, lifter=22)
    [vector] = encoder.encode([window(y, 22_050)])
    expected = librosa.feature.mfcc(
        y=y, sr=22_050, n_mfcc=13, n_mels=40, fmin=50.0, fmax=8_000.0, lifter=22
    )
    np.testing.assert_allclose(vector, expected.mean(axis=1), atol=2e-3)


@pytest.mark.parametrize("deltas", [0, 1, 2])
def test_mfcc_with_derivatives_and_deviations(deltas: int):
    y = speechlike()
    encoder = Mfcc(CPU, n_mfcc=13, deltas=deltas, deviation=True)
    [vector] = encoder.encode([window(y)])
    rows = librosa.feature.mfcc(y=y, sr=16_000, n_mfcc=13)
    changes = [librosa.feature.delta(rows, order=order) for order in range(1, deltas + 1)]
    stacked = np.concatenate([rows, *changes])
    expected = np.concatenate([stacked.mean(axis=1), stacked.std(axis=1)])
    assert encoder.length == len(encoder.names) == len(expected)
    np.testing.assert_allclose(vector, expected, atol=1e-3)
    assert encoder.names[0] == "mfcc_0"
    assert encoder.names[-1] == ["mfcc", "mfcc_delta", "mfcc_delta2"][deltas] + "_12_deviation"


def test_deviations_are_of_the_window_alone():
    """They are the mean and deviation of each clip's frames, not of a batch."""
    quiet, loud = speechlike() * np.float32(1e-3), speechlike(seed=1)
    encoder = Mfcc(CPU, deltas=1, deviation=True)
    [alone] = encoder.encode([window(quiet)])
    together = encoder.encode([window(loud), window(quiet)])[1]
    assert alone.tobytes() == together.tobytes()


OF_SAMPLES = sorted(
    name
    for name, function in inspect.getmembers(librosa.feature, inspect.isfunction)
    if "y" in inspect.signature(function).parameters
)
NEEDED = {"chroma_vqt": {"intervals": "equal"}}  # what librosa has no default for


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_every_function_of_librosa_feature_that_reads_samples(name: str):
    options = NEEDED.get(name, {})
    encoder = LibrosaFeature(CPU, name=name, **options)
    function = getattr(librosa.feature, name)
    for y in (speechlike(), speechlike(4_001), speechlike(1), np.zeros(16_000, np.float32)):
        [vector] = encoder.encode([window(y)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of short clips and of silence
            rate = {"sr": 16_000} if "sr" in inspect.signature(function).parameters else {}
            rows = np.asarray(function(y=y, **rate, **options))
        rows = np.abs(rows) if np.iscomplexobj(rows) else rows
        rows = rows.reshape(-1, rows.shape[-1])
        assert vector.shape == (encoder.length,) == (2 * len(rows),)
        np.testing.assert_array_equal(vector[: len(rows)], rows.mean(axis=1).astype(np.float32))
        np.testing.assert_array_equal(vector[len(rows) :], rows.std(axis=1).astype(np.float32))
        assert np.isfinite(vector).all()
    [empty] = encoder.encode([window(np.zeros(0, np.float32))])
    assert not empty.any()


@pytest.mark.parametrize(
    ("name", "options"),
    [("spectral_centroid", {}), ("zero_crossing_rate", {"frame_length": 1024}), ("rms", {}),
     ("spectral_contrast", {"n_bands": 4}), ("tempogram", {"win_length": 48}),
     ("mfcc", {"n_fft": 512, "n_mfcc": 13})],
)  # fmt: skip
def test_librosa_feature_is_mean_and_deviation(name: str, options: dict):
    y = speechlike()
    [vector] = LibrosaFeature(CPU, name=name, **options).encode([window(y)])
    function = getattr(librosa.feature, name)
    rate = {} if name in ("rms", "zero_crossing_rate") else {"sr": 16_000}
    rows = function(y=y, **rate, **options)
    expected = np.concatenate([rows.mean(axis=1), rows.std(axis=1)])
    np.testing.assert_allclose(vector, expected, rtol=1e-6)


def test_a_short_window_warns_nobody():
    encoder = LibrosaFeature(CPU, name="spectral_flatness")
    [vector] = encoder.encode([window(speechlike(100))])  # warnings are errors here
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("rate", [16_000, 44_100, 11_025])
@pytest.mark.parametrize("before_us", [0, 50_001, 999_983])
def test_context_is_left_out(rate: int, before_us: int):
    """The output is about the window: samples before and after it change nothing."""
    n_before = round(before_us * rate / SECOND_US)
    samples = speechlike(n_before + rate + 777, rate)
    start_us = 5 * SECOND_US
    clip = Clip("s", start_us, start_us + SECOND_US, samples=samples, rate=rate)
    clip.samples_start_us = start_us - before_us
    alone = window_samples(clip, rate)
    assert len(alone) == rate
    np.testing.assert_array_equal(alone, samples[n_before : n_before + rate])
    [with_context] = LogMel(CPU, rate=rate).encode([clip])
    [without] = LogMel(CPU, rate=rate).encode([window(samples[n_before : n_before + rate], rate)])
    assert with_context.tobytes() == without.tobytes()


def test_another_rate_than_built_for_is_refused():
    with pytest.raises(ValueError, match="8000 Hz where the encoder was built for 16000 Hz"):
        LogMel(CPU).encode([window(speechlike(8_000), 8_000)])


@pytest.mark.parametrize(
    ("cls", "options", "line"),
    [
        (LogMel, {"n_mels": 0}, "options.n_mels = 0: is out of range"),
        (LogMel, {"n_mels": "64"}, "options.n_mels = 64: is no whole number"),
        (LogMel, {"n_mels": True}, "options.n_mels = true: is no whole number"),
        (LogMel, {"rate": 0}, "options.rate = 0: is out of range"),
        (LogMel, {"hop_length": 0}, "options.hop_length = 0: is out of range"),
        (LogMel, {"n_fft": 1}, "options.n_fft = 1: is out of range"),
        (LogMel, {"fmax": 8_001.0}, "options.fmax = 8001.0: is out of range"),
        (LogMel, {"fmin": 500.0, "fmax": 400.0}, "options.fmin = 500.0: leaves no band"),
        (LogMel, {"fmin": float("nan")}, "options.fmin = NaN: is out of range"),
        (Mfcc, {"n_mfcc": 129}, "options.n_mfcc = 129: is out of range"),
        (Mfcc, {"lifter": -1}, "options.lifter = -1: is out of range"),
        (LibrosaFeature, {"name": "chroma"}, "options.name = chroma: is no function"),
        (LibrosaFeature, {"name": "delta"}, "options.name = delta: is no function"),
        (LibrosaFeature, {"name": "rms", "frames": 3}, "options.frames = 3: librosa.feature.rms"),
        (LibrosaFeature, {"name": "rms", "frame_length": "a"}, "options.name = rms: librosa"),
        (
            LibrosaFeature,
            {"name": "chroma_vqt"},
            "options.intervals = null: librosa.feature.chroma",
        ),
        (LibrosaFeature, {"name": "mfcc", "n_ftf": 512}, "options.name = mfcc: librosa"),
        (LibrosaFeature, {"name": "rms", "S": 1}, "options.S = 1: comes from the window"),
        (Mfcc, {"deltas": 3}, "options.deltas = 3: is out of range"),
        (Mfcc, {"deviation": "yes"}, "options.deviation = yes: is neither true nor false"),
    ],
)
def test_a_wrong_option_is_named(cls, options: dict, line: str):
    with pytest.raises(InvalidInput) as caught:
        cls(CPU, **options)
    assert str(caught.value).startswith(line)
    assert "; " in str(caught.value)  # the remedy
    assert "\n" not in str(caught.value)


# Steps in time


@pytest.mark.parametrize("kind", [LogMel, Mfcc])
def test_a_window_of_as_many_frames_as_steps_gives_them_as_they_are(kind):
    y = speechlike()
    options = {"n_fft": 400, "hop_length": 160, "n_mels": 24}
    encoder = kind(CPU, **options, pooling="frames", steps=101)
    [vector] = encoder.encode([window(y)])
    assert encoder.sequence == (101, len(vector) // 101)
    rows = vector.reshape(encoder.sequence)
    [mean] = kind(CPU, **options).encode([window(y)])
    np.testing.assert_allclose(rows.mean(axis=0), mean, atol=1e-4)
    if kind is LogMel:
        power = librosa.feature.melspectrogram(y=y, sr=16_000, n_fft=400, hop_length=160, n_mels=24)
        np.testing.assert_allclose(rows, librosa.power_to_db(power, top_db=None).T, atol=1e-3)
    assert len(encoder.names) == encoder.length == len(vector)
    assert encoder.names[-1].endswith("_at_100")


def test_steps_are_equal_parts_of_a_windows_time_the_same_in_any_batch():
    windows = [window(speechlike(n, seed=n)) for n in (16_000, 700, 8_000)]
    empty = window(np.zeros(0, np.float32))
    frames = LogMel(CPU, n_mels=8, pooling="frames", steps=101).encode(windows[:1])[0]
    encoder = LogMel(CPU, n_mels=8, pooling="frames", steps=4)
    found = encoder.encode([*windows, empty])
    parts = [(0, 26), (25, 51), (50, 76), (75, 101)]  # a frame between two parts is in both
    expected = [frames.reshape(101, 8)[low:high].mean(axis=0) for low, high in parts]
    np.testing.assert_allclose(found[0].reshape(4, 8), expected, atol=1e-4)
    assert not found[3].any()
    for clip, vector in zip([*windows, empty], found, strict=True):
        np.testing.assert_array_equal(encoder.encode([clip])[0], vector)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"pooling": "max"}, "options.pooling = max: is not known"),
        ({"steps": 8}, "options.steps = 8: a mean has none; add pooling: frames"),
        ({"pooling": "frames", "steps": 0}, "options.steps = 0: is out of range"),
        ({"pooling": "frames", "deviation": True}, "options.deviation = true: frames have none"),
    ],
)
def test_wrong_options_of_steps_are_told(options, why):
    with pytest.raises(InvalidInput) as caught:
        Mfcc(CPU, **options)
    assert why in str(caught.value)
