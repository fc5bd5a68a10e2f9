"""Log-mel spectrograms and cepstral coefficients, equal to librosa's and to themselves.

Two promises (contract section 2, design section 6):

- *librosa's numbers*: within 1e-3 dB of ``librosa.power_to_db(librosa.feature.melspectrogram(y),
  top_db=None)`` wherever a band is within 80 dB of the clip's peak. So the transform runs in
  float64, as librosa's does: in float32 its rounding noise under a pure tone is worth 0.01 dB
  at 80 dB down (tests/core/test_features_log_mel.py::test_pure_tones_keep_their_weak_bands).
- *the same bits whatever the batch*: a clip's frames do not depend on what else is computed in
  the same call. Kernels choose their way by shape, so every shape here is fixed: frames go
  through in tiles of one size, the last one filled up with zeros
  (test_features_batches.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.features.mel import MelConfig, dct_matrix, hann_window, mel_bank
from pipeline.features.one_call import one_call

Samples = NDArray[np.float32]

AMIN = 1e-10  # librosa.power_to_db: the floor of a power, -100 dB
TOP_DB = 80.0  # librosa.feature.mfcc: how far under the peak the floor of dB is

# Frames a tile. On a CPU a tile's spectra (192 rows of 201 bins, 16 bytes each: 0.6 MB) stay in
# the second-level cache, and larger ones page-fault on every allocation; smaller ones pay more
# for Python and for a batch of one they save little. ms a chunk, measured in one run at batches
# of 1, 8, 64: tile 64 0.29, 0.20, 0.19; 192 0.31, 0.18, 0.15; 512 0.69, 0.17, 0.14. On a GPU
# launches count, not caches.
_TILE_CPU = 192
_TILE_CPU_LONG = 96  # from n_fft 1025 on
_TILE_GPU = 8192


def tile_frames(config: MelConfig, device: torch.device) -> int:
    """Frames that are computed at once: a multiple of every vector's width, so there is no tail."""
    if device.type != "cpu":
        return _TILE_GPU
    return _TILE_CPU if config.n_fft <= 1024 else _TILE_CPU_LONG


class _Layout:
    """Clips one after another in one signal, so that one strided view holds all their frames.

    Each clip begins ``n_fft // 2`` samples after a multiple of ``hop_length`` and is followed by
    enough zeros that none of its frames reaches into the next clip: frame j of the signal is
    samples ``[j · hop, j · hop + n_fft)``, and clip i owns ``frames[i]`` of them from
    ``firsts[i]``. What lies between belongs to nobody. The frames are filled up to whole tiles.
    """

    def __init__(self, clips: Sequence[Samples], config: MelConfig, tile: int) -> None:
        hop, self.n_fft, half = config.hop_length, config.n_fft, config.n_fft // 2
        self.frames = [config.frames(len(clip)) for clip in clips]
        self.firsts: list[int] = []
        at = 0
        for clip in clips:
            self.firsts.append(at)
            if len(clip):
                # the next clip's padding may be this one's, its samples may not be in a frame
                at += -(-(len(clip) + self.n_fft - half) // hop)
        self.total = -(-at // tile) * tile
        self.signal = np.zeros(max(0, (self.total - 1) * hop + self.n_fft), np.float32)
        line = self.signal.data  # numpy would give up the interpreter at every clip
        for clip, first in zip(clips, self.firsts, strict=True):
            start = first * hop + half
            line[start : start + len(clip)] = np.ascontiguousarray(clip, np.float32).data


def _mel_db(layout: _Layout, config: MelConfig, device: torch.device, tile: int) -> torch.Tensor:
    """dB of every frame of the layout, float32, shape (total, n_mels)."""
    out = torch.empty((layout.total, config.n_mels), dtype=torch.float32, device=device)
    signal = torch.from_numpy(layout.signal).to(device)
    window, bank = hann_window(config.n_fft, device), mel_bank(config, device)
    ranges = [[block.bands.start, block.bands.stop, block.bins.start, block.bins.stop]
              for block in bank]  # fmt: skip
    _tiles_db(signal, window, ranges, [b.matrix for b in bank], config.hop_length, tile, AMIN, out)
    return out


@one_call
def _tiles_db(
    signal: torch.Tensor,
    window: torch.Tensor,
    ranges: list[list[int]],
    matrices: list[torch.Tensor],
    hop: int,
    tile: int,
    amin: float,
    out: torch.Tensor,
) -> None:
    """Fills ``out`` tile by tile; block i of the bank makes the bands ``[r[0], r[1])`` of the
    bins ``[r[2], r[3])``, with r = ``ranges[i]``.
    """
    reach = (tile - 1) * hop + window.size(0)  # samples under a tile
    for first in range(0, out.size(0), tile):
        start = first * hop
        piece = signal[start : start + reach].double().unfold(0, window.size(0), hop)
        # librosa rounds its spectrum to complex64 as well, before the power
        spectrum = torch.view_as_real(torch.fft.rfft(piece * window).to(torch.complex64))
        spectrum.mul_(spectrum)
        power = (spectrum.select(-1, 0) + spectrum.select(-1, 1)).to(matrices[0].dtype)
        rows = out[first : first + tile]
        for r, matrix in zip(ranges, matrices):  # noqa: B905 (TorchScript has no strict)
            rows[:, r[0] : r[1]] = torch.mm(power[:, r[2] : r[3]], matrix)
        # the logarithm is taken tile by tile too: its vector and scalar kernels differ in the last
        # bit, and a tile's size leaves no scalar tail
        rows.clamp_(min=amin).log10_().mul_(10.0)


def log_mel(
    clips: Sequence[Samples],
    config: MelConfig = MelConfig(),  # noqa: B008 (frozen)
    device: torch.device | str = "cpu",
) -> list[torch.Tensor]:
    """Log-mel spectrograms of clips of any lengths (float32, mono, shape (n,), at ``config.rate``).

    Gives for each clip dB re 1, float32, shape (1 + n // hop_length, n_mels) on the device, an
    empty clip (0, n_mels): ``librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=rate,
    n_fft, hop_length, n_mels, fmin, fmax), top_db=None).T`` with ``center=True``, zero padding,
    the Slaney scale and area norm. The rows are views of one array.
    """
    device = torch.device(device)
    tile = tile_frames(config, device)
    with torch.inference_mode():
        layout = _Layout(clips, config, tile)
        rows = _mel_db(layout, config, device, tile)
        return [
            rows[first : first + count]
            for first, count in zip(layout.firsts, layout.frames, strict=True)
        ]


def mfcc(
    clips: Sequence[Samples],
    config: MelConfig,
    device: torch.device | str = "cpu",
    *,
    n_mfcc: int = 20,
    lifter: int = 0,
) -> list[torch.Tensor]:
    """Cepstral coefficients of clips, float32, shape (frames, n_mfcc) each.

    Equal to ``librosa.feature.mfcc(y=y, sr=rate, n_mfcc, lifter, n_fft, hop_length, n_mels).T``:
    the orthonormal DCT-II of the log-mel dB, of which everything more than 80 dB under the
    clip's own peak is raised to that (never under the peak of a batch mate).
    """
    device = torch.device(device)
    tile = tile_frames(config, device)
    with torch.inference_mode():
        layout = _Layout(clips, config, tile)
        rows = _mel_db(layout, config, device, tile)
        for first, count in zip(layout.firsts, layout.frames, strict=True):
            own = rows[first : first + count]
            if count:
                own.clamp_(min=own.amax() - TOP_DB)
        matrix = dct_matrix(n_mfcc, config.n_mels, lifter, device)
        out = torch.empty((layout.total, n_mfcc), dtype=torch.float32, device=device)
        for first in range(0, layout.total, tile):
            out[first : first + tile] = torch.mm(rows[first : first + tile].double(), matrix)
        return [
            out[first : first + count]
            for first, count in zip(layout.firsts, layout.frames, strict=True)
        ]
