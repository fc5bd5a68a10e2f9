"""The bank that folds a spectrum's bins into pitch classes, as librosa has it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

# librosa.filters.chroma: the octave that counts most (A440's), and how fast others count less
_CENTRE_OCTAVE = 5.0
_OCTAVE_WIDTH = 2.0


def chroma_filters(
    rate: int, n_fft: int, n_chroma: int = 12, tuning: float = 0.0
) -> NDArray[np.float32]:
    """The weight of each bin in each pitch class from C, shape (n_chroma, n_fft // 2 + 1).

    Equal to ``librosa.filters.chroma(sr, n_fft, n_chroma, tuning)``: a Gaussian bump around each
    class, unit length over the classes, times a Gaussian over the octaves (Ellis, 2007).
    ``tuning`` is in classes: how far the sound's A lies from 440 Hz.
    """
    hz = np.linspace(0, rate, n_fft, endpoint=False)[1:]
    a440_hz = 440.0 * 2.0 ** (tuning / n_chroma)
    octaves = np.log2(hz / (a440_hz / 16))
    places = n_chroma * octaves
    # the 0 Hz bin gets a place 1.5 octaves under the first: half a turn away, so it is broad
    places = np.concatenate(([places[0] - 1.5 * n_chroma], places))
    widths = np.concatenate((np.maximum(np.diff(places), 1.0), [1]))
    half = np.round(n_chroma / 2)
    distance = np.subtract.outer(places, np.arange(n_chroma, dtype=np.float64)).T
    distance = np.remainder(distance + half + 10 * n_chroma, n_chroma) - half
    bumps = np.exp(-0.5 * (2 * distance / widths) ** 2)
    bumps /= np.sqrt((bumps**2).sum(axis=0))
    bumps *= np.exp(-0.5 * ((places / n_chroma - _CENTRE_OCTAVE) / _OCTAVE_WIDTH) ** 2)
    from_c = np.roll(bumps, -3 * (n_chroma // 12), axis=0)
    return np.ascontiguousarray(from_c[:, : n_fft // 2 + 1], np.float32)


_WIDTH = 16  # columns of a product: one of 12 takes 2.5 times as long as one of 16


@lru_cache(maxsize=64)
def chroma_bank(
    rate: int, n_fft: int, n_chroma: int, tuning: float, device: torch.device
) -> torch.Tensor:
    """The bank as a right-hand side, (bins, n_chroma rounded up to 16); zeros in what is added.

    float64 on a GPU, for the reason of ``mel.mel_bank``.
    """
    filters = chroma_filters(rate, n_fft, n_chroma, tuning)
    bank = np.zeros((filters.shape[1], -(-n_chroma // _WIDTH) * _WIDTH), filters.dtype)
    bank[:, :n_chroma] = filters.T
    kind = torch.float32 if device.type == "cpu" else torch.float64
    return torch.from_numpy(bank).to(device, kind)
