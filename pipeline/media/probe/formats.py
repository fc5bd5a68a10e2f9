"""One payload: what its first bytes say that it is."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.adts import HEADER_BYTES as ADTS_HEADER_BYTES
from pipeline.media.adts import frame_bytes as adts_frame_bytes
from pipeline.media.facts import read_facts
from pipeline.media.id3 import skip_id3v2
from pipeline.media.mpeg_audio import read_frame, read_mpeg_audio
from pipeline.media.ogg import read_ogg
from pipeline.record import Facts
from pipeline.spec.media_type import parse_media_type
from pipeline.spec.units import Wrong

_PIXELS_MAX = 1 << 62  # the file's own limit is not known yet
JSON = "application/json"
TEXT = "text/plain"
_CUT = (
    "frames of a running stream: the first of a record lack those before it, so its sound begins "
    "damaged (docs/PIPELINE.md, Codecs); FLAC, Ogg and whole MP3 files have no seam"
)
RAW = ""  # bytes without a header that is known: raw audio, or something else

_MAGIC = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"GIF8", "image/gif"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"\x93NUMPY", "application/x-npy"),
    (4, b"ftyp", "video/mp4"),
    (4, b"styp", "video/mp4"),  # a segment without its init segment: told of as that
    (4, b"moof", "video/mp4"),
    (4, b"moov", "video/mp4"),
)


class Payload(NamedTuple):
    """``content_type`` RAW where no header is known. ``facts`` where this version reads it;
    ``wrong`` says why it is none that the reader takes, though its first bytes are; ``note``
    what a user should know of it."""

    content_type: str
    facts: Facts | None = None
    codec: str = ""
    wrong: str = ""
    note: str = ""


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
        codec, note = _more(content_type, payload)
    except UndecodableRecord as error:
        return Payload(content_type, wrong=str(error))
    return Payload(content_type, facts, codec, note=note)


def _more(content_type: str, payload: bytes) -> tuple[str, str]:
    """The codec where the type leaves it open, and what to know of records of such a kind."""
    if content_type == "audio/ogg":
        return read_ogg(payload).codec, ""
    if content_type == "audio/mpeg":
        audio = read_mpeg_audio(payload)
        codec = f"layer {'I' * audio.layer}"
        if audio.layer == 3:
            codec += ", files" if audio.skip else ", frames"
        return codec, _CUT if audio.layer == 3 and not audio.skip else ""
    return "", _CUT if content_type == "audio/aac" else ""


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
    if payload[:3] == b"ID3":
        return _tagged(payload)
    if _is_adts(payload):
        return "audio/aac"
    if _is_mpeg_audio(payload):
        return "audio/mpeg"
    if _is_h264(payload):
        return "video/H264"
    return RAW


def _is_adts(payload: bytes) -> bool:
    """AAC in ADTS frames: a header, and another where the frame ends."""
    size = adts_frame_bytes(payload[:ADTS_HEADER_BYTES])
    follows = payload[size : size + ADTS_HEADER_BYTES]
    return size > 0 and (size == len(payload) or adts_frame_bytes(follows) > 0)


def _is_mpeg_audio(payload: bytes) -> bool:
    """MPEG audio of layer II or III: two frame headers, one after the other."""
    size = _mpeg_frame_bytes(payload)
    return size > 0 and (size == len(payload) or _mpeg_frame_bytes(payload[size:]) > 0)


def _mpeg_frame_bytes(payload: bytes) -> int:
    """The length of the frame that begins here; 0 where none does."""
    frame = read_frame(payload[:4]) if len(payload) >= 4 else ""
    return 0 if isinstance(frame, str) else frame.size_bytes


def _tagged(payload: bytes) -> str:
    """What stands behind ID3 tags, which begin files of MP3 and the AAC segments of HLS."""
    try:
        at = skip_id3v2(payload, "id3")
    except UndecodableRecord:
        return "audio/mpeg"
    return "audio/aac" if _is_adts(payload[at:]) else "audio/mpeg"


def _is_h264(payload: bytes) -> bool:
    """A byte stream (ITU-T H.264 annex B) that begins with a parameter set or a delimiter."""
    start = 4 if payload[:4] == b"\0\0\0\1" else 3 if payload[:3] == b"\0\0\1" else 0
    if start == 0 or len(payload) <= start:
        return False
    unit = payload[start]
    return unit & 0x80 == 0 and unit & 0x1F in (7, 9)
