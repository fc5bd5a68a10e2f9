"""Audio to a vector by Whisper's encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.audio import window_samples
from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.models.voice import Samples
from pipeline.encoders.models.weights import model_library
from pipeline.encoders.models.whisper import load_whisper
from pipeline.encoders.options import flag
from pipeline.spec.catalog import AUDIO_RATE

if TYPE_CHECKING:
    import torch

_PIECE_SAMPLES = 30 * AUDIO_RATE  # the most that the network hears at once
_HOP = 160  # samples from one frame of the spectrogram to the next; the network halves them


class AudioEmbedding:
    """The mean over time of what Whisper's encoder gives for a window; float32, shape (length,).

    length: 384 with tiny.en; twice that with ``deviation``, which adds the standard deviation over
    time behind the mean. The encoder gets the window and nothing else: Whisper itself fills
    up to 30 s with silence, which for one second costs thirty times the work, and a mean over the
    second's own frames is then much the same (cosine 0.98). Zeros at the window's ends, where
    nothing was sent, are left out. Over 30 s it hears pieces, all frames of which count alike.
    Less than 10 ms, and samples that are all zero, give zeros.
    """

    takes = "audio"
    gives = "vector"
    rate = AUDIO_RATE

    def __init__(
        self,
        device: torch.device,
        *,
        model: str | None = None,
        compute_type: str | None = None,
        cpu_threads: int = 1,
        deviation: bool = False,
    ) -> None:
        self._deviation = flag("deviation", deviation)
        self._whisper = load_whisper(device, model, compute_type, cpu_threads)
        self._storage = model_library("ctranslate2").StorageView
        noise = np.random.default_rng(0).normal(0, 0.05, AUDIO_RATE).astype(np.float32)
        self.length = self._frames(noise).shape[1] * (2 if deviation else 1)

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        return [self._of(window_samples(clip, self.rate)) for clip in batch]

    def _of(self, samples: Samples) -> Vector:
        heard = np.trim_zeros(samples)
        starts = range(0, len(heard), _PIECE_SAMPLES)
        pieces = [heard[first : first + _PIECE_SAMPLES] for first in starts]
        count, total, squares = 0, np.float64(0), np.float64(0)
        for frames in (self._frames(piece) for piece in pieces if len(piece) >= _HOP):
            count += len(frames)
            total = total + frames.sum(axis=0, dtype=np.float64)
            squares = squares + np.square(frames, dtype=np.float64).sum(axis=0)
        if not count:
            return np.zeros(self.length, np.float32)
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        parts = (mean, spread) if self._deviation else (mean,)
        return np.concatenate(parts).astype(np.float32)

    def _frames(self, samples: Samples) -> NDArray[np.float32]:
        """float32, shape (n, length): one row for each 20 ms."""
        features = self._whisper.feature_extractor(samples, padding=0)
        fed = self._storage.from_array(np.ascontiguousarray(features[None], np.float32))
        given = self._whisper.model.encode(fed, to_cpu=True)
        frames: NDArray[np.float32] = np.asarray(given, np.float32)[0]
        return frames
