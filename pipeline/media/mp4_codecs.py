"""How the pictures of an MP4 track are coded: the sample entry (ISO/IEC 14496-12 8.5.2)."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.h264_headers import read_sps
from pipeline.media.mp4_boxes import Box, boxes, children, fields

_ENTRY_BYTES = 78  # of a visual sample entry, before its boxes
_MPEG4_VISUAL = 0x20  # object type of ISO/IEC 14496-2
_EXTRADATA_MAX = 1 << 16
# sample entry -> FFmpeg's decoder, and the box that holds what it needs to know first
_CODECS = {
    b"avc1": ("h264", b"avcC"),
    b"avc3": ("h264", b"avcC"),
    b"hvc1": ("hevc", b"hvcC"),
    b"hev1": ("hevc", b"hvcC"),
    b"av01": ("libdav1d", b"av1C"),
    b"vp09": ("vp9", b"vpcC"),
    b"mp4v": ("mpeg4", b"esds"),
}


class Codec(NamedTuple):
    """``decoder``: FFmpeg's name; ``width``, ``height``: of a decoded frame."""

    decoder: str
    width: int
    height: int
    extradata: bytes


def read_codec(data: bytes, stsd: Box) -> Codec:
    """The one way in which a track's pictures are coded; raises UndecodableRecord."""
    entries = list(boxes(data, stsd.body + 8, stsd.end))
    if len(entries) != 1:
        raise UndecodableRecord(f"mp4: its track is coded in {len(entries)} ways, not in one")
    [entry] = entries
    name = entry.kind.decode("latin-1")
    if entry.kind not in _CODECS:
        raise UndecodableRecord(
            f"mp4: codec {name!r} is not read; encode it as H.264, HEVC, AV1, VP9 or MPEG-4"
        )
    decoder, setup = _CODECS[entry.kind]
    width, height = fields(data, entry, "HH", 24)
    box = children(data, entry, _ENTRY_BYTES).get(setup)
    if box is None:
        raise UndecodableRecord(f"mp4: its {name} has no box {setup.decode()!r}")
    extradata = data[box.body : box.end]
    if len(extradata) > _EXTRADATA_MAX:
        raise UndecodableRecord(f"mp4: the box {setup.decode()!r} has {len(extradata)} bytes")
    if decoder == "h264":
        width, height = _avc_size(extradata) or (width, height)
    elif decoder == "mpeg4":
        extradata = _mpeg4_setup(data, box)
    elif decoder == "vp9":
        extradata = b""  # its frames say all
    return Codec(decoder, width, height, extradata)


def _avc_size(avcc: bytes) -> tuple[int, int] | None:
    """The size that its first SPS states (ISO/IEC 14496-15 5.3.3.1); avc3 may have none here."""
    if len(avcc) < 7 or avcc[0] != 1:
        raise UndecodableRecord("mp4: its avcC cannot be read")
    if avcc[5] & 0x1F == 0:
        return None
    sps = read_sps(avcc[8 : 8 + int.from_bytes(avcc[6:8], "big")])
    return sps.width, sps.height


def _mpeg4_setup(data: bytes, esds: Box) -> bytes:
    """The decoder's own header in the descriptors (ISO/IEC 14496-1 7.2.6)."""
    at, end = esds.body + 4, esds.end
    while at < end:
        tag, at = data[at], at + 1
        size = 0
        for _ in range(4):
            if at >= end:
                break
            size, more = size << 7 | data[at] & 0x7F, data[at] & 0x80
            at += 1
            if not more:
                break
        if tag == 3:  # elementary stream
            flags = data[at + 2] if at + 2 < end else 0
            at += 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
            if flags & 0x40 and at < end:
                at += 1 + data[at]
        elif tag == 4:  # decoder configuration
            if at < end and data[at] != _MPEG4_VISUAL:
                raise UndecodableRecord(f"mp4: mp4v of object type {data[at]:#x} is not read")
            at += 13
        elif tag == 5:
            return data[at : min(end, at + size)]
        else:
            at += size
    raise UndecodableRecord("mp4: its esds has no decoder header")
