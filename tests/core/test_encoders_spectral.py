"""The encoders chroma and spectral: order and names of their numbers, over a window's samples."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from pipeline.encoders.audio import LogMel, Mfcc
from pipeline.encoders.base import Clip
from pipeline.encoders.spectral import Chroma, Spectral
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")
RATE = 16_000
SIX = ("centroid", "bandwidth", "rolloff", "flatness", "zero_crossing_rate", "rms")


def voice(count: int = RATE, seed: int = 0):
    time = np.arange(count) / RATE
    voiced = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 20))
    hiss = np.random.default_rng(seed).standard_normal(count)
    return (0.1 * voiced * (1 + np.sin(7 * time)) + 0.01 * hiss).astype(np.float32)


def window(samples) -> Clip:
    return Clip("s", 0, len(samples) * 1_000_000 // RATE, samples=samples, rate=RATE)


def librosas_six(y):
    feature = librosa.feature
    return [
        feature.spectral_centroid(y=y, sr=RATE),
        feature.spectral_bandwidth(y=y, sr=RATE),
        feature.spectral_rolloff(y=y, sr=RATE),
        feature.spectral_flatness(y=y),
        feature.zero_crossing_rate(y),
        feature.rms(y=y),
    ]


def test_the_six_by_default_in_this_order():
    y = voice()
    encoder = Spectral(CPU)
    assert encoder.names == SIX
    [vector] = encoder.encode([window(y)])
    expected = [rows.mean() for rows in librosas_six(y)]
    np.testing.assert_allclose(vector, expected, rtol=2e-6)


def test_deviations_follow_the_means():
    y = voice()
    encoder = Spectral(CPU, deviation=True)
    assert encoder.names == (*SIX, *(f"{name}_deviation" for name in SIX))
    [vector] = encoder.encode([window(y)])
    expected = [rows.std() for rows in librosas_six(y)]
    np.testing.assert_allclose(vector[6:], expected, rtol=2e-5)


def test_chroma_is_librosas_without_an_estimate_of_tuning():
    y = voice()
    [vector] = Chroma(CPU).encode([window(y)])
    expected = librosa.feature.chroma_stft(y=y, sr=RATE, tuning=0.0).mean(axis=1)
    np.testing.assert_allclose(vector, expected, atol=1e-5)
    [both] = Chroma(CPU, tuning=0.3, n_chroma=24, deviation=True).encode([window(y)])
    expected = librosa.feature.chroma_stft(y=y, sr=RATE, tuning=0.3, n_chroma=24)
    np.testing.assert_allclose(
        both, np.concatenate([expected.mean(axis=1), expected.std(axis=1)]), atol=1e-5
    )


def test_a_bundle_is_its_parts_to_the_bit():
    """One stage of one spectrum gives what several stages of a spectrum each would give."""
    clips = [window(voice(count, seed)) for seed, count in enumerate([16_000, 9_001, 100])]
    bundle = Spectral(CPU, features=["rms", "mfcc", "chroma", "log_mel", "centroid"])
    six, log_mel = Spectral(CPU), LogMel(CPU, n_fft=2048, hop_length=512, n_mels=128)
    parts = zip(
        six.encode(clips), Mfcc(CPU).encode(clips), Chroma(CPU).encode(clips),
        log_mel.encode(clips), strict=True,
    )  # fmt: skip
    for vector, (numbers, mfcc, chroma, mel) in zip(bundle.encode(clips), parts, strict=True):
        expected = np.concatenate([numbers[5:6], mfcc, chroma, mel, numbers[:1]])
        assert vector.tobytes() == expected.tobytes()
    assert bundle.names[:2] == ("rms", "mfcc_0")
    assert bundle.names[-2:] == ("log_mel_127", "centroid")
    assert bundle.length == 1 + 20 + 12 + 128 + 1


@pytest.mark.parametrize("encoder", [Spectral(CPU, deviation=True), Chroma(CPU, deviation=True)])
def test_silence_a_sample_and_nothing(encoder):
    silent, single, empty = encoder.encode(
        [window(np.zeros(RATE, np.float32)), window(voice(1)), window(np.zeros(0, np.float32))]
    )
    assert np.isfinite(silent).all()
    assert np.isfinite(single).all()
    assert not empty.any()
    by_name = dict(zip(encoder.names, silent.tolist(), strict=True))
    assert by_name.pop("flatness", 1.0) == pytest.approx(1.0)
    assert not any(by_name.values())


def test_a_window_shorter_than_a_frame_that_is_not_centred_gives_zeros():
    [vector] = Spectral(CPU, center=False).encode([window(voice(2_047))])
    assert not vector.any()
    [vector] = Spectral(CPU, center=False).encode([window(voice(2_048))])
    assert vector.all()


@pytest.mark.parametrize(
    ("cls", "options", "line"),
    [
        (Spectral, {"features": "rms"}, "options.features = rms: is no list of features"),
        (Spectral, {"features": []}, "options.features = []: is no list of features"),
        (Spectral, {"features": ["centriod"]}, "options.features = centriod: is not known; did"),
        (Spectral, {"features": [3]}, "options.features = 3: is not known"),
        (Spectral, {"features": ["rms", "rms"]}, "options.features = rms: is there twice"),
        (Spectral, {"deviation": 1}, "options.deviation = 1: is neither true nor false"),
        (Spectral, {"roll_percent": 1.0}, "options.roll_percent = 1.0: is out of range"),
        (Spectral, {"window": "hanning"}, "options.window = hanning: is not known; did you mean"),
        (Spectral, {"win_length": 4_096}, "options.win_length = 4096: is out of range"),
        (Spectral, {"center": None}, "options.center = null: is neither true nor false"),
        (Chroma, {"tuning": 1}, "options.tuning = 1: is out of range"),
        (Chroma, {"n_chroma": 0}, "options.n_chroma = 0: is out of range"),
    ],
)
def test_a_wrong_option_is_named(cls, options: dict, line: str):
    with pytest.raises(InvalidInput) as caught:
        cls(CPU, **options)
    assert str(caught.value).startswith(line)
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)
