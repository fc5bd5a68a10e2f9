"""One payload: what its first bytes say that it is."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.facts import read_facts
from pipeline.media.ogg import read_ogg
from pipeline.record import Facts
from pipeline.spec.media_type import parse_media_type
from pipeline.spec.units import Wrong

_PIXELS_MAX = 1 << 62  # the file's own limit is not known yet
JSON = "application/json"
TEXT = "text/plain"
RAW = ""  # bytes without a header that is known: raw audio, or something else

_MP3_BITRATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # kbit/s
_MP3_BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MAGIC = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"GIF8", "image/gif"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"\x93NUMPY", "application/x-npy"),
    (4, b"ftyp", "video/mp4"),
)


class Payload(NamedTuple):
    """``content_type`` RAW where no header is known. ``facts`` where this version reads it;
    ``wrong`` says why it is none that the reader takes, though its first bytes are."""

    content_type: str
    facts: Facts | None = None
    codec: str = ""
    wrong: str = ""


def recognise(payload: bytes) -> Payload:
    """What a payload is by its own bytes. Raises nothing."""
    content_type = by_magic(payload)
    if not content_type:
        if document_of(payload) is not None:
            return Payload(JSON)
        return Payload(TEXT if is_text(payload) else RAW)
    if not is_read(content_type):
        return Payload(content_type)
    try:
        facts = read_facts(parse_media_type(content_type), payload, _PIXELS_MAX)
        codec = read_ogg(payload).codec if content_type == "audio/ogg" else ""
    except UndecodableRecord as error:
        return Payload(content_type, wrong=str(error))
    return Payload(content_type, facts, codec)


def is_read(content_type: str) -> bool:
    """Whether this version reads a media type (with its parameters) in a pipeline file."""
    try:
        parse_media_type(content_type, strict=False)
    except Wrong:
        return False
    return True


def document_of(value: bytes) -> dict[str, Any] | list[Any] | None:
    """The JSON object or list that a value is; None where it is none."""
    if value.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        document = json.loads(value.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict | list) else None


def is_text(payload: bytes) -> bool:
    """UTF-8 that holds more than blanks and no control characters but white space."""
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    odd = sum((ord(c) < 32 and c not in "\t\n\r\f\x1b") or ord(c) == 127 for c in text)
    return bool(text.strip()) and odd == 0


def by_magic(payload: bytes) -> str:
    """The media type that the first bytes tell; RAW where they tell none."""
    for offset, magic, content_type in _MAGIC:
        if payload[offset : offset + len(magic)] == magic:
            return content_type
    if payload[:4] in (b"RIFF", b"RF64"):
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}.get(
            payload[8:12], RAW
        )
    if _is_adts(payload):
        return "audio/aac"
    if _is_mp3(payload):
        return "audio/mpeg"
    if _is_h264(payload):
        return "video/H264"
    return RAW


def _is_adts(payload: bytes) -> bool:
    """AAC in ADTS frames (ISO/IEC 13818-7, 6.2): a header, and another where the frame ends."""
    if len(payload) < 7 or payload[0] != 0xFF or payload[1] & 0xF6 != 0xF0:
        return False
    size = (payload[3] & 3) << 11 | payload[4] << 3 | payload[5] >> 5
    if size < 7 or payload[2] >> 2 & 0xF > 12:
        return False
    follows = payload[size : size + 2]
    if size == len(payload):
        return True
    return len(follows) == 2 and follows[0] == 0xFF and follows[1] & 0xF6 == 0xF0


def _is_mp3(payload: bytes) -> bool:
    """MPEG audio layer III (ISO/IEC 11172-3, 2.4.1.3): two frame headers, one after the other."""
    size = _mp3_frame_bytes(payload[:4])
    if size == 0:
        return False
    return size == len(payload) or _mp3_frame_bytes(payload[size : size + 4]) > 0


def _mp3_frame_bytes(head: bytes) -> int:
    """The length of the frame that begins with this header; 0 where it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or head[1] >> 1 & 3 != 1:
        return 0
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate == 3 or not 1 <= bitrate <= 14:
        return 0
    kbit = (_MP3_BITRATES if version == 3 else _MP3_BITRATES_2)[bitrate]
    scale = 144_000 if version == 3 else 72_000
    return scale * kbit // _MP3_RATES[version][rate] + (head[2] >> 1 & 1)


def _is_h264(payload: bytes) -> bool:
    """A byte stream (ITU-T H.264 annex B) that begins with a parameter set or a delimiter."""
    start = 4 if payload[:4] == b"\0\0\0\1" else 3 if payload[:3] == b"\0\0\1" else 0
    if start == 0 or len(payload) <= start:
        return False
    unit = payload[start]
    return unit & 0x80 == 0 and unit & 0x1F in (7, 9)
