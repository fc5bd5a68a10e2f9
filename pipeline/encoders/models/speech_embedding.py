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
from pipeline.spec.catalog import AUDIO_RATE

if TYPE_CHECKING:
    import torch

_PIECE_SAMPLES = 30 * AUDIO_RATE  # the most that the network hears at once
_HOP = 160  # samples from one frame of the spectrogram to the next; the network halves them


class AudioEmbedding:
    """The mean over time of what Whisper's encoder gives for a window; float32, shape (length,).

    length: 384 with tiny.en. The encoder gets the window and nothing else: Whisper itself fills
    up to 30 s with silence, which for one second costs thirty times the work, and a mean over the
    second's own frames is then much the same (cosine 0.98). A window over 30 s is the mean of its
    pieces, by their length. Less than 10 ms, and samples that are all zero, give zeros.
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
    ) -> None:
        self._whisper = load_whisper(device, model, compute_type, cpu_threads)
        self._storage = model_library("ctranslate2").StorageView
        noise = np.random.default_rng(0).normal(0, 0.05, AUDIO_RATE).astype(np.float32)
        self.length = self._frames(noise).shape[1]

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        return [self._of(window_samples(clip, self.rate)) for clip in batch]

    def _of(self, samples: Samples) -> Vector:
        total, count = np.zeros(self.length), 0
        if np.any(samples):
            for first in range(0, len(samples), _PIECE_SAMPLES):
                piece = samples[first : first + _PIECE_SAMPLES]
                if len(piece) >= _HOP:
                    frames = self._frames(piece)
                    total += frames.sum(axis=0, dtype=np.float64)
                    count += len(frames)
        return (total / max(1, count)).astype(np.float32)

    def _frames(self, samples: Samples) -> NDArray[np.float32]:
        """float32, shape (n, length): one row for each 20 ms."""
        features = self._whisper.feature_extractor(samples, padding=0)
        fed = self._storage.from_array(np.ascontiguousarray(features[None], np.float32))
        given = self._whisper.model.encode(fed, to_cpu=True)
        frames: NDArray[np.float32] = np.asarray(given, np.float32)[0]
        return frames
