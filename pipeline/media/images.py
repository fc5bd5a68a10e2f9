"""The headers of JPEG (ITU-T T.81 annex B) and PNG (RFC 2083, third edition): the dimensions."""

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
