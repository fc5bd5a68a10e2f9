"""H.264 byte streams (ITU-T H.264 annex B): the pictures of a record and when they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.film import FRAMES_MAX, Film, Sample, microseconds, too_many_frames
from pipeline.media.h264_headers import Pps, SliceHead, Sps, read_pps, read_slice, read_sps

_START = b"\0\0\1"
_UNITS_MAX = 16 * FRAMES_MAX
_SPS, _PPS = 7, 8
_PICTURE = (1, 5)
_PARTITIONS = (2, 3, 4)
_BEFORE_PICTURE = (
    6,
    7,
    8,
    9,
    14,
    15,
    16,
    17,
    18,
)  # after a picture one of them ends it (7.4.1.2.3)
_SET_BYTES, _HEAD_BYTES = 4096, 64  # as much of a unit as its header may take


class Unit(NamedTuple):
    """A NAL unit: ``start`` is where its start code begins, ``body`` what follows that, cut to
    the length that a header may have."""

    start: int
    kind: int
    body: bytes


class _Picture(NamedTuple):
    start: int
    head: SliceHead
    order: tuple[int, int]  # IDR pictures before it, picture order count


def read_h264(payload: bytes | memoryview, span_us: int = 0) -> Film:
    """One or several GOPs, the first of which begins with SPS, PPS and an IDR picture.

    A frame lasts as the VUI says (E.2.1: two ticks), else its share of ``span_us``. Pictures
    are ordered by their order count (8.2.1), memory operation 5 left aside. Two fields that
    follow each other are one frame. Raises UndecodableRecord.
    """
    data = bytes(payload)
    pictures = _pictures(data)
    if not pictures:
        raise UndecodableRecord("h264: holds no picture; send an Annex B byte stream")
    sps = pictures[0].head.sps
    width = max(picture.head.sps.width for picture in pictures)
    height = max(picture.head.sps.height for picture in pictures)
    count = len(pictures)
    ticks, per_second = sps.ticks, sps.ticks_per_second
    duration_us = max(1, microseconds(count * ticks, per_second)) if ticks else 0
    if not ticks and span_us:
        ticks, per_second = span_us, count * 1_000_000
    ranked = sorted(range(count), key=lambda number: (pictures[number].order, number))
    rank = {number: place for place, number in enumerate(ranked)}
    samples = []
    for number, picture in enumerate(pictures):
        end = pictures[number + 1].start if number + 1 < count else len(data)
        at_us = microseconds(rank[number] * ticks, per_second) if ticks else 0
        end_us = microseconds((rank[number] + 1) * ticks, per_second) if ticks else 1
        samples.append(
            Sample(
                picture.start, end - picture.start, at_us, max(end_us, at_us + 1), picture.head.idr
            )
        )
    return Film("h264", width, height, samples, duration_us)


def units(data: bytes) -> Iterator[Unit]:
    """The NAL units of a byte stream, found by their start codes (B.1.1)."""
    at = data.find(_START)
    if at < 0 or data[:at].strip(b"\0"):
        raise UndecodableRecord(
            "h264: does not begin with a start code; send an Annex B byte stream "
            "(ffmpeg -bsf:v h264_mp4toannexb)"
        )
    count = 0
    while at >= 0:
        count += 1
        if count > _UNITS_MAX:
            raise UndecodableRecord(f"h264: holds more than {_UNITS_MAX} NAL units")
        body = at + len(_START)
        following = data.find(_START, body)
        end = following if following >= 0 else len(data)
        if body < end:
            start = at - 1 if at and data[at - 1] == 0 else at
            kind = data[body] & 0x1F
            length = _SET_BYTES if kind == _SPS else _HEAD_BYTES
            yield Unit(start, kind, data[body : min(end, body + length)])
        at = following


def _pictures(data: bytes) -> list[_Picture]:
    """Frames in decoding order; what lies between two belongs to the second."""
    all_sps: dict[int, Sps] = {}
    all_pps: dict[int, Pps] = {}
    pictures: list[_Picture] = []
    orders = _Orders()
    last: SliceHead | None = None
    paired = False  # the last frame has both its fields
    boundary: int | None = 0
    for unit in units(data):
        if unit.kind in _BEFORE_PICTURE:
            boundary = unit.start if boundary is None else boundary
        if unit.kind == _SPS:
            sps = read_sps(unit.body)
            all_sps[sps.number] = sps
        elif unit.kind == _PPS:
            pps = read_pps(unit.body)
            all_pps[pps.number] = pps
        elif unit.kind in _PARTITIONS:
            raise UndecodableRecord("h264: has data partitions (extended profile); use another")
        if unit.kind not in _PICTURE:
            continue
        head = read_slice(unit.body, all_sps, all_pps)
        if last is None and not head.idr:
            raise UndecodableRecord(
                "h264: does not begin with an IDR picture; cut records where a closed GOP begins"
            )
        if boundary is not None or last is None or _differ(last, head):
            order = orders.of(head)
            second = last is not None and not paired and _is_second_field(last, head)
            if not second:
                if len(pictures) == FRAMES_MAX:
                    raise too_many_frames("h264", FRAMES_MAX + 1)
                start = unit.start if boundary is None else boundary
                pictures.append(_Picture(start, head, order))
            paired = second
        boundary, last = None, head
    return pictures


def _differ(a: SliceHead, b: SliceHead) -> bool:
    """Whether two slices are of different pictures (7.4.1.2.4)."""
    return a._replace(sps=b.sps) != b


def _is_second_field(a: SliceHead, b: SliceHead) -> bool:
    return a.field and b.field and a.bottom != b.bottom and a.frame_num == b.frame_num


class _Orders:
    """Picture order counts (8.2.1.1 for type 0; for type 2 decoding order is output order)."""

    def __init__(self) -> None:
        self._idrs = 0
        self._pictures = 0
        self._high = self._low = 0  # of the reference picture before

    def of(self, head: SliceHead) -> tuple[int, int]:
        if head.idr:
            # The second field of an IDR picture is no IDR picture, so each counts once.
            self._idrs += 1
            self._high = self._low = 0
        self._pictures += 1
        if head.sps.order_type == 2:
            return self._idrs, self._pictures
        half = 1 << head.sps.order_bits - 1
        high = self._high
        if head.order < self._low and self._low - head.order >= half:
            high += 2 * half
        elif head.order > self._low and head.order - self._low > half:
            high -= 2 * half
        if head.reference:
            self._high, self._low = high, head.order
        return self._idrs, high + head.order
