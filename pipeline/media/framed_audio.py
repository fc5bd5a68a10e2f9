"""MPEG audio and AAC to float32 mono by libavcodec, one frame at a time.

The frames are those that the header readers found, and they go to the decoder as they are: no
demuxer looks at the bytes, opens anything, or counts otherwise. A frame that cannot be decoded
is silence in its own place, so what follows it stays where it belongs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.media.adts import BLOCK_SAMPLES, read_adts, specific_config
from pipeline.media.facts import Payload
from pipeline.media.libav_frames import mono_of
from pipeline.media.mpeg_audio import read_mpeg_audio
from pipeline.media.time_limit import TimeLimit
from pipeline.record import Facts

Samples = NDArray[np.float32]

_BY_LAYER = {2: "mp2float", 3: "mp3float"}


class _Framed(NamedTuple):
    """``packets``: first byte, size, and the samples that it decodes to."""

    codec: str
    config: bytes | None
    packets: list[tuple[int, int, int]]
    skip: int  # decoded samples that are the codec's, before the record's own


def decode_framed(facts: Facts, payload: Payload, limit: TimeLimit) -> Samples:
    """Shape (facts.samples,); no samples where not one frame can be decoded.

    Raises UndecodableRecord where a frame is not what the header says, or holds no number;
    DecodeTimeout.
    """
    framed = _framed(facts.format, payload)
    whole = np.zeros(facts.samples, np.float32)
    at, found = -framed.skip, False
    for (_, _, samples), blocks in _decoded(framed, payload):
        block_at = at
        for frame in blocks:
            mono = mono_of(frame, facts)[: at + samples - block_at]
            _lay(whole, block_at, mono)
            block_at += len(mono)
            found = True
        at += samples
        if at >= len(whole):
            break
        limit.check(facts.format)
    return whole if found else whole[:0]


def _framed(form: str, payload: Payload) -> _Framed:
    if form == "aac":
        aac = read_adts(payload)
        packets = [(at, size, blocks * BLOCK_SAMPLES) for at, size, blocks in aac.packets]
        return _Framed("aac", specific_config(aac.form), packets, 0)
    mpeg = read_mpeg_audio(payload)
    packets = [(at, size, mpeg.frame_samples) for at, size in mpeg.frames]
    return _Framed(_BY_LAYER[mpeg.layer], None, packets, mpeg.skip)


def _decoded(framed: _Framed, payload: Payload) -> Iterator[tuple[tuple[int, int, int], list[Any]]]:
    """Each packet with the frames that it decodes to; none where it cannot be decoded."""
    import av  # FFmpeg's libraries: only where they are needed

    decoder: Any = av.CodecContext.create(framed.codec, "r")
    decoder.thread_type = "NONE"
    if framed.config is not None:
        decoder.extradata = framed.config
    for packet in framed.packets:
        at, size, _ = packet
        try:
            blocks = decoder.decode(av.Packet(bytes(payload[at : at + size])))
        except av.FFmpegError:
            blocks = []
        yield packet, blocks


def _lay(whole: Samples, at: int, part: Samples) -> None:
    first, last = max(at, 0), min(at + len(part), len(whole))
    if first < last:
        whole[first:last] = part[first - at : last - at]
