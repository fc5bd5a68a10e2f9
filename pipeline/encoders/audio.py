"""Audio encoders without weights: a clip's features, taken over the time of its window."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.options import real, whole, wrong_option
from pipeline.encoders.quiet import QUIET
from pipeline.features.log_mel import Samples, log_mel, mfcc
from pipeline.features.mel import MelConfig
from pipeline.features.one_call import one_call
from pipeline.media.clips import nearest_sample
from pipeline.spec.catalog import AUDIO_RATE
from pipeline.spec.media_type import RATE_MAX
from pipeline.spec.problems import nearest

_N_FFT_MAX = 1 << 16
_N_MELS_MAX = 1024


def window_samples(clip: Clip, rate: int) -> Samples:
    """The samples of the window itself: what a stage's ``context`` brought around it is left out.

    As many as ``pipeline.media.clips.assemble_audio`` gives the window alone. Raises ValueError
    where the clip is not at ``rate``.
    """
    if clip.samples is None:
        return np.zeros(0, np.float32)
    if clip.rate is not None and clip.rate != rate:
        raise ValueError(f"the clip has {clip.rate} Hz where the encoder was built for {rate} Hz")
    samples_start_us = clip.start_us if clip.samples_start_us is None else clip.samples_start_us
    first = nearest_sample(clip.start_us - samples_start_us, rate)
    last = first + nearest_sample(clip.end_us - clip.start_us, rate)
    return clip.samples[max(0, first) : max(0, last)]


def _mel_config(
    rate: Any, n_fft: Any, hop_length: Any, n_mels: Any, fmin: Any, fmax: Any
) -> MelConfig:
    checked_rate = whole("rate", rate, 1, RATE_MAX, "Hz")
    half = checked_rate / 2
    low_hz = real("fmin", fmin, 0, half, "Hz")
    high_hz = None if fmax is None else real("fmax", fmax, 0, half, "Hz, at most half the rate")
    if (half if high_hz is None else high_hz) <= low_hz:
        raise wrong_option("fmin", fmin, "leaves no band under fmax", "write a lower fmin")
    return MelConfig(
        rate=checked_rate,
        n_fft=whole("n_fft", n_fft, 2, _N_FFT_MAX, "samples"),
        hop_length=whole("hop_length", hop_length, 1, _N_FFT_MAX, "samples"),
        n_mels=whole("n_mels", n_mels, 1, _N_MELS_MAX),
        f_min_hz=low_hz,
        f_max_hz=high_hz,
    )


def _means(features: Sequence[torch.Tensor], length: int) -> list[Vector]:
    """Each clip's mean over time, float32 of shape (length,); zeros for an empty clip.

    Clip by clip, since a reduction over a whole batch may add up in another order.
    """
    if not features:
        return []
    means = torch.zeros((len(features), length), dtype=torch.float64, device=features[0].device)
    with torch.inference_mode():
        _mean_each(list(features), means)
    return list(means.to(torch.float32).cpu().numpy())


@one_call
def _mean_each(features: list[torch.Tensor], means: torch.Tensor) -> None:
    for i in range(len(features)):
        if features[i].size(0) > 0:
            means[i] = features[i].mean(dim=0, dtype=torch.float64)


class LogMel:
    """The mean over time of a window's log-mel spectrogram, float32, shape (n_mels,), in dB.

    ``mean(librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=rate, n_fft, hop_length,
    n_mels, fmin, fmax), top_db=None), axis=1)`` of the window's samples, each band within 1e-3 dB
    where it is within 80 dB of the peak. A clip's vector has the same bits in every batch.
    """

    takes = "audio"
    gives = "vector"

    def __init__(
        self,
        device: torch.device,
        *,
        rate: int = AUDIO_RATE,
        n_fft: int = 400,
        hop_length: int = 160,
        n_mels: int = 64,
        fmin: float = 0.0,
        fmax: float | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._config = _mel_config(rate, n_fft, hop_length, n_mels, fmin, fmax)
        self.rate = self._config.rate
        self.length = self._config.n_mels

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        clips = [window_samples(clip, self.rate) for clip in batch]
        return _means(log_mel(clips, self._config, self._device), self.length)


class Mfcc:
    """The mean over time of a window's cepstral coefficients, float32, shape (n_mfcc,).

    ``mean(librosa.feature.mfcc(y=y, sr=rate, n_mfcc, lifter, n_fft, hop_length, n_mels, fmin,
    fmax), axis=1)`` with librosa's own defaults (n_mfcc 20, n_fft 2048, hop_length 512, n_mels
    128, what is 80 dB under the window's peak raised to that) at 16 kHz.
    """

    takes = "audio"
    gives = "vector"

    def __init__(
        self,
        device: torch.device,
        *,
        n_mfcc: int = 20,
        rate: int = AUDIO_RATE,
        n_fft: int = 2048,
        hop_length: int = 512,
        n_mels: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        lifter: int = 0,
    ) -> None:
        self._device = torch.device(device)
        self._config = _mel_config(rate, n_fft, hop_length, n_mels, fmin, fmax)
        self._lifter = whole("lifter", lifter, 0, _N_MELS_MAX)
        self.rate = self._config.rate
        self.length = whole("n_mfcc", n_mfcc, 1, self._config.n_mels)

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        clips = [window_samples(clip, self.rate) for clip in batch]
        coefficients = mfcc(
            clips, self._config, self._device, n_mfcc=self.length, lifter=self._lifter
        )
        return _means(coefficients, self.length)


class LibrosaFeature:
    """Any function of ``librosa.feature`` that reads samples, by ``name``.

    Gives its mean over time, then its standard deviation over time, float32, shape (2 d,) where
    the function gives d rows. The other options are the function's own arguments; ``sr`` is
    ``rate``. librosa itself runs, on the CPU, window by window.
    """

    takes = "audio"
    gives = "vector"

    def __init__(
        self, device: torch.device, *, name: str, rate: int = AUDIO_RATE, **arguments: Any
    ) -> None:
        self.rate = whole("rate", rate, 1, RATE_MAX, "Hz")
        self._name = name
        self._arguments = arguments
        self._function = _librosa_function(name)
        parameters = inspect.signature(self._function).parameters
        for key, value in arguments.items():
            if key not in parameters or key in ("y", "sr", "S"):
                known = ", ".join(each for each in parameters if each not in ("y", "sr", "S"))
                raise wrong_option(
                    key, value, f"librosa.feature.{name} takes none", f"it takes {known or 'none'}"
                )
        if "sr" in parameters:
            self._arguments = {**arguments, "sr": self.rate}
        self.length = self._probe()

    def _probe(self) -> int:
        """The vector's length, from a second of noise; here wrong arguments come to light.

        It also pays numba's compilation (seconds) at the start, not in the first window.
        """
        noise = np.random.default_rng(0).standard_normal(self.rate).astype(np.float32) * 0.1
        try:
            return len(self._feature(noise))
        except Exception as error:
            why = f"librosa.feature.{self._name} fails with {type(error).__name__}: {error}"
            remedy = "correct the options, which are its arguments, or take another function"
            raise wrong_option("name", self._name, " ".join(why.split()), remedy) from error

    def _feature(self, samples: Samples) -> Vector:
        with QUIET:  # "n_fft is too large" of a short window: it pads, as asked
            values: NDArray[Any] = np.asarray(self._function(y=samples, **self._arguments))
        if values.dtype.kind not in "fiu" or values.ndim == 0:
            raise TypeError(f"gives {values.dtype} of shape {values.shape}, no real rows over time")
        rows = values.reshape(-1, values.shape[-1])
        both = np.concatenate([rows.mean(axis=1), rows.std(axis=1)])
        return both.astype(np.float32)

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        vectors = []
        for clip in batch:
            samples = window_samples(clip, self.rate)
            empty = not len(samples)
            vectors.append(np.zeros(self.length, np.float32) if empty else self._feature(samples))
        return vectors


def _librosa_function(name: Any) -> Callable[..., Any]:
    """A public function of ``librosa.feature`` with an argument ``y``; InvalidInput otherwise."""
    import librosa.feature

    known = {
        each: function
        for each in dir(librosa.feature)
        if inspect.isfunction(function := getattr(librosa.feature, each))
        and "y" in inspect.signature(function).parameters
    }
    if name not in known:
        meant = nearest(str(name), known)
        listed = f"take one of {', '.join(sorted(known))}"
        raise wrong_option(
            "name", name, "is no function of librosa.feature that reads samples",
            f"did you mean '{meant}'?" if meant else listed,
        )  # fmt: skip
    return known[name]
