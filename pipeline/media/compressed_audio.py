"""FLAC and Ogg to float32 mono, in blocks: never all channels of a long record at once.

libsndfile decodes FLAC and Vorbis. Opus goes to libavcodec, because libsndfile gives it at the
rate of its original input, while granules, pre-skip and the header reader count at 48 kHz; and so
does FLAC in Ogg, which libsndfile cannot read as FFmpeg writes it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.errors import UndecodableRecord
from pipeline.media.facts import Payload
from pipeline.media.ogg import read_ogg
from pipeline.media.pcm import float_mono
from pipeline.record import Facts

Samples = NDArray[np.float32]

_FULL_SCALES = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1}
_BLOCK_FRAMES = 4_096  # libsndfile loses the block that it fails in


def decode_compressed(facts: Facts, payload: Payload) -> Samples:
    """What can be decoded, in all at least ``facts.samples`` where there is enough.

    A decoder that fails in the middle ends the samples there; one that fails at once raises,
    as decoders do. UndecodableRecord: what is decoded is not what the header says.
    """
    libav = facts.format == "ogg" and read_ogg(payload).codec in ("opus", "flac")
    blocks = _libav_blocks(payload, facts) if libav else _sndfile_blocks(payload, facts)
    parts: list[Samples] = []
    count = 0
    try:
        for block in blocks:
            parts.append(block)
            count += len(block)
            if count >= facts.samples:
                break
    except (UndecodableRecord, MemoryError):
        raise
    except Exception:  # the decoder's own: what came before it counts
        if not parts:
            raise
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _sndfile_blocks(payload: Payload, facts: Facts) -> Iterator[Samples]:
    with soundfile.SoundFile(io.BytesIO(payload)) as file:
        _agree(facts, file.samplerate, file.channels)
        while True:
            frames = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
            if len(frames) == 0:
                return
            yield float_mono(frames, facts.channels, facts.format)


def _libav_blocks(payload: Payload, facts: Facts) -> Iterator[Samples]:
    import av  # FFmpeg's libraries: only where they are needed

    with av.open(io.BytesIO(payload), format="ogg") as container:
        stream = container.streams.audio[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            channels = frame.layout.nb_channels
            _agree(facts, frame.sample_rate, channels)
            planes = frame.to_ndarray()
            full_scale = _FULL_SCALES.get(planes.dtype.name)
            if full_scale is None:
                raise UndecodableRecord(f"ogg: decodes to {frame.format.name} samples")
            interleaved = planes.T if frame.format.is_planar else planes.reshape(-1, channels)
            scaled = interleaved.astype(np.float32, order="C") * np.float32(1 / full_scale)
            yield float_mono(scaled, channels, facts.format)


def _agree(facts: Facts, rate: int, channels: int) -> None:
    if (rate, channels) != (facts.rate, facts.channels):
        raise UndecodableRecord(
            f"{facts.format}: decodes to {rate} Hz with {channels} channels, its header says "
            f"{facts.rate} Hz with {facts.channels}"
        )
