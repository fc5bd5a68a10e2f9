"""The headers of MPEG audio: frames of layers II and III (ISO/IEC 11172-3, 13818-3 and the
extension to 8 to 12 kHz that is called MPEG 2.5), and the tags that encoders put around them.

Where a record's first frame holds a tag of LAME or libavformat, it says how many samples the
encoder put in front and behind; they are left out, as all gapless players do, so a record that
is a whole file has exactly the samples that went into it. Frames without that tag, cut out of a
running stream for instance, count as they are: nothing says what the encoder put in front.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.id3 import skip_id3v2, without_end_tags

FRAMES_MAX = 65_536  # a minute has 5,000 at most

# A decoder of layer III gives every sample this much later (the filter bank's 528, and one);
# the tag counts the encoder's share alone (mpg123's GAPLESS_DELAY, libavformat's 528 + 1).
DECODER_DELAY = 529
_HEADER_BYTES = 4
_MPEG1, _MPEG2 = 3, 2
_RATES = (44_100, 48_000, 32_000)  # halved in MPEG 2, and once more in MPEG 2.5
_LAYER_2, _LAYER_3 = 2, 3
_KBITS = {
    (True, _LAYER_2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, _LAYER_3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, _LAYER_2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, _LAYER_3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_LAYER_1_BITS = 3
_MONO = 3
_SIDE_BYTES = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}
_VBRI_AT = 36
_FRAMES_FLAG, _BYTES_FLAG, _TABLE_FLAG, _QUALITY_FLAG = 1, 2, 4, 8
_FIELD_BYTES = ((_FRAMES_FLAG, 4), (_BYTES_FLAG, 4), (_TABLE_FLAG, 100), (_QUALITY_FLAG, 4))
_WRITERS = (b"LAME", b"Lavf", b"Lavc")  # those that state delays, as libavformat has it
_DELAYS_AT = 21  # behind the writer's name and what it says of loudness


class Frame(NamedTuple):
    """What the four bytes of a frame's header say; ``samples`` per channel.

    ``form``: layer, rate and channels, which all frames of a stream have in common.
    """

    form: tuple[int, int, int]
    samples: int
    size_bytes: int
    mpeg1: bool
    protected: bool


class _Tag(NamedTuple):
    """What the first frame's tag says; ``frames`` 0 where it does not count them."""

    frames: int = 0
    delay: int = 0
    padding: int = 0
    stated: bool = False  # delay and padding


class MpegAudio(NamedTuple):
    """``frames`` are where each frame that holds sound lies, as (first byte, size).

    Decoded one after the other they give ``len(frames) * frame_samples`` per channel, of which
    the first ``skip`` are the codec's, and the next ``samples`` the record's.
    """

    layer: int
    rate: int
    channels: int
    frame_samples: int
    frames: list[tuple[int, int]]
    skip: int
    samples: int


def read_mpeg_audio(payload: bytes | memoryview) -> MpegAudio:
    """The frames of a record and its samples; raises UndecodableRecord.

    ID3 and APE tags around the frames are passed over, and a last frame that is cut off does not
    count. A record begins with a whole frame.
    """
    at = first = skip_id3v2(payload, "mpeg")
    end = without_end_tags(payload, first)
    frames: list[tuple[int, int]] = []
    head: Frame | None = None
    while at + _HEADER_BYTES <= end:
        frame = read_frame(bytes(payload[at : at + _HEADER_BYTES]))
        if isinstance(frame, str):
            raise UndecodableRecord(f"mpeg: no frame begins at byte {at}: {frame}")
        if head is None:
            head = frame
        elif frame.form != head.form:
            raise UndecodableRecord(
                f"mpeg: the frame at byte {at} has another layer, rate or number of channels than "
                "those before it; send each stream as a record of its own"
            )
        if at + frame.size_bytes > end:
            break
        if len(frames) == FRAMES_MAX:
            raise UndecodableRecord(f"mpeg: more than {FRAMES_MAX} frames")
        frames.append((at, frame.size_bytes))
        at += frame.size_bytes
    if head is None or not frames:
        raise UndecodableRecord("mpeg: holds no whole frame")
    tag = _tag(payload, first, head)
    if tag is not None:
        del frames[0]
    skip, samples = _kept(tag or _Tag(), len(frames), head.samples)
    return MpegAudio(*head.form, head.samples, frames, skip, samples)


@lru_cache(maxsize=4096)
def read_frame(head: bytes) -> Frame | str:
    """A frame's header (ISO/IEC 11172-3, 2.4.1.3), or why it is none."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return "no sync word"
    version, layer_bits = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if layer_bits == _LAYER_1_BITS:
        return "layer I is not read"
    if version == 1 or layer_bits == 0 or rate == 3 or bitrate == 15:
        return "its header has a reserved value"
    if bitrate == 0:
        return "free format (no bit rate in the header) is not read"
    layer, mpeg1 = 4 - layer_bits, version == _MPEG1
    rate_hz = _RATES[rate] >> (0 if mpeg1 else 1 if version == _MPEG2 else 2)
    samples = 576 if layer == _LAYER_3 and not mpeg1 else 1152
    padding = head[2] >> 1 & 1
    size_bytes = samples // 8 * 1_000 * _KBITS[mpeg1, layer][bitrate - 1] // rate_hz + padding
    channels = 1 if head[3] >> 6 == _MONO else 2
    return Frame((layer, rate_hz, channels), samples, size_bytes, mpeg1, head[1] & 1 == 0)


def _tag(payload: bytes | memoryview, at: int, head: Frame) -> _Tag | None:
    """The tag that the first frame holds in place of sound: Xing's, or Fraunhofer's VBRI."""
    layer, _, channels = head.form
    if layer != _LAYER_3:
        return None
    frame = bytes(payload[at : at + head.size_bytes])
    if frame[_VBRI_AT : _VBRI_AT + 4] == b"VBRI":
        return _Tag()
    start = 4 + 2 * head.protected + _SIDE_BYTES[head.mpeg1, channels]
    if frame[start : start + 4] not in (b"Xing", b"Info") or len(frame) < start + 8:
        return None
    (flags,) = struct.unpack_from(">I", frame, start + 4)
    position, frames = start + 8, 0
    for flag, size in _FIELD_BYTES:
        if flags & flag:
            if flag == _FRAMES_FLAG:
                frames = int.from_bytes(frame[position : position + 4], "big")
            position += size
    delays = frame[position + _DELAYS_AT : position + _DELAYS_AT + 3]
    if len(delays) < 3 or frame[position : position + 4] not in _WRITERS:
        return _Tag(frames)
    return _Tag(frames, delays[0] << 4 | delays[1] >> 4, (delays[1] & 0xF) << 8 | delays[2], True)


def _kept(tag: _Tag, frames: int, frame_samples: int) -> tuple[int, int]:
    """How many decoded samples to leave out at the start, and how many follow.

    A record with fewer frames than its tag counts is the beginning of a longer file: its end is
    where it ends. One with more has another tag's frames behind its own, and nothing tells where
    these end.
    """
    decoded = frames * frame_samples
    if not tag.stated:
        return 0, decoded
    skip, end = tag.delay + DECODER_DELAY, decoded
    if frames <= tag.frames:
        end = min(end, tag.frames * frame_samples - tag.padding + DECODER_DELAY)
    return skip, max(0, end - skip)
