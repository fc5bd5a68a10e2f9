"""A window's frame-wise features, taken over its time: what these audio encoders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.options import flag, one_of, real, whole, wrong_option
from pipeline.encoders.raw_clip import sound_of
from pipeline.features.bundle import FeatureConfig, bundle, columns
from pipeline.features.framing import WINDOWS, Samples
from pipeline.features.int16 import Sound
from pipeline.features.log_mel import log_mel_means
from pipeline.features.one_call import one_call
from pipeline.media.grid import nearest_sample, samples_in
from pipeline.spec.media_type import RATE_MAX
from pipeline.spec.sequence import STEPS_MAX

_N_FFT_MAX = 1 << 16
_N_MELS_MAX = 1024
_N_CHROMA_MAX = 120
_NOTHING: Samples = np.zeros(0, np.float32)
_Sound = TypeVar("_Sound", Samples, Sound)


def samples_start_us(clip: Clip) -> int:
    """When the clip's first sample is, which lies before the window where a context is there."""
    return clip.start_us if clip.samples_start_us is None else clip.samples_start_us


def window_samples(clip: Clip, rate: int) -> Samples:
    """The samples of the window itself: what a stage's ``context`` brought around it is left out.

    As many as ``pipeline.media.clips.assemble_audio`` gives the window alone. Raises ValueError
    where the clip is not at ``rate``.
    """
    return _of_window(clip, clip.samples, rate)


def _of_window(clip: Clip, sound: _Sound | None, rate: int) -> _Sound | Samples:
    """What ``window_samples`` gives of the clip's ``sound``."""
    if sound is None:
        return _NOTHING
    if clip.rate is not None and clip.rate != rate:
        raise ValueError(f"the clip has {clip.rate} Hz where the encoder was built for {rate} Hz")
    count = samples_in(clip.end_us - clip.start_us, rate)
    if clip.samples_start_us in (None, clip.start_us):  # no context
        return sound if len(sound) == count else sound[:count]
    first = nearest_sample(clip.start_us - samples_start_us(clip), rate)
    return sound[max(0, first) : max(0, first + count)]


def feature_config(
    *,
    rate: Any,
    n_fft: Any,
    hop_length: Any,
    win_length: Any = None,
    window: Any = "hann",
    center: Any = True,
    n_mels: Any = 128,
    fmin: Any = 0.0,
    fmax: Any = None,
    n_mfcc: Any = 20,
    lifter: Any = 0,
    n_chroma: Any = 12,
    tuning: Any = 0.0,
    roll_percent: Any = 0.85,
) -> FeatureConfig:
    """The options, named as librosa's arguments are, checked; InvalidInput names the wrong one."""
    checked_rate = whole("rate", rate, 1, RATE_MAX, "Hz")
    half = checked_rate / 2
    low_hz = real("fmin", fmin, 0, half, "Hz")
    high_hz = None if fmax is None else real("fmax", fmax, 0, half, "Hz, at most half the rate")
    if (half if high_hz is None else high_hz) <= low_hz:
        raise wrong_option("fmin", fmin, "leaves no band under fmax", "write a lower fmin")
    frame = whole("n_fft", n_fft, 2, _N_FFT_MAX, "samples")
    inner = None if win_length is None else whole("win_length", win_length, 1, frame, "samples")
    bands = whole("n_mels", n_mels, 1, _N_MELS_MAX)
    return FeatureConfig(
        rate=checked_rate,
        n_fft=frame,
        hop_length=whole("hop_length", hop_length, 1, _N_FFT_MAX, "samples"),
        win_length=inner,
        window=one_of("window", window, WINDOWS),
        center=flag("center", center),
        n_mels=bands,
        f_min_hz=low_hz,
        f_max_hz=high_hz,
        n_mfcc=whole("n_mfcc", n_mfcc, 1, bands),
        lifter=whole("lifter", lifter, 0, _N_MELS_MAX),
        n_chroma=whole("n_chroma", n_chroma, 1, _N_CHROMA_MAX),
        tuning=real("tuning", tuning, -0.5, 0.5, "pitch classes"),
        roll_percent=real("roll_percent", roll_percent, 0.001, 0.999),
    )


POOLINGS = ("mean", "frames")
STEPS = 32  # of ``frames``, where they are not given


class OverTime:
    """The mean over time of features of a window's samples, then, if wanted, their deviation.

    A vector, float32: the means of all numbers in the order of ``names``, then the population
    standard deviations in the same order. It has the same bits in every batch, and however the
    stream was cut into records; zeros for a window without frames.

    With ``pooling`` ``frames`` it is a sequence: the window's time in ``steps`` equal parts, and
    of each the mean over the frames in it (those that it shares with a neighbour count in both).
    A window that has ``steps`` frames gives them as they are.
    """

    takes = "audio"
    gives = "vector"

    def __init__(
        self,
        device: torch.device,
        features: Sequence[str],
        config: FeatureConfig,
        deviation: bool = False,
        pooling: str = "mean",
        steps: int | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._features = tuple(features)
        self._config = config
        self._deviation = deviation
        self.rate = config.rate
        numbers = columns(self._features, config)
        self.names = (*numbers, *(f"{each}_deviation" for each in numbers if deviation))
        self._steps = _checked_steps(pooling, steps, deviation)
        if self._steps is not None:
            self.sequence = self._steps, len(numbers)
            self.names = tuple(f"{each}_at_{at}" for at in range(self._steps) for each in numbers)
        self.length = len(self.names)
        # By far the most wanted, and made in one call.
        self._of_levels = self._features == ("log_mel",) and self._steps is None and not deviation

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        if not batch:
            return []
        if self._of_levels:
            sounds = [_of_window(clip, sound_of(clip), self.rate) for clip in batch]
            means = log_mel_means(sounds, self._config, self._device)
            if means is not None:
                return list(means.astype(np.float32))
        clips = [window_samples(clip, self.rate) for clip in batch]
        rows = bundle(clips, self._features, self._config, self._device)
        shape = len(rows), self.length
        vectors = torch.zeros(shape, dtype=torch.float64, device=self._device)
        with torch.inference_mode():
            if self._steps is None:
                _take_each(rows, self._deviation, vectors)
            else:
                _take_steps(rows, self._steps, vectors)
        return list(vectors.to(torch.float32).cpu().numpy())


def _checked_steps(pooling: Any, steps: Any, deviation: bool) -> int | None:
    """How many steps a sequence has; None for the mean over time. Raises InvalidInput."""
    if one_of("pooling", pooling, POOLINGS) == "mean":
        if steps is not None:
            raise wrong_option("steps", steps, "a mean has none", "add pooling: frames")
        return None
    if deviation:
        raise wrong_option("deviation", deviation, "frames have none", "leave it out")
    return whole("steps", STEPS if steps is None else steps, 1, STEPS_MAX)


@one_call
def _take_each(rows: list[torch.Tensor], deviation: bool, vectors: torch.Tensor) -> None:
    """Clip by clip, since a reduction over a whole batch may add up in another order."""
    for i in range(len(rows)):
        width = rows[i].size(1)
        if rows[i].size(0) > 0:
            vectors[i, :width] = rows[i].mean(dim=0, dtype=torch.float64)
            if deviation:
                vectors[i, width:] = rows[i].double().std(dim=0, correction=0)


@one_call
def _take_steps(rows: list[torch.Tensor], steps: int, vectors: torch.Tensor) -> None:
    """Part i of n frames: from ``floor(i n / steps)`` to ``ceil((i + 1) n / steps)``."""
    for i in range(len(rows)):
        if rows[i].size(0) > 0:
            over_time = rows[i].double().t().unsqueeze(0)
            parts = torch.nn.functional.adaptive_avg_pool1d(over_time, [steps])
            vectors[i] = parts[0].t().reshape(-1)
