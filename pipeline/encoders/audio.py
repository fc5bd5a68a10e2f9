"""Audio encoders without weights: a clip's features, taken over the time of its window."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.one_compiler import one_compiler
from pipeline.encoders.options import flag, whole, wrong_option
from pipeline.encoders.over_time import OverTime, feature_config, window_samples
from pipeline.encoders.quiet import QUIET
from pipeline.features.framing import Samples
from pipeline.spec.catalog import AUDIO_RATE
from pipeline.spec.media_type import RATE_MAX
from pipeline.spec.problems import nearest

__all__ = ["LibrosaFeature", "LogMel", "Mfcc", "window_samples"]


class LogMel(OverTime):
    """The mean over time of a window's log-mel spectrogram, float32, shape (n_mels,), in dB.

    ``mean(librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=rate, n_fft, hop_length,
    n_mels, fmin, fmax), top_db=None), axis=1)`` of the window's samples, each band within 1e-3 dB
    where it is within 80 dB of the peak. A clip's vector has the same bits in every batch.

    ``pooling: frames`` gives a sequence in place of the mean: ``steps`` parts of the window.
    """

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
        win_length: int | None = None,
        window: str = "hann",
        center: bool = True,
        pooling: str = "mean",
        steps: int | None = None,
    ) -> None:
        config = feature_config(
            rate=rate, n_fft=n_fft, hop_length=hop_length, win_length=win_length, window=window,
            center=center, n_mels=n_mels, fmin=fmin, fmax=fmax, n_mfcc=1,
        )  # fmt: skip
        super().__init__(device, ("log_mel",), config, pooling=pooling, steps=steps)


class Mfcc(OverTime):
    """The mean over time of a window's cepstral coefficients, float32, shape (n_mfcc,).

    ``mean(librosa.feature.mfcc(y=y, sr=rate, n_mfcc, lifter, n_fft, hop_length, n_mels, fmin,
    fmax), axis=1)`` with librosa's own defaults (n_mfcc 20, n_fft 2048, hop_length 512, n_mels
    128, what is 80 dB under the window's peak raised to that) at 16 kHz.

    ``deltas`` 1 or 2 adds the means of the first, or of the first and second, derivatives over
    time (``librosa.feature.delta`` of width 9), n_mfcc numbers each. With ``deviation`` the
    standard deviations of all follow; a derivative says little by its mean.

    ``pooling: frames`` gives a sequence in place of the means: ``steps`` parts of the window.
    """

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
        deltas: int = 0,
        deviation: bool = False,
        win_length: int | None = None,
        window: str = "hann",
        center: bool = True,
        pooling: str = "mean",
        steps: int | None = None,
    ) -> None:
        config = feature_config(
            rate=rate, n_fft=n_fft, hop_length=hop_length, win_length=win_length, window=window,
            center=center, n_mels=n_mels, fmin=fmin, fmax=fmax, n_mfcc=n_mfcc, lifter=lifter,
        )  # fmt: skip
        orders = whole("deltas", deltas, 0, 2)
        features = ("mfcc", "mfcc_delta", "mfcc_delta2")[: 1 + orders]
        deviated = flag("deviation", deviation)
        super().__init__(device, features, config, deviated, pooling, steps)


class LibrosaFeature:
    """Any function of ``librosa.feature`` that reads samples, by ``name``.

    Gives its mean over time, then its standard deviation over time, float32, shape (2 d,) where
    the function gives d rows; of complex rows (``fourier_tempogram``) the magnitudes'. The other
    options are the function's own arguments; ``sr`` is ``rate``. librosa itself runs, on the
    CPU, window by window.
    """

    takes = "audio"
    gives = "vector"

    def __init__(
        self, device: torch.device, *, name: str, rate: int = AUDIO_RATE, **arguments: Any
    ) -> None:
        self.rate = whole("rate", rate, 1, RATE_MAX, "Hz")
        self._name = name
        with one_compiler():
            self._function = _librosa_function(name)
            _check_arguments(name, self._function, arguments)
            self._arguments = arguments
            if "sr" in inspect.signature(self._function).parameters:
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
        if values.dtype.kind == "c":
            values = np.abs(values)
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


def _check_arguments(name: str, function: Callable[..., Any], given: dict[str, Any]) -> None:
    """InvalidInput where an argument is unknown or one without a default is missing.

    What a function hands on (``**kwargs``: ``n_fft`` of ``mfcc``) is known to librosa alone; the
    probe tells.
    """
    parameters = dict(inspect.signature(function).parameters)
    hands_on = parameters.pop("kwargs", None) is not None
    for key in ("y", "sr", "S"):
        parameters.pop(key, None)
        if key in given:
            raise wrong_option(key, given[key], "comes from the window", "leave it out")
    for key, value in given.items():
        if key not in parameters and not hands_on:
            known = ", ".join(parameters)
            raise wrong_option(
                key, value, f"librosa.feature.{name} takes none", f"it takes {known}"
            )
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in given:
            remedy = f"write it as the documentation of librosa.feature.{name} says"
            raise wrong_option(key, None, f"librosa.feature.{name} has no default for it", remedy)
