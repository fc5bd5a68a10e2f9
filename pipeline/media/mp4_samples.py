"""Where an MP4 track's frames lie and when each is shown: sample tables and movie fragments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.film import FRAMES_MAX, too_many_frames
from pipeline.media.mp4_boxes import (
    Box,
    boxes,
    children,
    fields,
    needed,
    table,
    version_and_flags,
)

_NOT_KEY = 0x10000  # sample_is_non_sync_sample (ISO/IEC 14496-12 8.8.3.1)


class RawSample(NamedTuple):
    """A frame's bytes, its composition time and its length, both in ticks of the track."""

    start: int
    size: int
    shown_at: int
    length: int
    key: bool
    decoded_at: int


def sample_tables(data: bytes, stbl: Box) -> list[RawSample]:
    """The samples that a moov lists (8.6, 8.7), in decoding order; none in an init segment."""
    parts = children(data, stbl)
    stsz = needed(parts, b"stsz")
    same, count = fields(data, stsz, "II", 4)
    if count == 0:
        return []
    if count > FRAMES_MAX:
        raise too_many_frames("mp4", count)
    sizes = [same] * count if same else [size for (size,) in table(data, stsz, "I", 8)]
    lengths = _expanded(table(data, needed(parts, b"stts"), "II"), count, "stts")
    delays = [0] * count
    if b"ctts" in parts:
        delays = _expanded(table(data, parts[b"ctts"], "Ii"), count, "ctts")
    keys: set[int] | None = None
    if b"stss" in parts:
        keys = {number - 1 for (number,) in table(data, parts[b"stss"], "I")}
    samples: list[RawSample] = []
    at = 0
    for number, start in zip(range(count), _starts(data, parts, sizes), strict=True):
        key = keys is None or number in keys
        delay, length = delays[number], lengths[number]
        samples.append(RawSample(start, sizes[number], at + delay, length, key, at))
        at += length
    return samples


def _expanded(rows: Sequence[tuple[int, ...]], count: int, name: str) -> list[int]:
    """Each row's number as often as the row says."""
    if sum(times for times, _ in rows) != count:
        raise UndecodableRecord(f"mp4: its {name} is not about {count} frames")
    return [number for times, number in rows for _ in range(times)]


def _starts(data: bytes, parts: dict[bytes, Box], sizes: Sequence[int]) -> Iterator[int]:
    """Where each sample begins: in chunk after chunk, one after another (8.7.4, 8.7.5)."""
    wide = b"co64" in parts
    chunks = table(data, needed(parts, b"co64" if wide else b"stco"), "Q" if wide else "I")
    runs = table(data, needed(parts, b"stsc"), "III")
    sample, run = 0, -1
    for number, (start,) in enumerate(chunks, 1):
        while run + 1 < len(runs) and runs[run + 1][0] <= number:
            run += 1
        if run < 0:
            break
        for _ in range(min(runs[run][1], len(sizes) - sample)):
            yield start
            start += sizes[sample]
            sample += 1
    if sample < len(sizes):
        raise UndecodableRecord(f"mp4: its chunks hold {sample} of {len(sizes)} frames")


def fragment_samples(
    data: bytes, moov: Box, moofs: Sequence[Box], track: int, before: Sequence[RawSample]
) -> list[RawSample]:
    """The samples of the track's fragments (8.8), after those that the moov lists."""
    defaults = _defaults(data, moov, track)
    at = before[-1].decoded_at + before[-1].length if before else 0
    samples: list[RawSample] = []
    for moof in moofs:
        data_end = moof.start  # without an offset a track fragment's data follows the one before
        for traf in boxes(data, moof.body, moof.end):
            if traf.kind != b"traf":
                continue
            parts = children(data, traf)
            head = _TrackFragment(data, needed(parts, b"tfhd"), defaults, moof.start, data_end)
            if head.track != track:
                data_end = _end_of(data, traf, head)
                continue
            if b"tfdt" in parts:
                version, _ = version_and_flags(data, parts[b"tfdt"])
                [at] = fields(data, parts[b"tfdt"], "Q" if version else "I", 4)
            start = head.base
            for trun in boxes(data, traf.body, traf.end):
                if trun.kind != b"trun":
                    continue
                start, at = _run(data, trun, head, start, at, samples)
                if len(before) + len(samples) > FRAMES_MAX:
                    raise too_many_frames("mp4", len(before) + len(samples))
            data_end = start
    return samples


def _defaults(data: bytes, moov: Box, track: int) -> tuple[int, int, int]:
    """Length, size and flags of a sample where its fragment does not say (8.8.3)."""
    mvex = children(data, moov).get(b"mvex")
    for box in boxes(data, mvex.body, mvex.end) if mvex is not None else ():
        if box.kind == b"trex":
            number, _, length, size, flags = fields(data, box, "5I", 4)
            if number == track:
                return length, size, flags
    return 0, 0, 0


class _TrackFragment:
    """What the header of a track fragment says of all its samples (8.8.7)."""

    def __init__(
        self, data: bytes, tfhd: Box, defaults: tuple[int, int, int], moof: int, data_end: int
    ) -> None:
        _, flags = version_and_flags(data, tfhd)
        [self.track] = fields(data, tfhd, "I", 4)
        at = 8
        self.base = moof if flags & 0x20000 else data_end
        self.length, self.size, self.flags = defaults
        if flags & 0x1:
            [self.base] = fields(data, tfhd, "Q", at)
            at += 8
        if flags & 0x2:
            at += 4
        if flags & 0x8:
            [self.length] = fields(data, tfhd, "I", at)
            at += 4
        if flags & 0x10:
            [self.size] = fields(data, tfhd, "I", at)
            at += 4
        if flags & 0x20:
            [self.flags] = fields(data, tfhd, "I", at)
        self.origin = self.base


def _end_of(data: bytes, traf: Box, head: _TrackFragment) -> int:
    """Where the data of a track fragment ends whose samples are not wanted."""
    start = head.base
    for trun in boxes(data, traf.body, traf.end):
        if trun.kind == b"trun":
            start, _ = _run(data, trun, head, start, 0, [])
    return start


def _run(
    data: bytes, trun: Box, head: _TrackFragment, start: int, at: int, into: list[RawSample]
) -> tuple[int, int]:
    """Adds the samples of a run (8.8.8); gives where its data ends and the time after it."""
    version, flags = version_and_flags(data, trun)
    [count] = fields(data, trun, "I", 4)
    if count > FRAMES_MAX:
        raise too_many_frames("mp4", count)
    offset = 8
    if flags & 0x1:
        [relative] = fields(data, trun, "i", offset)
        start = head.origin + relative
        offset += 4
    first_flags = None
    if flags & 0x4:
        [first_flags] = fields(data, trun, "I", offset)
        offset += 4
    given = [flags & bit != 0 for bit in (0x100, 0x200, 0x400, 0x800)]
    row = "".join("i" if bit == 3 and version else "I" for bit in range(4) if given[bit])
    numbers = fields(data, trun, row * count, offset)
    width = len(row)
    for sample in range(count):
        values = iter(numbers[sample * width : (sample + 1) * width])
        length = next(values) if given[0] else head.length
        size = next(values) if given[1] else head.size
        own = next(values) if given[2] else head.flags
        delay = next(values) if given[3] else 0
        if sample == 0 and first_flags is not None:
            own = first_flags
        into.append(RawSample(start, size, at + delay, length, own & _NOT_KEY == 0, at))
        start += size
        at += length
    return start, at
