"""The frames of a batch's windows: which of them an encoder looks at, decoded once for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.batching.batch import RecordId, StageJob
from pipeline.encoders.base import Clip
from pipeline.encoders.image import evenly_spread
from pipeline.encoders.quiet import QUIET
from pipeline.media.film import Film, read_film, shown_frames
from pipeline.media.film_decode import Decoded, FrameSize, decode_film, scaled_size
from pipeline.record import MediaRecord

Picture = NDArray[np.uint8]
PICTURES_BYTES_MAX = 1 << 30  # of the films of one encode call, as RGB


class FrameWish(NamedTuple):
    """What an encoder says of the frames it wants (``pipeline.encoders.base.Encoder``)."""

    frames_max: int | None = None
    size: FrameSize | None = None


def wish_of(encoder: Any) -> FrameWish:
    return FrameWish(getattr(encoder, "frames_max", None), getattr(encoder, "frame_size", None))


class Frame(NamedTuple):
    """One frame of a window: a picture that is there, or number ``number`` of a film.

    The first four fields are the order: by time, then by order in ``of``, then by offset.
    """

    at_us: int
    place: int
    offset: int
    number: int
    end_us: int
    film: RecordId | None = None
    picture: Picture | None = None


@dataclass(slots=True)
class WindowFrames:
    """The frames of one clip; those of ``picked`` become pictures.

    Invariant: what is picked hangs on this window's own frames, those left out that cannot be
    decoded, and on no other window of the batch.
    """

    clip: Clip
    frames: list[Frame]
    frames_max: int | None
    picked: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frames.sort(key=lambda frame: frame[:4])
        self.pick()

    def pick(self) -> None:
        """All; or of the window, and of what context brought before and after it, so many."""
        most = self.frames_max
        if most is None:
            self.picked = self.frames
            return
        start_us, end_us = self.clip.start_us, self.clip.end_us
        before = [frame for frame in self.frames if frame.end_us <= start_us]
        after = [frame for frame in self.frames if frame.at_us >= end_us]
        within = [f for f in self.frames if f.at_us < end_us and f.end_us > start_us]
        self.picked = [
            frame for part in (before, within, after) for frame in evenly_spread(part, most)
        ]


class Films:
    """The films of one batch; each is decoded once, however many windows hold it.

    It is decoded a second time only where frames of it that were picked turned out spoiled.
    """

    def __init__(self, size: FrameSize | None) -> None:
        self._size = size
        self._films: dict[RecordId, tuple[MediaRecord, Film]] = {}
        self._wanted: dict[RecordId, set[int]] = {}
        self._last: dict[RecordId, int] = {}
        self._decoded: dict[RecordId, Decoded] = {}
        self._lent: set[tuple[RecordId, int]] = set()

    def frames(
        self, name: RecordId, record: MediaRecord, place: int, low_us: int, high_us: int
    ) -> list[Frame]:
        """Those that overlap ``[low_us, high_us)``; raises UndecodableRecord."""
        if name not in self._films:
            span_us = record.end_us - record.ts_us
            film = read_film(record.facts.format, record.payload, span_us)
            self._films[name] = record, film
        film = self._films[name][1]
        found = []
        for number in shown_frames(film.samples):
            sample = film.samples[number]
            at_us, end_us = record.ts_us + sample.at_us, record.ts_us + sample.end_us
            if at_us < high_us and end_us > low_us:
                found.append(Frame(at_us, place, record.log.offset, number, end_us, name))
        return found

    def settle(self, windows: Sequence[WindowFrames]) -> list[dict[RecordId, str]]:
        """Decodes what the windows have picked, picks anew where frames are spoiled, and gives,
        for each window, the films of which nothing is left in it, and why."""
        lost: list[dict[RecordId, str]] = [{} for _ in windows]
        pending = list(range(len(windows)))
        while pending:
            for place in pending:
                self._want(windows[place])
            self._decode()
            pending = [n for n in pending if self._without_spoiled(windows[n], lost[n])]
        return lost

    def picture(self, frame: Frame) -> Picture:
        """Of a picked frame: the decoded one for the first window that asks, then copies."""
        assert frame.film is not None
        picture = self._decoded[frame.film].pictures[frame.number]
        if (frame.film, frame.number) in self._lent:
            return picture.copy()
        self._lent.add((frame.film, frame.number))
        return picture

    def _want(self, window: WindowFrames) -> None:
        for frame in window.frames:
            if frame.film is not None:
                self._last[frame.film] = max(self._last.get(frame.film, 0), frame.number)
        for frame in window.picked:
            if frame.film is not None:
                self._wanted.setdefault(frame.film, set()).add(frame.number)

    def _decode(self) -> None:
        for name, wanted in self._wanted.items():
            before = self._decoded.get(name)
            if before is not None and wanted <= before.pictures.keys() | before.spoiled:
                continue
            record, film = self._films[name]
            with QUIET:
                found = decode_film(film, record.payload, wanted, self._last[name], self._size)
            self._decoded[name] = found

    def _without_spoiled(self, window: WindowFrames, lost: dict[RecordId, str]) -> bool:
        """Leaves spoiled frames out of the window; whether there were any."""
        sound = [f for f in window.frames if f.film is None or not self._is_spoiled(f)]
        if len(sound) == len(window.frames):
            return False
        left = {frame.film for frame in sound}
        for frame in window.frames:
            if frame.film is not None and frame.film not in left:
                lost[frame.film] = self._decoded[frame.film].error
        window.frames = sound
        window.pick()
        return True

    def _is_spoiled(self, frame: Frame) -> bool:
        assert frame.film is not None
        found = self._decoded.get(frame.film)
        return found is not None and frame.number in found.spoiled


def portions(
    jobs: Sequence[StageJob], before_us: int, after_us: int, wish: FrameWish
) -> Iterator[Sequence[StageJob]]:
    """The jobs in order, in as many pieces as keep the pictures of films within bounds."""
    first, held = 0, 0
    for place, job in enumerate(jobs):
        size = film_bytes(job, before_us, after_us, wish)
        if held + size > PICTURES_BYTES_MAX and place > first:
            yield jobs[first:place]
            first, held = place, 0
        held += size
    yield jobs[first:]


def film_bytes(job: StageJob, before_us: int, after_us: int, wish: FrameWish) -> int:
    """At most so many bytes the pictures of a job's films take."""
    low_us, high_us = job.start_us - before_us, job.end_us + after_us
    frames, largest = 0, 0
    for record in job.records:
        facts = record.facts
        if facts.kind != "video" or record.ts_us >= high_us or record.end_us <= low_us:
            continue
        shown_us = min(high_us, record.end_us) - max(low_us, record.ts_us)
        span_us = record.end_us - record.ts_us
        frames += min(facts.frames, facts.frames * shown_us // span_us + 2)
        width, height = scaled_size(facts.width, facts.height, wish.size)
        largest = max(largest, width * height * 3)
    if wish.frames_max is not None:
        frames = min(frames, 3 * wish.frames_max)
    return frames * largest


def too_many_pictures(size: int) -> str | None:
    """Why the films of one window are too many to be made pictures; None where they are not."""
    if size <= PICTURES_BYTES_MAX:
        return None
    return (
        f"the frames of its window would take {size >> 20} MiB as RGB, more than "
        f"{PICTURES_BYTES_MAX >> 20} MiB; state frames_max or frame_size on the encoder, or take "
        "shorter windows"
    )
