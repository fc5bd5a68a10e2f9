"""Log-mel spectrograms and cepstral coefficients: the two features of a bundle that most want."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.features.bundle import bundle, of_mel
from pipeline.features.framing import Samples
from pipeline.features.int16 import Sound
from pipeline.features.mel import MelConfig, mel_bands
from pipeline.features.spectra import mean_levels, tables


def log_mel(
    clips: Sequence[Samples],
    config: MelConfig = MelConfig(),  # noqa: B008 (frozen)
    device: torch.device | str = "cpu",
) -> list[torch.Tensor]:
    """Log-mel spectrograms of clips of any lengths (float32, mono, shape (n,), at ``config.rate``).

    Gives for each clip dB re 1, float32, shape (1 + n // hop_length, n_mels) on the device, an
    empty clip (0, n_mels): ``librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=rate,
    n_fft, hop_length, n_mels, fmin, fmax), top_db=None).T`` with ``center=True``, zero padding,
    the Slaney scale and area norm, as ``bundle`` says. The rows are views of one array.
    """
    return bundle(clips, ("log_mel",), of_mel(config), device)


def log_mel_means(
    clips: Sequence[Sound], config: MelConfig, device: torch.device | str = "cpu"
) -> NDArray[np.float64] | None:
    """The mean over time of each clip's ``log_mel``, shape (clips, n_mels); 0 of an empty clip.

    Samples of 16 bits, int16 in either byte order, count as that by 32,768.
    None where it is not made in one call: elsewhere than on a CPU, or of an odd length of frames.
    """
    made = tables(config, torch.device(device))
    if made is None:
        return None
    return mean_levels(clips, config, made, mel_bands(config))


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
    return bundle(clips, ("mfcc",), of_mel(config, n_mfcc, lifter), device)
