"""Frames that libavcodec decoded, as float32 mono."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UndecodableRecord
from pipeline.media.pcm import float_mono
from pipeline.record import Facts

_FULL_SCALES = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1}
# PyAV 18 reads past the pointers of a frame with as many planes or more, and takes the process
# with it; libswresample lays them side by side before anybody looks.
_PLANES_MAX = 7


def mono_of(frame: Any, facts: Facts) -> NDArray[np.float32]:
    """Shape (n,), full scale 1.0; UndecodableRecord where it is not what the header says."""
    channels = frame.layout.nb_channels
    agree(facts, frame.sample_rate, channels)
    if frame.format.is_planar and channels > _PLANES_MAX:
        frame = _packed(frame)
    samples = frame.to_ndarray()
    full_scale = _FULL_SCALES.get(samples.dtype.name)
    if full_scale is None:
        raise UndecodableRecord(f"{facts.format}: decodes to {frame.format.name} samples")
    interleaved = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    scaled = interleaved.astype(np.float32, order="C")
    if full_scale != 1:
        scaled *= np.float32(1 / full_scale)
    return float_mono(scaled, channels, facts.format)


def _packed(frame: Any) -> Any:
    import av  # FFmpeg's libraries: only where they are needed

    [packed] = av.AudioResampler(format=frame.format.packed).resample(frame)
    return packed


def agree(facts: Facts, rate: int, channels: int) -> None:
    """Raises UndecodableRecord where a decoder gives another rate or number of channels."""
    if (rate, channels) != (facts.rate, facts.channels):
        raise UndecodableRecord(
            f"{facts.format}: decodes to {rate} Hz with {channels} channels, its header says "
            f"{facts.rate} Hz with {facts.channels}"
        )
