"""Tags around frames of sound, which are passed over: ID3v2, ID3v1 and APEv2."""

from __future__ import annotations

from pipeline.errors import UndecodableRecord

_ID3V2_BYTES = 10  # of its header, and of the footer that it may have
_ID3V1_BYTES = 128
_APE_BYTES = 32  # of its footer, and of the header that it may have
_TAGS_MAX = 16


def skip_id3v2(payload: bytes | memoryview, name: str) -> int:
    """Where what follows the ID3v2 tags begins (id3v2.4.0-structure 3.1); UndecodableRecord.

    A tag's size is a number of 7 bits in each byte; streams of HLS have one before the frames.
    """
    at = 0
    for _ in range(_TAGS_MAX):
        if bytes(payload[at : at + 3]) != b"ID3":
            return at
        head = bytes(payload[at : at + _ID3V2_BYTES])
        if len(head) < _ID3V2_BYTES or any(octet & 0x80 for octet in head[6:]):
            raise UndecodableRecord(f"{name}: the ID3 tag at byte {at} is cut off or broken")
        size_bytes = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        at += _ID3V2_BYTES + size_bytes + (_ID3V2_BYTES if head[5] & 0x10 else 0)
    raise UndecodableRecord(f"{name}: more than {_TAGS_MAX} ID3 tags")


def without_end_tags(payload: bytes | memoryview, first: int) -> int:
    """Where the tags at the end begin, at ``first`` at the earliest; the length where none is."""
    end = len(payload)
    if end - _ID3V1_BYTES >= first and bytes(payload[end - 128 : end - 125]) == b"TAG":
        end -= _ID3V1_BYTES
    foot = bytes(payload[max(first, end - _APE_BYTES) : end])
    if foot[:8] == b"APETAGEX":
        size_bytes = int.from_bytes(foot[12:16], "little")
        has_header = int.from_bytes(foot[20:24], "little") >> 31
        start = end - size_bytes - (_APE_BYTES if has_header else 0)
        if first <= start <= end - _APE_BYTES:
            end = start
    return end
