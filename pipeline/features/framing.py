"""How a clip is cut into frames, and many clips laid out so that one view holds all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

Samples = NDArray[np.float32]

# Frames a tile of torch's operations. On a CPU a tile's arrays stay in the second-level cache, and
# larger ones page-fault on every allocation; smaller ones pay more for each operation. All nine
# features of a bundle, ms of CPU a chunk at batches of 1, 8 and 64, in one run: 400/160: tile 64
# 1.1, 0.58, 0.56; 192 1.3, 0.51, 0.39; 2048/512: 64 1.5, 0.93, 0.50; 96 2.1, 0.90, 0.49; 192 6.0,
# 1.6, 0.47. On a GPU launches count, not caches.
_TILE_CPU = 192
_TILE_CPU_LONG = 64  # from n_fft 1025 on
_TILE_GPU = 8192


@dataclass(frozen=True, slots=True)
class Framing:
    """Rate in Hz, lengths in samples, as ``librosa.stft`` takes them.

    ``win_length`` None means ``n_fft``; a shorter window lies in the frame's middle. With
    ``center`` frame j is centred on sample ``j · hop_length`` and zeros lie beyond the clip;
    without it the first frame begins at the first sample and no frame reaches beyond the last.
    """

    rate: int = 16_000
    n_fft: int = 400
    hop_length: int = 160
    win_length: int | None = field(default=None, kw_only=True)
    window: str = field(default="hann", kw_only=True)
    center: bool = field(default=True, kw_only=True)

    @property
    def bins(self) -> int:
        """Bins of a real spectrum."""
        return self.n_fft // 2 + 1

    @property
    def lead(self) -> int:
        """Samples of the first frame that lie before the clip."""
        return self.n_fft // 2 if self.center else 0

    def frames(self, samples: int) -> int:
        """Frames of a clip; none of an empty one, nor of one that is shorter than a frame
        where they are not centred (librosa refuses both).
        """
        room = samples + 2 * self.lead - self.n_fft  # an odd n_fft loses a sample of its padding
        return 1 + room // self.hop_length if samples and room >= 0 else 0


def tile_frames(framing: Framing, device: torch.device) -> int:
    """Frames that are computed at once: a multiple of every vector's width, so there is no tail."""
    if device.type != "cpu":
        return _TILE_GPU
    return _TILE_CPU if framing.n_fft <= 1024 else _TILE_CPU_LONG


_WINDOWS = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "blackman": torch.blackman_window,
    "bartlett": torch.bartlett_window,
}
WINDOWS = tuple(_WINDOWS)


# The caches hold what a process uses: some stages, on one device or two.
@lru_cache(maxsize=64)
def frame_window(framing: Framing, device: torch.device) -> torch.Tensor:
    """The periodic window of a frame, float64, shape (n_fft,): zeros around a shorter one."""
    length = framing.n_fft if framing.win_length is None else framing.win_length
    window = torch.zeros(framing.n_fft, dtype=torch.float64)
    first = (framing.n_fft - length) // 2
    made = _WINDOWS[framing.window](length, periodic=True, dtype=torch.float64)
    window[first : first + length] = made
    return window.to(device)


class Layout:
    """Clips one after another in one signal, so that one strided view holds all their frames.

    Frame j of the signal is samples ``[j · hop, j · hop + n_fft)``, and clip i owns ``frames[i]``
    of them from ``firsts[i]``; its samples are those of ``[starts[i], ends[i])``, and none of its
    frames holds a sample of another clip. What lies between belongs to nobody and is zero. The
    ``total`` of frames is a whole number of tiles.
    """

    def __init__(self, clips: Sequence[Samples], framing: Framing, tile: int) -> None:
        hop, lead = framing.hop_length, framing.lead
        self.frames = [framing.frames(len(clip)) for clip in clips]
        self.firsts: list[int] = []
        at = 0
        for clip in clips:
            self.firsts.append(at)
            if len(clip):
                # the next clip's padding may be this one's, its samples may not be in a frame
                at += -(-(len(clip) + lead) // hop)
        self.total = -(-at // tile) * tile
        self.starts = [first * hop + lead for first in self.firsts]
        self.ends = [start + len(clip) for start, clip in zip(self.starts, clips, strict=True)]
        self.length = max(0, (self.total - 1) * hop + framing.n_fft)  # of the signal
        self._clips = clips

    @cached_property
    def signal(self) -> Samples:
        line = np.zeros(self.length, np.float32)
        view = line.data  # numpy would give up the interpreter at every clip
        for clip, start in zip(self._clips, self.starts, strict=True):
            view[start : start + len(clip)] = np.ascontiguousarray(clip, np.float32).data
        return line

    def cut(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Each clip's own rows of an array of all frames."""
        spans = zip(self.firsts, self.frames, strict=True)
        return [rows[first : first + count] for first, count in spans]
