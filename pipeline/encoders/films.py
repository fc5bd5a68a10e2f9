"""The films of a batch: headers read once, frames decoded once for all windows that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from pipeline.batching.batch import RecordId
from pipeline.encoders.decode_pool import DecodePool
from pipeline.encoders.frames import Frame, Picture, WindowFrames
from pipeline.encoders.lender import Lender
from pipeline.encoders.quiet import QUIET
from pipeline.media.film import Film, read_film, shown_frames
from pipeline.media.film_decode import Decoded, FrameSize, decode_film
from pipeline.record import MediaRecord


class Films:
    """Each is decoded once, in a thread of the pool, side by side with the others.

    It is decoded a second time only where frames of it that were picked turned out spoiled.
    """

    def __init__(
        self, size: FrameSize | None, pool: DecodePool, lender: Lender, decode_time_us: int
    ) -> None:
        self._size = size
        self._pool = pool
        self._lender = lender
        self._decode_time_us = decode_time_us
        self._films: dict[RecordId, tuple[MediaRecord, Film]] = {}
        self._shown: dict[RecordId, list[tuple[int, int, int]]] = {}  # number, from, to
        self._wanted: dict[RecordId, set[int]] = {}
        self._last: dict[RecordId, int] = {}
        self._decoded: dict[RecordId, Future[Decoded]] = {}

    def frames(
        self, name: RecordId, record: MediaRecord, place: int, low_us: int, high_us: int
    ) -> list[Frame]:
        """Those that overlap ``[low_us, high_us)``; raises UndecodableRecord."""
        if name not in self._films:
            span_us = record.end_us - record.ts_us
            film = read_film(record.facts.format, record.payload, span_us)
            self._films[name] = record, film
            self._shown[name] = [
                (number, record.ts_us + sample.at_us, record.ts_us + sample.end_us)
                for number in shown_frames(film.samples)
                for sample in (film.samples[number],)
            ]
        return [
            Frame(at_us, place, record.log.offset, number, end_us, name)
            for number, at_us, end_us in self._shown[name]
            if at_us < high_us and end_us > low_us
        ]

    def begin(self, windows: Sequence[WindowFrames]) -> None:
        """Starts decoding what they have picked."""
        for window in windows:
            self._want(window)
        for name, wanted in self._wanted.items():
            if not self._is_there(name):
                work = partial(self._decode, name, frozenset(wanted), self._last[name])
                self._decoded[name] = self._pool.submit(work)

    def settle(self, windows: Sequence[WindowFrames]) -> list[dict[RecordId, str]]:
        """Decodes what the windows have picked, picks anew where frames are spoiled, and gives,
        for each window, the films of which nothing is left in it, and why."""
        lost: list[dict[RecordId, str]] = [{} for _ in windows]
        pending = list(range(len(windows)))
        while pending:
            self.begin([windows[place] for place in pending])
            pending = [n for n in pending if self._without_spoiled(windows[n], lost[n])]
        return lost

    def picture(self, frame: Frame) -> Picture:
        """Of a picked frame, for one clip alone."""
        assert frame.film is not None
        picture = self._decoded[frame.film].result().pictures[frame.number]
        return self._lender.own((frame.film, frame.number), picture)

    def _want(self, window: WindowFrames) -> None:
        for frame in window.frames:
            if frame.film is not None:
                self._last[frame.film] = max(self._last.get(frame.film, 0), frame.number)
        for frame in window.picked:
            if frame.film is not None:
                self._wanted.setdefault(frame.film, set()).add(frame.number)

    def _is_there(self, name: RecordId) -> bool:
        decoded = self._decoded.get(name)
        if decoded is None:
            return False
        found = decoded.result()
        return self._wanted[name] <= found.pictures.keys() | found.spoiled

    def _decode(self, name: RecordId, wanted: frozenset[int], last: int) -> Decoded:
        record, film = self._films[name]
        limit = self._pool.limit(self._decode_time_us)
        with QUIET:
            return decode_film(film, record.payload, wanted, last, self._size, limit)

    def _without_spoiled(self, window: WindowFrames, lost: dict[RecordId, str]) -> bool:
        """Leaves spoiled frames out of the window; whether there were any."""
        sound = []
        for frame in window.frames:
            decoded = self._decoded.get(frame.film) if frame.film is not None else None
            if decoded is None or frame.number not in decoded.result().spoiled:
                sound.append(frame)
            elif frame.film is not None and decoded.result().timed_out(frame.number):
                window.timed_out.add(frame.film)
        if len(sound) == len(window.frames):
            return False
        left = {frame.film for frame in sound}
        for frame in window.frames:
            if frame.film is not None and frame.film not in left:
                lost[frame.film] = self._decoded[frame.film].result().error
        window.frames = sound
        window.pick()
        return True
