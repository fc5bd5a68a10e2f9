"""Raw 16-bit audio whose bytes are the other way round: the most usual fault of a producer."""

from __future__ import annotations

import numpy as np

from pipeline.media.facts import Payload
from pipeline.media.pcm import INT16_FORMATS

_SAMPLES_MAX = 4_096
_SAMPLES_MIN = 64
_LOUD = 0.2  # of full scale; noise over all of it has 0.5, speech 0.02 to 0.1
_ROUGH = 0.5  # mean step over mean level; white noise has 4/3, loud music 0.05 to 0.4
_SMOOTHER = 2.0


def looks_swapped(payload: Payload, format: str, channels: int = 1) -> bool:
    """Whether ``S16BE`` or ``S16LE`` audio is noise as it is stated, and sound when swapped.

    Swapped bytes make the lower half of each sample its upper: noise at full scale, whatever the
    recording. So: implausibly loud, nearly as rough as noise, and at least twice as smooth in
    the other order. Noise that is noise in both orders, and silence, are not suspected. Looks at
    the first 4,096 frames of the first channel; False for other formats. For a warning only.
    """
    dtype = INT16_FORMATS.get(format)
    if dtype is None:
        return False
    count = min(len(payload) // 2, _SAMPLES_MAX * channels)
    stated = np.frombuffer(payload, dtype, count)[::channels]
    if len(stated) < _SAMPLES_MIN:
        return False
    level = float(np.abs(stated.astype(np.float32)).mean()) / 32_768
    step = _step(stated.astype(np.int32))
    return (
        level >= _LOUD
        and step >= _ROUGH * level
        and step >= _SMOOTHER * _step(stated.byteswap().astype(np.int32))
    )


def _step(samples: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> float:
    """The mean difference of neighbours, in full scales."""
    return float(np.abs(np.diff(samples)).mean()) / 32_768
