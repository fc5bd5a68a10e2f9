"""The header of FLAC: the STREAMINFO block (RFC 9639 section 8.2)."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import UndecodableRecord

STREAMINFO_BYTES = 34


class StreamInfo(NamedTuple):
    """``samples`` are per channel; 0 where the writer did not know them."""

    rate: int
    channels: int
    samples: int


def read_flac(payload: bytes | memoryview) -> StreamInfo:
    """What STREAMINFO says, which must be the first block; raises UndecodableRecord."""
    if bytes(payload[:4]) != b"fLaC":
        raise UndecodableRecord("flac: no fLaC marker at the start")
    info = read_stream_info(bytes(payload[4 : 8 + STREAMINFO_BYTES]))
    if info.samples == 0:
        raise UndecodableRecord(
            "flac: STREAMINFO does not say how many samples follow (its writer could not seek); "
            "write each record as a file of its own"
        )
    return info


def read_stream_info(block: bytes) -> StreamInfo:
    """Reads a metadata block with its 4 byte header."""
    if len(block) < 4 + STREAMINFO_BYTES:
        raise UndecodableRecord("flac: STREAMINFO is cut off")
    if block[0] & 0x7F != 0 or int.from_bytes(block[1:4], "big") != STREAMINFO_BYTES:
        raise UndecodableRecord("flac: the first block is not STREAMINFO")
    # 20 bits rate, 3 bits channels - 1, 5 bits sample size - 1, 36 bits samples.
    packed = int.from_bytes(block[14:22], "big")
    return StreamInfo(packed >> 44, (packed >> 41 & 0x7) + 1, packed & (1 << 36) - 1)
