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
# RFC 6716 table 2: samples of a frame at 48 kHz, by the upper five bits of a packet's first byte
_OPUS_FRAMES = (*(480, 960, 1920, 2880) * 3, *(480, 960) * 2, *(120, 240, 480, 960) * 4)


class OggAudio(NamedTuple):
    """``samples`` per channel, without the pre-skip; ``codec``: vorbis, opus or flac.

    ``start``: the granule at which the stream begins, above 0 for a piece of a longer one.
    """

    codec: str
    rate: int
    channels: int
    samples: int
    start: int = 0


class _Page(NamedTuple):
    first: bool  # of its logical stream
    granule: int  # -1: no packet ends on it
    serial: int
    start: int  # of its body
    sizes: bytes  # lacing values: a packet ends with the first below 255

    def packets(self) -> Iterator[tuple[int, int]]:
        """Where each packet that ends on the page lies, as far as it does, and its size."""
        start, size_bytes = self.start, 0
        for size in self.sizes:
            size_bytes += size
            if size < 255:
                yield start, size_bytes
                start, size_bytes = start + size_bytes, 0


class _Head(NamedTuple):
    codec: str
    rate: int
    channels: int
    skip: int
    samples: int  # what the header itself says; 0: nothing


def read_ogg(payload: bytes | memoryview) -> OggAudio:
    """The first audio stream of the record; raises UndecodableRecord.

    A record is a file of its own: it begins with the stream's headers and holds one stream. Its
    samples are those up to the last granule; of Opus from where its first page begins (RFC 7845
    4.5), so a piece of a longer stream behind the headers has the piece's samples, of the others
    from zero.
    """
    head: _Head | None = None
    serial, last, start, body_began = 0, 0, -1, False
    for page in _pages(payload):
        if page.first:
            if body_began:
                raise UndecodableRecord(
                    "ogg: several streams one after the other; send each as a record of its own"
                )
            if head is None:
                at, size_bytes = next(page.packets(), (0, 0))
                head = _head(bytes(payload[at : at + size_bytes]))
                serial = page.serial
            continue
        body_began = True
        if head is not None and page.serial == serial and page.granule > 0:
            if start < 0:
                start = _opus_start(payload, page) if head.codec == "opus" else 0
            last = max(last, page.granule)
    if head is None:
        raise UndecodableRecord("ogg: holds no Vorbis, Opus or FLAC stream")
    samples = last - start - head.skip if last else head.samples
    return OggAudio(head.codec, head.rate, head.channels, max(samples, 0), max(start, 0))


def _opus_start(payload: bytes | memoryview, page: _Page) -> int:
    """Where the first page with sound begins, in samples: its granule is where it ends.

    A last page may end before its packets do, and where it is also the first it begins at zero.
    """
    samples = 0
    for at, size_bytes in page.packets():
        if size_bytes:
            frame, code = _OPUS_FRAMES[payload[at] >> 3], payload[at] & 3
            counted = payload[at + 1] & 0x3F if code == 3 and size_bytes > 1 else min(code, 1) + 1
            samples += frame * counted
    return max(0, page.granule - samples)


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
        yield _Page(bool(flags & _FIRST_FLAG), granule, serial, start, sizes)
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
