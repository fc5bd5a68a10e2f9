"""The dimensions of pictures, by the headers of JPEG (ITU-T T.81 annex B), PNG (RFC 2083, third
edition) and WebP (RFC 9649)."""

from __future__ import annotations

import re
import struct
import zlib

from pipeline.errors import UndecodableRecord

_SEGMENTS_MAX = 4096
# A marker may be preceded by any number of fill bytes 0xFF (B.1.1.2).
_MARKER = re.compile(rb"\xff++([^\xff])", re.DOTALL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def jpeg_size(payload: bytes | memoryview) -> tuple[int, int]:
    """Width and height by the frame header (B.2.2), before EXIF turns it; UndecodableRecord."""
    if bytes(payload[:3]) != b"\xff\xd8\xff":
        raise UndecodableRecord("jpeg: no start of image")
    position = 2
    for _ in range(_SEGMENTS_MAX):
        found = _MARKER.match(payload, position)
        if found is None:
            raise UndecodableRecord(f"jpeg: no marker at byte {position}")
        marker, position = found[1][0], found.end()
        if marker in _STANDALONE:
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            raise UndecodableRecord("jpeg: no frame header before the scan")
        if position + 2 > len(payload):
            break
        (size,) = struct.unpack_from(">H", payload, position)
        if marker in _FRAMES:
            if size < 8 or position + 8 > len(payload):
                break
            _, height, width, components = struct.unpack_from(">BHHB", payload, position + 2)
            if components not in (1, 3, 4):
                raise UndecodableRecord(f"jpeg: {components} components are not read")
            return width, height
        position += max(size, 2)
    raise UndecodableRecord("jpeg: no frame header, or it is cut off")


def png_size(payload: bytes | memoryview) -> tuple[int, int]:
    """Width and height by IHDR, whose checksum must hold; UndecodableRecord."""
    if bytes(payload[:8]) != b"\x89PNG\r\n\x1a\n":
        raise UndecodableRecord("png: no PNG signature")
    if len(payload) < 33 or bytes(payload[8:16]) != b"\x00\x00\x00\rIHDR":
        raise UndecodableRecord("png: no IHDR, or it is cut off")
    width, height, depth, colour, _, _, _, crc = struct.unpack_from(">IIBBBBBI", payload, 16)
    if zlib.crc32(payload[12:29]) != crc:
        raise UndecodableRecord("png: the checksum of IHDR does not hold")
    if depth not in _PNG_DEPTHS.get(colour, ()):
        raise UndecodableRecord(f"png: colour type {colour} with {depth} bits does not exist")
    return width, height


def webp_size(payload: bytes | memoryview) -> tuple[int, int]:
    """Width and height by the first chunk: VP8 (RFC 6386 9.1), VP8L (RFC 9649 3.4), or VP8X,
    which has the canvas of all pictures of an animation (2.7). UndecodableRecord.
    """
    if bytes(payload[:4]) != b"RIFF" or bytes(payload[8:12]) != b"WEBP":
        raise UndecodableRecord("webp: no RIFF/WEBP header")
    chunk, head = bytes(payload[12:16]), bytes(payload[20:30])
    if chunk == b"VP8X" and len(head) == 10:
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if chunk == b"VP8 " and len(head) == 10:
        if head[3:6] != b"\x9d\x01\x2a" or head[0] & 1:
            raise UndecodableRecord("webp: its VP8 data do not begin with a key frame")
        width, height = struct.unpack_from("<HH", head, 6)  # the upper 2 bits scale it when shown
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and len(head) >= 5:
        bits = int.from_bytes(head[1:5], "little")
        if head[0] != 0x2F or bits >> 29 != 0:
            raise UndecodableRecord("webp: its VP8L data have no signature, or another version")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise UndecodableRecord("webp: no VP8, VP8L or VP8X chunk, or it is cut off")
