"""MP4 (ISO/IEC 14496-12, -14, -15): a whole small file, or an init segment with its fragments."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.film import Film, Sample, microseconds
from pipeline.media.mp4_boxes import Box, boxes, children, fields, needed, table, version_and_flags
from pipeline.media.mp4_codecs import Codec, read_codec
from pipeline.media.mp4_samples import RawSample, fragment_samples, sample_tables

_FOR_EVER = 1 << 62
_TURNS = {(0, 1, -1, 0): 270, (-1, 0, 0, -1): 180, (0, -1, 1, 0): 90}
_REMEDY = "send a whole file, or each fragment with its init segment (ftyp and moov) before it"


class _Track(NamedTuple):
    number: int
    ticks_per_second: int
    codec: Codec
    turn: int
    box: Box  # stbl
    edit: tuple[int, int]  # media time of what is shown: from, to


def read_mp4(payload: bytes | memoryview) -> Film:
    """The first track of pictures; raises UndecodableRecord.

    Times are the track's composition times, counted from the first frame that its edit list
    shows. A frame is shown until the next one; the last as long as its sample says, or, where
    it says nothing, as long as the one before it.
    """
    data = bytes(payload)
    top = list(boxes(data, 0, len(data)))
    moov = next((box for box in top if box.kind == b"moov"), None)
    if moov is None:
        known = any(box.kind in (b"moof", b"mdat", b"ftyp", b"styp", b"sidx") for box in top)
        raise UndecodableRecord(f"mp4: has no moov box; {_REMEDY}" if known else "mp4: is no MP4")
    moofs = [box for box in top if box.kind == b"moof"]
    track = _track(data, moov, fragmented=bool(moofs))
    samples = sample_tables(data, track.box)
    if moofs:
        samples += fragment_samples(data, moov, moofs, track.number, samples)
    if not samples:
        raise UndecodableRecord(f"mp4: holds no frames; {_REMEDY}")
    for number, sample in enumerate(samples):
        if sample.size < 1 or sample.start < 0 or sample.start + sample.size > len(data):
            raise UndecodableRecord(
                f"mp4: frame {number} lies at byte {sample.start}, {sample.size} bytes long, and "
                f"the record has {len(data)}; {_REMEDY} (-movflags +default_base_moof)"
            )
    if not samples[0].key:
        raise UndecodableRecord(
            "mp4: does not begin with a key frame; cut fragments at key frames "
            "(-movflags +frag_keyframe)"
        )
    placed, duration_us = _placed(samples, track)
    codec = track.codec
    return Film(
        codec.decoder, codec.width, codec.height, placed, duration_us, codec.extradata, track.turn
    )


def _track(data: bytes, moov: Box, *, fragmented: bool) -> _Track:
    movie_ticks = 0
    for box in boxes(data, moov.body, moov.end):
        if box.kind == b"mvhd":
            version, _ = version_and_flags(data, box)
            [movie_ticks] = fields(data, box, "I", 20 if version else 12)
        if box.kind != b"trak":
            continue
        parts = children(data, box)
        mdia = children(data, needed(parts, b"mdia"))
        if fields(data, needed(mdia, b"hdlr"), "I", 8) != (int.from_bytes(b"vide", "big"),):
            continue
        version, _ = version_and_flags(data, needed(mdia, b"mdhd"))
        [ticks] = fields(data, mdia[b"mdhd"], "I", 20 if version else 12)
        if ticks == 0:
            raise UndecodableRecord("mp4: its track has a time scale of 0")
        stbl = needed(children(data, needed(mdia, b"minf")), b"stbl")
        codec = read_codec(data, needed(children(data, stbl), b"stsd"))
        number, turn = _track_header(data, needed(parts, b"tkhd"))
        edit = _edit(data, parts, ticks, 0 if fragmented else movie_ticks)
        return _Track(number, ticks, codec, turn, stbl, edit)
    raise UndecodableRecord("mp4: has no track of pictures")


def _track_header(data: bytes, tkhd: Box) -> tuple[int, int]:
    """The track's number, and by how many degrees counter-clockwise its pictures are turned."""
    version, _ = version_and_flags(data, tkhd)
    [number] = fields(data, tkhd, "I", 20 if version else 12)
    a, b, _, c, d = fields(data, tkhd, "5i", 52 if version else 40)
    unit = 1 << 16
    return number, _TURNS.get((a // unit, b // unit, c // unit, d // unit), 0)


def _edit(data: bytes, trak: dict[bytes, Box], ticks: int, movie_ticks: int) -> tuple[int, int]:
    """What is shown, in ticks of the track, [from, to); ``movie_ticks`` 0: to the end.

    An empty edit only delays the whole film, and a record begins with its first frame.
    """
    elst = children(data, trak[b"edts"]).get(b"elst") if b"edts" in trak else None
    if elst is None:
        return -_FOR_EVER, _FOR_EVER
    version, _ = version_and_flags(data, elst)
    rows = table(data, elst, "QqI" if version else "IiI")
    shown = [row for row in rows if row[1] >= 0]
    if len(shown) > 1:
        raise UndecodableRecord(
            f"mp4: its edit list shows {len(shown)} pieces; write it anew (ffmpeg -c copy)"
        )
    if not shown:
        return -_FOR_EVER, _FOR_EVER
    length, start, _ = shown[0]
    if not movie_ticks or not length:
        return start, _FOR_EVER
    return start, start - (-length * ticks // movie_ticks)


def _placed(raw: list[RawSample], track: _Track) -> tuple[list[Sample], int]:
    """Samples with their times, and when the last frame ends."""
    first, last = track.edit
    order = sorted(range(len(raw)), key=lambda n: (raw[n].shown_at, n))
    ends: dict[int, int] = {}
    length = 0
    for number, following in zip(order, [*order[1:], None], strict=True):
        at = raw[number].shown_at
        if following is not None:
            ends[number] = raw[following].shown_at
            length = ends[number] - at or length
        else:
            ends[number] = at + (raw[number].length or length)
    shown = [n for n in order if ends[n] > first and raw[n].shown_at < last]
    if not shown:
        raise UndecodableRecord("mp4: its edit list shows none of its frames")
    origin = max(first, raw[shown[0]].shown_at)
    placed = []
    seen = set(shown)
    for number, sample in enumerate(raw):
        at_us = end_us = 0
        if number in seen:
            at_us = microseconds(max(0, sample.shown_at - origin), track.ticks_per_second)
            end_us = microseconds(ends[number] - origin, track.ticks_per_second)
            end_us = max(end_us, at_us + 1)
        placed.append(Sample(sample.start, sample.size, at_us, end_us, sample.key, number in seen))
    return placed, max(placed[number].end_us for number in shown)
