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
from pipeline.media.libav_frames import agree, mono_of
from pipeline.media.ogg import read_ogg
from pipeline.media.pcm import float_mono
from pipeline.media.time_limit import TimeLimit
from pipeline.record import Facts

Samples = NDArray[np.float32]

_BLOCK_FRAMES = 4_096  # libsndfile loses the block that it fails in


def decode_compressed(facts: Facts, payload: Payload, limit: TimeLimit) -> Samples:
    """What can be decoded, in all at least ``facts.samples`` where there is enough.

    A decoder that fails in the middle ends the samples there; one that fails at once raises,
    as decoders do. UndecodableRecord: what is decoded is not what the header says. DecodeTimeout.
    """
    blocks = _sndfile_blocks(payload, facts)
    if facts.format == "ogg":
        audio = read_ogg(payload)
        if audio.codec in ("opus", "flac"):
            blocks = _libav_blocks(payload, facts, audio.start)
    parts: list[Samples] = []
    count = 0
    try:
        for block in blocks:
            parts.append(block)
            count += len(block)
            if count >= facts.samples:
                break
            limit.check(facts.format)
    except (UndecodableRecord, MemoryError):
        raise
    except Exception:  # the decoder's own: what came before it counts
        if not parts:
            raise
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _sndfile_blocks(payload: Payload, facts: Facts) -> Iterator[Samples]:
    with soundfile.SoundFile(io.BytesIO(payload)) as file:
        agree(facts, file.samplerate, file.channels)
        while True:
            frames = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
            if len(frames) == 0:
                return
            yield float_mono(frames, facts.channels, facts.format)


def _libav_blocks(payload: Payload, facts: Facts, start: int) -> Iterator[Samples]:
    """``start``: where the stream begins on its own time. A page that is damaged is passed over
    by the demuxer, and is silence here, so that what follows stays in its place.
    """
    import av  # FFmpeg's libraries: only where they are needed

    with av.open(io.BytesIO(payload), format="ogg") as container:
        stream = container.streams.audio[0]
        stream.thread_type = "NONE"
        given = 0
        for frame in container.decode(stream):
            mono = mono_of(frame, facts)
            if frame.pts is not None:
                at = round(frame.pts * frame.time_base * facts.rate) - start
                if given < min(at, facts.samples):
                    yield np.zeros(min(at, facts.samples) - given, np.float32)
                    given = min(at, facts.samples)
            yield mono
            given += len(mono)
