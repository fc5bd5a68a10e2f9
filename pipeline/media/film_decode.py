"""Decoding proper of moving pictures, by FFmpeg's decoders alone: no demuxer, no file, no network.

The header reader has said where each frame lies, so a decoder is named, not guessed, is fed
those bytes and nothing else, and may make no frame larger than the header says.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.media.film import Film
from pipeline.media.time_limit import NO_LIMIT, TimeLimit

if TYPE_CHECKING:
    import av

Picture = NDArray[np.uint8]
FrameSize = int | tuple[int, int]
# Pixels a side that a decoder may allocate beyond the header's: MPEG-4's takes more than it shows.
_ALLOCATED_MORE = 512


class Decoded(NamedTuple):
    """``pictures`` by the frame's number in decoding order; ``spoiled``: frames up to the last
    one that was asked for that did not come out, whether they were wanted or not; ``error`` says
    of the first of them why. From frame ``stopped`` on they did not because the time was up."""

    pictures: dict[int, Picture]
    spoiled: frozenset[int]
    error: str = ""
    stopped: int | None = None

    def timed_out(self, number: int) -> bool:
        return self.stopped is not None and number >= self.stopped


def decode_film(
    film: Film,
    payload: bytes | memoryview,
    wanted: Collection[int],
    last: int,
    size: FrameSize | None = None,
    limit: TimeLimit = NO_LIMIT,
) -> Decoded:
    """The wanted frames as uint8 RGB (height, width, 3), upright, of ``size`` (``scaled_size``).

    ``wanted`` are numbers in decoding order, none above ``last``; the frames from 0 to ``last``
    are decoded, so what becomes of each hangs on those before it and on nothing else. A frame
    that fails, or that the decoder could only patch up, spoils itself and those that are
    decoded after it until the next key frame. Once the time is up no more are decoded: those
    that are left are spoiled. Raises MemoryError only.
    """
    run = _Run(film, payload, frozenset(wanted), size)
    for number in range(last + 1):
        if limit.passed:
            return run.stopped(number, last, limit.told)
        run.feed(number)
    run.drain()
    return run.decoded(last)


def scaled_size(width: int, height: int, size: FrameSize | None) -> tuple[int, int]:
    """Width and height of a picture: as it is; its longest side scaled down to ``size``, its
    shape kept (never up); or exactly ``size`` = (height, width)."""
    if size is None:
        return width, height
    if isinstance(size, tuple):
        return size[1], size[0]
    longest = max(width, height)
    if longest <= size:
        return width, height
    half = longest // 2
    return max(1, (width * size + half) // longest), max(1, (height * size + half) // longest)


class _Run:
    """One pass over a film's samples; the order is feed, feed, ..., drain, decoded."""

    def __init__(
        self,
        film: Film,
        payload: bytes | memoryview,
        wanted: frozenset[int],
        size: FrameSize | None,
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self._film = film
        self._payload = memoryview(payload)
        self._wanted = wanted
        self._size = size
        self._context = _context(film)
        self._reformatter = VideoReformatter()
        self._pictures: dict[int, Picture] = {}
        self._out: set[int] = set()
        self._failed: dict[int, str] = {}
        self._waits_for_key = False

    def feed(self, number: int) -> None:
        import av

        sample = self._film.samples[number]
        if self._waits_for_key:
            if not sample.key:
                return
            self._context.flush_buffers()
            self._waits_for_key = False
        packet = av.Packet(self._payload[sample.start : sample.start + sample.size])
        packet.pts = packet.dts = number
        try:
            frames = self._context.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            # ENOMEM too: FFmpeg gives it for dimensions that make no sense. Python's own passes.
            self._failed[number] = str(getattr(error, "strerror", None) or error)
            self.drain()
            self._waits_for_key = True
            return
        self._take(frames)

    def drain(self) -> None:
        """Takes what the decoder holds back for the sake of order."""
        import av

        if self._waits_for_key:
            return
        try:
            self._take(self._context.decode(None))
        except (av.FFmpegError, ValueError):
            return  # what did not come out is spoiled by that alone

    def stopped(self, number: int, last: int, why: str) -> Decoded:
        """With the frames before ``number``, and none of those that followed."""
        self.drain()
        self._failed.setdefault(number, why)
        return self.decoded(last)._replace(stopped=number)

    def decoded(self, last: int) -> Decoded:
        spoiled = set()
        broken = False
        for number in range(last + 1):
            if self._film.samples[number].key:
                broken = False
            broken = broken or number in self._failed
            if broken or number not in self._out:
                spoiled.add(number)
        kept = {n: each for n, each in self._pictures.items() if n not in spoiled}
        error = ""
        if spoiled:
            first = min(spoiled)
            why = self._failed.get(first, "it does not come out of the decoder")
            error = f"{self._film.decoder}: frame {first} cannot be decoded ({why})"
        return Decoded(kept, frozenset(spoiled), error)

    def _take(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            number = frame.pts
            if number is None or number in self._out:
                continue
            if frame.is_corrupt:
                self._failed[number] = "it is damaged"
                continue
            if frame.width * frame.height > self._film.width * self._film.height:
                self._failed[number] = (
                    f"it has {frame.width} x {frame.height} pixels, its header says "
                    f"{self._film.width} x {self._film.height}"
                )
                continue
            self._out.add(number)
            if number in self._wanted:
                self._pictures[number] = self._picture(frame)

    def _picture(self, frame: av.VideoFrame) -> Picture:
        """Scaled from the decoder's own planes to RGB in one step; averaged where made smaller."""
        turn = self._film.turn
        width, height = frame.width, frame.height
        if turn % 180:
            width, height = height, width
        width, height = scaled_size(width, height, self._size)
        if turn % 180:
            width, height = height, width
        smaller = width < frame.width or height < frame.height
        scaled = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            # swscale has vector code for what it averages to BGR, and none for RGB
            format="bgr24" if smaller else "rgb24",
            interpolation="AREA" if smaller else "BILINEAR",
            threads=1,
        )
        picture = _from_bgr(scaled) if smaller else np.asarray(scaled.to_ndarray(), np.uint8)
        return np.ascontiguousarray(np.rot90(picture, turn // 90)) if turn else picture


def _from_bgr(frame: av.VideoFrame) -> Picture:
    """RGB; by channel, which NumPy does four times faster than by ``[..., ::-1]``."""
    shape, plane = (frame.height, frame.width, 3), frame.planes[0]
    bgr = np.ndarray(shape, np.uint8, plane, strides=(plane.line_size, 3, 1))
    rgb = np.empty(shape, np.uint8)
    for channel in range(3):
        rgb[..., channel] = bgr[..., 2 - channel]
    return rgb


def _context(film: Film) -> Any:
    """A decoder of one thread: frame threads would hold frames back, and replicas are many.

    ``strict``: an H.264 stream that does not say how far it reorders is held to the most, so
    that no frame comes too late to be shown.
    """
    import av

    context: Any = av.CodecContext.create(film.decoder, "r")
    context.thread_type = "NONE"
    context.thread_count = 1
    pixels = (film.width + _ALLOCATED_MORE) * (film.height + _ALLOCATED_MORE)
    context.options = {"max_pixels": str(pixels), "strict": "strict"}
    if film.extradata:
        context.extradata = film.extradata
    return context
