"""Sound in codecs, as FFmpeg's libraries write it, and Ogg and ADTS put together by hand."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.media.adts import AdtsForm

Planes = NDArray[np.float32]
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}


def tones(count: int, channels: int, rate: int, seed: int = 0) -> Planes:
    """Shape (channels, count): a tone with some noise, another pitch in each channel."""
    seconds = np.arange(count) / rate
    noise = np.random.default_rng(seed).standard_normal((channels, count)) * 0.02
    pitches = 440 + 110 * np.arange(channels)[:, None]
    return (0.3 * np.sin(2 * np.pi * pitches * seconds) + noise).astype(np.float32)


def encoded(
    planes: Planes,
    rate: int,
    codec: str,
    container: str,
    bit_rate: int | None = None,
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
) -> bytes:
    """A file of ``planes`` (channels, n) by an encoder of libavcodec's and a muxer."""
    layout, file = LAYOUTS[len(planes)], io.BytesIO()
    with av.open(file, "w", format=container, options=muxing or {}) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout, options=options or {})
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        context = stream.codec_context
        taken = [each.name for each in context.codec.audio_formats]
        form = next(name for name in ("fltp", "flt", "s16p", "s16") if name in taken)
        context.format = form
        context.open()
        size = context.frame_size or planes.shape[1]
        for at in range(0, planes.shape[1], size):
            part = planes[:, at : at + size]
            if form.startswith("s16"):
                part = (part * 32_767).astype(np.int16)
            if not form.endswith("p"):
                part = part.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), form, layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux([packet for packet in stream.encode(None) if packet.size])
    return file.getvalue()


def by_libav(payload: bytes, container: str) -> Planes:
    """All that FFmpeg's demuxer and decoder give, shape (channels, n)."""
    with av.open(io.BytesIO(payload), format=container) as opened:
        stream = opened.streams.audio[0]
        stream.thread_type = "NONE"
        frames = list(opened.decode(stream))
    planes = [each.to_ndarray() for each in frames]
    if not frames[0].format.is_planar:
        planes = [each.reshape(-1, frames[0].layout.nb_channels).T for each in planes]
    joined = np.concatenate(planes, axis=1)
    return joined.astype(np.float32) / 32_768 if joined.dtype == np.int16 else joined


def packets_of(payload: bytes, container: str) -> list[bytes]:
    with av.open(io.BytesIO(payload), format=container) as opened:
        return [bytes(packet) for packet in opened.demux() if packet.size]


def adts_frame(
    form: AdtsForm, blocks: Sequence[bytes], *, checksums: bool = False, private: bool = False
) -> bytes:
    """One ADTS frame of several raw data blocks; the checksums are zeros."""
    body = b"".join(block + bytes(2) * (checksums and len(blocks) > 1) for block in blocks)
    head = b""
    if checksums:
        edges = np.cumsum([len(block) + 2 for block in blocks])[:-1]
        head = b"".join(int(edge).to_bytes(2, "big") for edge in edges) + bytes(2)
    size = 7 + len(head) + len(body)
    bits = 0xFFF << 44 | (not checksums) << 40 | form.profile << 38 | form.rate_index << 34
    bits |= private << 33 | form.configuration << 30 | size << 13 | 0x7FF << 2 | len(blocks) - 1
    return bits.to_bytes(7, "big") + head + body


def ogg_page(flags: int, granule: int, number: int, packets: Sequence[bytes]) -> bytes:
    sizes = b"".join(bytes([255] * (len(p) // 255) + [len(p) % 255]) for p in packets)
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, 7, number, 0, len(sizes))
    whole = head + sizes + b"".join(packets)
    return whole[:22] + struct.pack("<I", _ogg_crc(whole)) + whole[26:]


def opus_piece(
    packets: Sequence[bytes],
    *,
    at: int = 0,
    skip: int = 312,
    channels: int = 1,
    samples: int = 960,
    per_page: int = 10,
    cut: int = 0,
) -> bytes:
    """An Ogg file of Opus packets of ``samples`` each whose stream stands at ``at`` (RFC 7845)."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, channels, skip, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I1sI", 1, b"x", 0)
    pages = [ogg_page(2, 0, 0, [head]), ogg_page(0, 0, 1, [tags])]
    for first in range(0, len(packets), per_page):
        part = packets[first : first + per_page]
        at += samples * len(part)
        last = first + per_page >= len(packets)
        pages.append(ogg_page(4 * last, at - cut * last, len(pages), part))
    return b"".join(pages)


def _ogg_crc(data: bytes) -> int:
    """RFC 3533 section 6: the polynomial 0x04c11db7, nothing inverted."""
    crc = 0
    for octet in data:
        crc = crc << 8 & 0xFFFFFFFF ^ _OGG_CRC[crc >> 24 ^ octet]
    return crc


def _ogg_crc_of(octet: int) -> int:
    crc = octet << 24
    for _ in range(8):
        crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


_OGG_CRC = tuple(map(_ogg_crc_of, range(256)))


def with_ogg_checksums(data: bytes) -> bytes:
    """The pages of a damaged Ogg file with the checksums that they would need."""
    found = bytearray(data)
    at = found.find(b"OggS")
    while at >= 0:
        sizes = found[at + 27 : at + 27 + found[at + 26]] if at + 27 <= len(found) else b""
        end = at + 27 + len(sizes) + sum(sizes)
        page = found[at:end]
        page[22:26] = bytes(4)
        if at + 27 <= len(found):
            found[at + 22 : at + 26] = struct.pack("<I", _ogg_crc(page))
        at = found.find(b"OggS", at + 4)
    return bytes(found)
