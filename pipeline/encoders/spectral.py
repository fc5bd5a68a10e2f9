"""Pitch classes, and any bundle of spectral features from one shared spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.encoders.options import flag, one_of, wrong_option
from pipeline.encoders.over_time import OverTime, feature_config
from pipeline.features.bundle import NAMES
from pipeline.spec.catalog import AUDIO_RATE


class Chroma(OverTime):
    """The mean over time of a window's pitch classes from C on, float32, shape (n_chroma,).

    ``mean(librosa.feature.chroma_stft(y=y, sr=rate, tuning=tuning, n_chroma, n_fft,
    hop_length), axis=1)`` within 1e-5: each frame's strongest class is 1. ``tuning`` is how far
    the sound lies from A = 440 Hz, in classes. It is fixed: librosa's default estimates it from
    what it is given, so that neighbouring windows of one sound would have other classes.
    With ``deviation`` the standard deviations over time follow.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        n_chroma: int = 12,
        tuning: float = 0.0,
        rate: int = AUDIO_RATE,
        n_fft: int = 2048,
        hop_length: int = 512,
        deviation: bool = False,
        win_length: int | None = None,
        window: str = "hann",
        center: bool = True,
    ) -> None:
        config = feature_config(
            rate=rate, n_fft=n_fft, hop_length=hop_length, win_length=win_length, window=window,
            center=center, n_chroma=n_chroma, tuning=tuning,
        )  # fmt: skip
        super().__init__(device, ("chroma",), config, flag("deviation", deviation))


class Spectral(OverTime):
    """The means over time of the features that are asked for, float32, all of one spectrum.

    By default six numbers, in this order: ``centroid``, ``bandwidth`` and ``rolloff`` in Hz,
    ``flatness``, ``zero_crossing_rate`` and ``rms``. ``features`` may name any of these, and
    ``log_mel``, ``mfcc``, ``mfcc_delta``, ``mfcc_delta2`` and ``chroma``: they follow one another
    in that order, each with librosa's numbers and within the tolerance that
    ``pipeline.features.bundle.bundle`` states. The attribute ``names`` has a name for each
    number. With ``deviation`` the standard deviations of all follow, in the same order.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        features: Sequence[str] = (
            "centroid", "bandwidth", "rolloff", "flatness", "zero_crossing_rate", "rms",
        ),
        deviation: bool = False,
        rate: int = AUDIO_RATE,
        n_fft: int = 2048,
        hop_length: int = 512,
        win_length: int | None = None,
        window: str = "hann",
        center: bool = True,
        n_mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        n_mfcc: int = 20,
        lifter: int = 0,
        n_chroma: int = 12,
        tuning: float = 0.0,
        roll_percent: float = 0.85,
    ) -> None:  # fmt: skip
        wanted = _named(features)
        cepstral = any(name.startswith("mfcc") for name in wanted)
        config = feature_config(
            rate=rate, n_fft=n_fft, hop_length=hop_length, win_length=win_length, window=window,
            center=center, n_mels=n_mels, fmin=fmin, fmax=fmax, n_mfcc=n_mfcc if cepstral else 1,
            lifter=lifter, n_chroma=n_chroma, tuning=tuning, roll_percent=roll_percent,
        )  # fmt: skip
        super().__init__(device, wanted, config, flag("deviation", deviation))


def _named(features: Any) -> tuple[str, ...]:
    """The features of a list, each once; InvalidInput otherwise."""
    if isinstance(features, str) or not isinstance(features, Sequence) or not features:
        remedy = f"write a list of some of {', '.join(NAMES)}"
        raise wrong_option("features", features, "is no list of features", remedy)
    for name in features:
        one_of("features", name, NAMES)
        if list(features).count(name) > 1:
            raise wrong_option("features", name, "is there twice", "write it once")
    return tuple(features)
