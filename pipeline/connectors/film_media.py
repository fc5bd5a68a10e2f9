"""Sound and pictures out of films and of sound files that libsndfile cannot read, by PyAV.

Times are the film's own timestamps, relative to where the film begins, so sound and pictures
that are read apart stay together. Decoding goes frame by frame: a film is never in memory.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline.connectors.files import PILLOW_FORMATS, Pictures, Piece, SourceKind
from pipeline.connectors.sound_file import Run, Samples, unreadable

# Containers round timestamps to a millisecond or so; what differs by more is a real gap.
GAP_US = 50_000
JPEG_QUALITY = 95


def kinds_of(path: Path) -> list[SourceKind]:
    """What a film holds that can be published: sound, pictures or both; raises InvalidInput."""
    with opened(path) as container:
        kinds: list[SourceKind] = []
        if container.streams.audio:
            kinds.append("audio")
        if picture_stream(container) is not None:
            kinds.append("image")
    if not kinds:
        raise unreadable(path, "it holds neither sound nor pictures")
    return kinds


def length_us(path: Path) -> int:
    """How long it plays: as its header says, else to the end of its last packet."""
    with opened(path) as container:
        if container.duration and not _guessed(container):
            return max(1, int(container.duration))
        begin_us = origin_us(container)
        end_us = 0
        with reading(path):
            for packet in container.demux():
                if packet.pts is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    end_us = max(end_us, round(end * 1_000_000) - begin_us)
    if end_us <= 0:
        raise unreadable(path, "it holds no samples")
    return end_us


class Sound:
    """The sound of a film or a sound file as float32 at its own rate.

    Invariant: a run holds every sample between its first and its last, and a new run begins
    where the timestamps leave the count of the samples by more than GAP_US.
    """

    def __init__(self, path: Path, container: Any) -> None:
        self._path = path
        self._container = container
        stream = container.streams.audio[0]
        stream.thread_type = "AUTO"
        self._stream = stream
        self._origin_us = origin_us(container)
        self._ahead: tuple[int, Samples] | None = None
        self.samplerate: int = stream.rate
        self.channels: int = stream.layout.nb_channels

    def runs(self) -> Iterator[Run]:
        """Each run's blocks are to be read to their end before the next run is asked for."""
        frames = self._frames()
        self._ahead = next(frames, None)
        while self._ahead is not None:
            yield Run(self._ahead[0], self._run(frames))

    def _run(self, frames: Iterator[tuple[int, Samples]]) -> Iterator[Samples]:
        assert self._ahead is not None
        began_us, count = self._ahead[0], 0
        while self._ahead is not None:
            at_us, block = self._ahead
            if abs(at_us - began_us - count * 1_000_000 // self.samplerate) > GAP_US:
                return
            count += len(block)
            self._ahead = next(frames, None)
            yield block

    def _frames(self) -> Iterator[tuple[int, Samples]]:
        import av

        packed = av.AudioResampler(format="flt", layout=self._stream.layout)
        next_us = 0
        with reading(self._path):
            for frame in self._container.decode(self._stream):
                at_us = next_us
                if frame.pts is not None:
                    at_us = round(frame.pts * frame.time_base * 1_000_000) - self._origin_us
                for plain in packed.resample(frame):
                    block: Samples = plain.to_ndarray().reshape(-1, self.channels)
                    early = -(at_us * self.samplerate // 1_000_000) if at_us < 0 else 0
                    if early < len(block):
                        yield max(0, at_us), block[early:]
                    at_us += len(block) * 1_000_000 // self.samplerate
                next_us = at_us


@contextmanager
def sound_of(path: Path) -> Iterator[Sound]:
    """The sound, to be read once; raises InvalidInput where there is none."""
    with opened(path) as container:
        if not container.streams.audio:
            raise unreadable(path, "it holds no sound")
        yield Sound(path, container)


def picture_pieces(path: Path, content_type: str, pictures: Pictures) -> Iterator[Piece]:
    """The first picture in each tick of ``pictures.fps``, at its own time, until the tick ends."""
    with opened(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise unreadable(path, "it holds no pictures")
        stream.thread_type = "AUTO"
        begin_us = origin_us(container)
        taker = PictureTaker(content_type, pictures)
        with reading(path):
            for frame in container.decode(stream):
                if frame.pts is None:
                    continue
                at_us = max(0, round(frame.pts * frame.time_base * 1_000_000) - begin_us)
                yield from taker.feed(frame, at_us)


class PictureTaker:
    """Takes the first picture in each tick of ``pictures.fps``, counted from time 0.

    Invariant: the ticks of what is taken rise, so no picture of a tick is taken twice and none
    overlaps another, whatever the times of the frames do.
    """

    def __init__(self, content_type: str, pictures: Pictures) -> None:
        self._content_type = content_type
        self._pictures = pictures
        self._tick = -1

    def feed(self, frame: Any, at_us: int) -> Iterator[Piece]:
        tick = int(at_us * self._pictures.fps // 1_000_000)
        if tick <= self._tick:
            return
        self._tick = tick
        end_us = max(at_us + 1, int((tick + 1) * 1_000_000 / self._pictures.fps))
        payload = _encoded(frame, self._content_type, self._pictures.width_max)
        yield Piece(at_us, end_us, at_us, self._content_type, payload, end_us - at_us)


def _encoded(frame: Any, content_type: str, width_max: int | None) -> bytes:
    """One picture as it is shown: turned as the film says, scaled down where it is wider."""
    turn = getattr(frame, "rotation", 0) or 0
    width, height = frame.width, frame.height
    shown = height if turn % 180 else width
    if width_max is not None and shown > width_max:
        factor = Fraction(width_max, shown)
        width, height = (max(1, round(side * factor)) for side in (width, height))
    image = frame.to_image(width=width, height=height)
    if turn:
        image = image.rotate(turn, expand=True)
    out = io.BytesIO()
    image.save(out, PILLOW_FORMATS[content_type], quality=JPEG_QUALITY)
    return out.getvalue()


def picture_stream(container: Any) -> Any:
    """The first stream of moving pictures: the cover of a sound file is none."""
    import av

    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover), None)


def origin_us(container: Any) -> int:
    return int(container.start_time or 0)


def _guessed(container: Any) -> bool:
    """Raw AAC has no header that states a length: FFmpeg guesses it from the bit rate."""
    return str(container.format.name) == "aac"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    import av

    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unreadable(path, f"it cannot be read as a film or sound ({_reason(error)})") from None
    with container:
        yield container


@contextmanager
def reading(path: Path) -> Iterator[None]:
    import av

    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        raise unreadable(path, f"it is damaged ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip(" .")
