"""Mel filter banks and cosine transforms: the constants of a feature, as librosa has them.

librosa rebuilds its bank at every call, which is half of a call's time; here each is built
once for a configuration and a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.features.framing import Framing


@dataclass(frozen=True, slots=True)
class MelConfig(Framing):
    """What a log-mel feature is: band edges in Hz. ``f_max_hz`` None means ``rate / 2``.

    A configuration is a key of the caches: two features with other numbers are two features
    and never share a constant.
    """

    n_mels: int = 64
    f_min_hz: float = 0.0
    f_max_hz: float | None = None


# The Slaney scale: linear up to 1 kHz (3 mel for 200 Hz), then 27 mel for a factor of 6.4
# (Slaney, Auditory Toolbox, 1998; librosa.hz_to_mel(htk=False)).
_HZ_PER_MEL = 200.0 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _mel_of_hz(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return float(_KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP)


def _hz_of_mel(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    # the clip keeps exp() out of overflow where the linear part holds anyway
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel >= _KNEE_MEL, above, _HZ_PER_MEL * mel)


def mel_filters(config: MelConfig) -> NDArray[np.float32]:
    """Triangular filters of unit area (``norm="slaney"``), shape (n_mels, n_fft // 2 + 1).

    Equal to ``librosa.filters.mel(sr, n_fft, n_mels, fmin, fmax, htk=False)``.
    """
    f_max_hz = config.rate / 2 if config.f_max_hz is None else config.f_max_hz
    edges_mel = np.linspace(
        _mel_of_hz(config.f_min_hz), _mel_of_hz(f_max_hz), config.n_mels + 2, dtype=np.float64
    )
    edges_hz = _hz_of_mel(edges_mel)
    bins_hz = np.fft.rfftfreq(config.n_fft, 1.0 / config.rate)
    widths_hz = np.diff(edges_hz)
    slopes = edges_hz[:, None] - bins_hz[None, :]
    rising = -slopes[:-2] / widths_hz[:-1, None]
    falling = slopes[2:] / widths_hz[1:, None]
    bank = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    bank *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return bank


def cosine_transform(n_out: int, n_in: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II, shape (n_out, n_in); equal to ``scipy.fft.dct(norm="ortho")``."""
    k = np.arange(n_out, dtype=np.float64)[:, None]
    n = np.arange(n_in, dtype=np.float64)[None, :]
    basis: NDArray[np.float64] = np.cos(np.pi * k * (2 * n + 1) / (2 * n_in))
    basis *= np.sqrt(2.0 / n_in)
    basis[0] *= np.sqrt(0.5)
    return basis


class BankBlock(NamedTuple):
    """Some neighbouring bands of a bank and the bins that they are made of."""

    bands: slice
    bins: slice
    matrix: torch.Tensor  # (bins, bands)


class Bands(NamedTuple):
    """A bank without its zeros: band b is the bins ``[firsts[b], lasts[b])`` times so many
    weights, which follow one another.
    """

    firsts: NDArray[np.intp]
    lasts: NDArray[np.intp]
    weights: NDArray[np.float64]


@lru_cache(maxsize=64)
def mel_bands(config: MelConfig) -> Bands:
    """The bank, as float32 has it; a band that is too narrow for the spectrum's bins has none."""
    filters = mel_filters(config)
    used = [np.flatnonzero(band) for band in filters]
    firsts = [int(bins[0]) if bins.size else 0 for bins in used]
    lasts = [int(bins[-1]) + 1 if bins.size else 0 for bins in used]
    weights = [
        filters[b, first:last] for b, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    ]
    return Bands(
        np.array(firsts, np.intp),
        np.array(lasts, np.intp),
        np.concatenate(weights, dtype=np.float64),
    )


# Bands of one product. A band sees few bins, so a bank is nearly all zeros; by blocks of 32 bands
# the product takes 0.8 of the dense one's time for 64 bands of 201 bins, 0.35 for 128 of 1025.
_BLOCK_BANDS = 32


@lru_cache(maxsize=64)
def mel_bank(config: MelConfig, device: torch.device) -> tuple[BankBlock, ...]:
    """The bank as right-hand sides of products, block by block, on the device.

    float64 on a GPU: there a float32 product may silently be a TF32 one (10 bits of mantissa)
    by a process-wide switch that any encoder may turn, and the product is small.
    """
    kind = np.float32 if device.type == "cpu" else np.float64
    filters = mel_filters(config).T
    blocks = []
    for first in range(0, config.n_mels, _BLOCK_BANDS):
        bands = slice(first, min(first + _BLOCK_BANDS, config.n_mels))
        # a band may be empty (too narrow for the spectrum's bins): then any bin will do
        used = np.flatnonzero(filters[:, bands].any(axis=1))
        bins = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
        matrix = torch.from_numpy(filters[bins, bands].astype(kind, order="C"))
        blocks.append(BankBlock(bands, bins, matrix.to(device)))
    return tuple(blocks)


@lru_cache(maxsize=64)
def dct_matrix(n_mfcc: int, n_mels: int, lifter: int, device: torch.device) -> torch.Tensor:
    """The cosine transform with its liftering, as a right-hand side: (n_mels, n_mfcc), float64.

    ``lifter`` L > 0 scales coefficient k (from 1) by ``1 + L/2 · sin(πk/L)``, as librosa does.
    """
    matrix = cosine_transform(n_mfcc, n_mels)
    if lifter > 0:
        k = np.arange(1, n_mfcc + 1, dtype=np.float64)
        matrix *= (1 + lifter / 2 * np.sin(np.pi * k / lifter))[:, None]
    return torch.from_numpy(matrix.T.copy()).to(device)
