"""The header of RIFF/WAVE (Multimedia Programming Interface 1.0; RF64: EBU Tech 3306)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipeline.errors import UndecodableRecord

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
# The tail that all sub-formats of WAVE_FORMAT_EXTENSIBLE share; the first two bytes are the tag.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_UNKNOWN = 0xFFFFFFFF
_CHUNKS_MAX = 1000
_CODINGS = {
    (_PCM, 1): "u8",
    (_PCM, 2): "s16",
    (_PCM, 3): "s24",
    (_PCM, 4): "s32",
    (_FLOAT, 4): "f32",
    (_FLOAT, 8): "f64",
    (_ALAW, 1): "alaw",
    (_ULAW, 1): "ulaw",
}


@dataclass(frozen=True, slots=True)
class WavLayout:
    """Where the samples lie: ``frames`` frames of ``channels`` from byte ``offset`` on.

    All of them are in the payload. ``coding``: u8, s16, s24, s32, f32, f64, alaw or ulaw.
    """

    coding: str
    rate: int
    channels: int
    frames: int
    offset: int


def read_wav(payload: bytes | memoryview) -> WavLayout:
    """Walks the chunks to the data; raises UndecodableRecord.

    The data is what is there: a data chunk that states more than the payload holds (a file that
    was cut off, or a stream whose writer left 0 or 0xFFFFFFFF since it could not know) ends with
    the payload. A data size of 0 means an empty recording only where the RIFF size accounts for
    all bytes.
    """
    if len(payload) < 12 or bytes(payload[8:12]) != b"WAVE":
        raise UndecodableRecord("wav: no RIFF/WAVE header")
    magic = bytes(payload[:4])
    if magic not in (b"RIFF", b"RF64"):
        raise UndecodableRecord("wav: no RIFF/WAVE header")
    (riff_bytes,) = struct.unpack_from("<I", payload, 4)
    layout: tuple[str, int, int, int] | None = None
    data64_bytes: int | None = None
    position = 12
    for _ in range(_CHUNKS_MAX):
        if position + 8 > len(payload):
            raise UndecodableRecord("wav: no data chunk")
        name, size = struct.unpack_from("<4sI", payload, position)
        position += 8
        if name == b"data":
            if layout is None:
                raise UndecodableRecord("wav: the data chunk comes before the fmt chunk")
            there = len(payload) - position
            if size == _UNKNOWN:
                size = there if data64_bytes is None else data64_bytes
            elif size == 0 and (riff_bytes == _UNKNOWN or riff_bytes + 8 < len(payload)):
                size = there
            coding, rate, channels, frame_bytes = layout
            return WavLayout(coding, rate, channels, min(size, there) // frame_bytes, position)
        if name == b"fmt ":
            layout = _fmt(payload, position, size)
        elif name == b"ds64" and magic == b"RF64" and position + 16 <= len(payload):
            (data64_bytes,) = struct.unpack_from("<Q", payload, position + 8)
        position += size + (size & 1)
    raise UndecodableRecord(f"wav: more than {_CHUNKS_MAX} chunks before the data")


def _fmt(payload: bytes | memoryview, position: int, size: int) -> tuple[str, int, int, int]:
    """Coding, rate, channels and bytes a frame."""
    if size < 16 or position + size > len(payload):
        raise UndecodableRecord("wav: the fmt chunk is cut off")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", payload, position)
    if tag == _EXTENSIBLE:
        if size < 40 or bytes(payload[position + 26 : position + 40]) != _GUID_TAIL:
            raise UndecodableRecord("wav: an extensible format that is not known")
        (tag,) = struct.unpack_from("<H", payload, position + 24)
    if channels == 0:
        raise UndecodableRecord("wav: no channels")
    sample_bytes, rest = divmod(frame_bytes, channels)
    coding = _CODINGS.get((tag, sample_bytes))
    if coding is None or rest or (bits + 7) // 8 != sample_bytes:
        raise UndecodableRecord(
            f"wav: coding {tag:#06x} with {bits} bits in {frame_bytes} bytes a frame is not read; "
            "send PCM of 8 to 32 bits, float, A-law or mu-law"
        )
    return coding, rate, channels, frame_bytes
