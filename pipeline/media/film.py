"""What the header of a moving picture says: its codec, its dimensions, and each frame's place.

``Film`` is all that decoding proper needs, so nothing is demuxed twice: the frames that come
out are those that ingest has counted, at the times that it has placed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import UndecodableRecord

FRAMES_MAX = 36_000  # of a record: ten minutes at 60 frames a second


class Sample(NamedTuple):
    """One frame's bytes in the payload, ``[start, start + size)``, and when it is shown.

    ``at_us`` and ``end_us`` count from the first frame that is shown; an edit list may hide a
    frame that others need for their decoding. ``key``: decoding may begin here.
    """

    start: int
    size: int
    at_us: int
    end_us: int
    key: bool
    shown: bool = True


class Film(NamedTuple):
    """``samples`` stand in decoding order; ``decoder`` is FFmpeg's name of the codec.

    ``width``, ``height``: of the frames as they are decoded, which are then turned by ``turn``
    degrees counter-clockwise. ``duration_us``: to the last frame's end; 0 where nothing says.
    """

    decoder: str
    width: int
    height: int
    samples: Sequence[Sample]
    duration_us: int
    extradata: bytes = b""
    turn: int = 0


def shown_frames(samples: Sequence[Sample]) -> list[int]:
    """The numbers (in decoding order) of the frames that are shown, in the order they are."""
    shown = [number for number, sample in enumerate(samples) if sample.shown]
    return sorted(shown, key=lambda number: (samples[number].at_us, number))


def microseconds(ticks: int, ticks_per_second: int) -> int:
    """To the nearest, halves down.

    Of a film that is cut into records, each record's own event time is rounded too: to the
    nearest both, a frame that begins exactly at a window's start begins there in any cut, and
    a third of a microsecond before it in none (30 frames a second, records of 7 frames).
    """
    return (2 * ticks * 1_000_000 + ticks_per_second - 1) // (2 * ticks_per_second)


def read_film(form: str, payload: bytes | memoryview, span_us: int = 0) -> Film:
    """A payload of format ``mp4`` or ``h264``; raises UndecodableRecord and nothing else.

    ``span_us``: how long it lasts where it does not say so itself; with 0 all its frames are
    shown at once, for a microsecond.
    """
    from pipeline.media.h264 import read_h264
    from pipeline.media.mp4 import read_mp4

    return read_mp4(payload) if form == "mp4" else read_h264(payload, span_us)


def too_many_frames(form: str, count: int) -> UndecodableRecord:
    return UndecodableRecord(
        f"{form}: {count} frames are more than the {FRAMES_MAX} that a record may hold; "
        "send shorter records"
    )
