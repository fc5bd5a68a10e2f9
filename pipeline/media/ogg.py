"""The headers of Ogg audio: pages (RFC 3533), Vorbis I, Opus (RFC 7845), FLAC (RFC 9639 10.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.flac import read_stream_info

_PAGE = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, number, crc, lacing
_FIRST_FLAG = 0x02
_PAGES_MAX = 65_536  # a minute of Opus with one packet a page has 3,000
_OPUS_RATE = 48_000  # RFC 7845 section 4: granules and pre-skip always count at 48 kHz


class OggAudio(NamedTuple):
    """``samples`` per channel, without the pre-skip; ``codec``: vorbis, opus or flac."""

    codec: str
    rate: int
    channels: int
    samples: int


class _Page(NamedTuple):
    first: bool  # of its logical stream
    granule: int  # -1: no packet ends on it
    serial: int
    start: int  # of its body
    packet_bytes: int  # of its first packet, as far as it lies on the page


class _Head(NamedTuple):
    codec: str
    rate: int
    channels: int
    skip: int
    samples: int  # what the header itself says; 0: nothing


def read_ogg(payload: bytes | memoryview) -> OggAudio:
    """The first audio stream of the record; raises UndecodableRecord.

    Samples are counted from zero to the last granule of the stream, so a record is a file of
    its own: it neither begins in the middle of a longer one nor holds several in a row.
    """
    head: _Head | None = None
    serial, last, body_began = 0, 0, False
    for page in _pages(payload):
        if page.first:
            if body_began:
                raise UndecodableRecord(
                    "ogg: several streams one after the other; send each as a record of its own"
                )
            if head is None:
                head = _head(bytes(payload[page.start : page.start + page.packet_bytes]))
                serial = page.serial
            continue
        body_began = True
        if head is not None and page.serial == serial and page.granule > 0:
            last = max(last, page.granule)
    if head is None:
        raise UndecodableRecord("ogg: holds no Vorbis, Opus or FLAC stream")
    samples = last - head.skip if last else head.samples
    return OggAudio(head.codec, head.rate, head.channels, max(samples, 0))


def _pages(payload: bytes | memoryview) -> Iterator[_Page]:
    """The complete pages, in order; one that is cut off ends them."""
    position = 0
    for _ in range(_PAGES_MAX):
        body = position + _PAGE.size
        if body > len(payload):
            return
        capture, version, flags, granule, serial, _, _, lacing = _PAGE.unpack_from(
            payload, position
        )
        if capture != b"OggS" or version != 0:
            raise UndecodableRecord(f"ogg: no page begins at byte {position}")
        sizes = bytes(payload[body : body + lacing])
        start = body + lacing
        position = start + sum(sizes)
        if position > len(payload):
            return
        packet_bytes = 0
        for size in sizes:
            packet_bytes += size
            if size < 255:
                break
        yield _Page(bool(flags & _FIRST_FLAG), granule, serial, start, packet_bytes)
    raise UndecodableRecord(f"ogg: more than {_PAGES_MAX} pages")


def _head(packet: bytes) -> _Head | None:
    """The identification header of an audio stream; None for a stream of another kind."""
    if packet[:7] == b"\x01vorbis":
        if len(packet) < 30:
            raise UndecodableRecord("ogg: the Vorbis header is cut off")
        version, channels, rate = struct.unpack_from("<IBI", packet, 7)
        if version != 0:
            raise UndecodableRecord(f"ogg: Vorbis version {version} is not known")
        return _Head("vorbis", rate, channels, 0, 0)
    if packet[:8] == b"OpusHead":
        if len(packet) < 19 or packet[8] >> 4 != 0:
            raise UndecodableRecord("ogg: the Opus header is cut off or of an unknown version")
        channels, skip = struct.unpack_from("<BH", packet, 9)
        return _Head("opus", _OPUS_RATE, channels, skip, 0)
    if packet[:5] == b"\x7fFLAC":
        if packet[9:13] != b"fLaC":
            raise UndecodableRecord("ogg: the FLAC header is cut off")
        info = read_stream_info(packet[13:])
        return _Head("flac", info.rate, info.channels, 0, info.samples)
    return None
