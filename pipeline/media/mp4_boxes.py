"""Boxes of ISO base media files (ISO/IEC 14496-12 4.2), and the tables of numbers in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.film import FRAMES_MAX

_BOXES_MAX = 4 * FRAMES_MAX  # one after another in one box


class Box(NamedTuple):
    """``[start, end)`` with its header, ``body`` is where that ends."""

    kind: bytes
    start: int
    body: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes in ``[start, end)``, one after another; raises UndecodableRecord."""
    count = 0
    while start < end:
        count += 1
        if count > _BOXES_MAX:
            raise UndecodableRecord(f"mp4: holds more than {_BOXES_MAX} boxes in one")
        if end - start < 8:
            raise UndecodableRecord(f"mp4: {end - start} bytes at byte {start} are no box")
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            if end - start < 16:
                raise UndecodableRecord(f"mp4: the box at byte {start} is cut off")
            [size] = struct.unpack_from(">Q", data, body)
            body += 8
        elif size == 0:
            size = end - start
        if size < body - start or size > end - start:
            raise UndecodableRecord(
                f"mp4: the box {kind.decode('latin-1')!r} at byte {start} states {size} bytes, "
                f"and {end - start} are there"
            )
        yield Box(kind, start, body, start + size)
        start += size


def children(data: bytes, box: Box, skip: int = 0) -> dict[bytes, Box]:
    """The first box of each kind in ``box``, whose own fields take ``skip`` bytes."""
    found: dict[bytes, Box] = {}
    for child in boxes(data, box.body + skip, box.end):
        found.setdefault(child.kind, child)
    return found


def needed(found: dict[bytes, Box], kind: bytes) -> Box:
    if kind not in found:
        raise UndecodableRecord(f"mp4: has no box {kind.decode()!r}")
    return found[kind]


def fields(data: bytes, box: Box, layout: str, at: int = 0) -> tuple[int, ...]:
    """Big-endian numbers ``at`` bytes into a box's body, all of them within it."""
    size = struct.calcsize(">" + layout)
    if box.body + at + size > box.end:
        raise UndecodableRecord(f"mp4: the box {box.kind.decode('latin-1')!r} is cut off")
    return struct.unpack_from(">" + layout, data, box.body + at)


def version_and_flags(data: bytes, box: Box) -> tuple[int, int]:
    [word] = fields(data, box, "I")
    return word >> 24, word & 0xFFFFFF


def table(data: bytes, box: Box, row: str, at: int = 4) -> list[tuple[int, ...]]:
    """The rows of a table that begins with their count; at most FRAMES_MAX of them."""
    [count] = fields(data, box, "I", at)
    if count > FRAMES_MAX:
        raise UndecodableRecord(
            f"mp4: the box {box.kind.decode('latin-1')!r} has {count} rows, more than {FRAMES_MAX}"
        )
    size = struct.calcsize(">" + row)
    first = box.body + at + 4
    if first + count * size > box.end:
        raise UndecodableRecord(f"mp4: the box {box.kind.decode('latin-1')!r} is cut off")
    return list(struct.iter_unpack(">" + row, data[first : first + count * size]))
