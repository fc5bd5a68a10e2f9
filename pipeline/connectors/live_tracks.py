"""The streams of a live source as records: each packet goes in as it comes.

A track is one kind of one source on its way to one topic, over all its connections. Records are
cut as those of files are, by the same classes; times are event times from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from pipeline.connectors.files import FileRecord, Pictures, Piece, SourceKind, Target
from pipeline.connectors.film_media import GAP_US, PictureTaker
from pipeline.connectors.film_remux import FilmCutter
from pipeline.connectors.sound_cutter import SoundCutter, audio_form
from pipeline.connectors.sound_file import Samples
from pipeline.errors import InvalidInput

FILM_BYTES_MAX = 32 << 20  # what a record may have by default (limits.record_bytes)


class Wanted(NamedTuple):
    """What is to be published of a source: one kind, where to, as which stream, how cut."""

    kind: SourceKind
    target: Target
    stream: str
    chunk_us: int
    pictures: Pictures


Clocked = Callable[[int], int]  # a time of the source, in microseconds, as an event time


class Decoding(Protocol):
    """What a connection makes of the packets of one of its streams."""

    def feed(self, packet: Any, clocked: Clocked) -> Iterator[Piece]: ...

    def end(self) -> Iterator[Piece]: ...


class Track:
    """Numbers the records of one stream on one topic and keeps them apart in time.

    Invariant: no record begins before the one before it has ended, and sequence numbers rise by
    one, over all connections. What a source sends again after a reconnection is left out
    (``repeated``), sound to the sample; what cannot be read is counted in ``damaged``, with the
    last reason in ``damage``.
    """

    def __init__(self, wanted: Wanted, source: str) -> None:
        self.wanted = wanted
        self.repeated = 0
        self.damaged = 0
        self.damage = ""
        self._source = source
        self._sequence = 0
        self._end_us: int | None = None
        self._decoding: Decoding | None = None

    def open(self, stream: Any, name: str) -> None:
        """For a new connection; raises InvalidInput where the stream cannot go to the target."""
        wanted = self.wanted
        content_type = wanted.target.content_type
        if wanted.kind == "audio":
            form = audio_form(content_type, stream.rate, stream.layout.nb_channels)
            sound = SoundCutter(stream.rate, form, wanted.chunk_us)
            self._decoding = LiveSound(stream, sound, self.earliest)
            return
        content_type = content_type or wanted.pictures.content_type
        if content_type.startswith("video/"):
            cutter = FilmCutter(name, stream, content_type, wanted.chunk_us, FILM_BYTES_MAX)
            self._decoding = LiveFilm(cutter)
        else:
            self._decoding = LivePictures(stream, PictureTaker(content_type, wanted.pictures))

    def earliest(self) -> int | None:
        """The first moment that is not yet in a record."""
        return self._end_us

    def feed(self, packet: Any, clocked: Clocked) -> Iterator[FileRecord]:
        """The records that a packet completes; one that cannot be decoded is counted."""
        assert self._decoding is not None
        yield from self._records(self._decoding.feed(packet, clocked))

    def flush(self) -> Iterator[FileRecord]:
        """What is held, where the source has leapt or its connection ended."""
        if self._decoding is not None:
            yield from self._records(self._decoding.end())

    def _records(self, pieces: Iterator[Piece]) -> Iterator[FileRecord]:
        import av

        try:
            for piece in pieces:
                if self._end_us is not None and piece.at_us < self._end_us:
                    self.repeated += 1
                    continue
                self._end_us = piece.end_us
                yield self._record(piece)
                self._sequence += 1
        except (av.FFmpegError, InvalidInput) as error:
            # a packet was lost on its way: the next key frame, or block of sound, is whole again
            self.damaged += 1
            self.damage = str(getattr(error, "strerror", None) or error)

    def _record(self, piece: Piece) -> FileRecord:
        return FileRecord(
            due_us=piece.due_us,
            ts_us=piece.at_us,
            end_us=piece.end_us,
            target=self.wanted.target,
            stream=self.wanted.stream,
            sequence=self._sequence,
            content_type=piece.content_type,
            payload=piece.payload,
            mediadur_us=piece.mediadur_us,
            source=self._source,
        )


class LiveSound:
    """Packets of sound; a gap in their times over GAP_US ends a run, as in files."""

    def __init__(
        self, stream: Any, cutter: SoundCutter, earliest: Callable[[], int | None]
    ) -> None:
        import av

        self._stream, self._cutter, self._earliest = stream, cutter, earliest
        self._packed = av.AudioResampler(format="flt", layout=stream.layout)
        self._next_us: int | None = None  # where the run ends so far
        self._began_us, self._count = 0, 0

    def feed(self, packet: Any, clocked: Clocked) -> Iterator[Piece]:
        rate, channels = self._stream.rate, self._stream.layout.nb_channels
        for frame in self._stream.decode(packet):
            at_us = self._next_us
            if frame.pts is not None:
                at_us = clocked(round(frame.pts * frame.time_base * 1_000_000))
            if at_us is None:
                continue  # nothing says when
            for plain in self._packed.resample(frame):
                block: Samples = plain.to_ndarray().reshape(-1, channels)
                yield from self._place(at_us, block, rate)
                at_us += len(block) * 1_000_000 // rate

    def end(self) -> Iterator[Piece]:
        if self._next_us is not None:
            self._next_us = None
            yield from self._cutter.end()

    def _place(self, at_us: int, block: Samples, rate: int) -> Iterator[Piece]:
        if self._next_us is not None and abs(at_us - self._next_us) > GAP_US:
            yield from self.end()
        if self._next_us is None:
            earliest_us = self._earliest()
            if earliest_us is not None and at_us < earliest_us:
                early = -(-(earliest_us - at_us) * rate // 1_000_000)
                block, at_us = block[early:], at_us + early * 1_000_000 // rate
            if not len(block):
                return
            # one block may end within the microsecond in which the next begins
            self._began_us = at_us if earliest_us is None else max(at_us, earliest_us)
            self._count = 0
            self._cutter.begin(self._began_us)
        self._count += len(block)
        self._next_us = self._began_us + self._count * 1_000_000 // rate
        yield from self._cutter.feed(block)


class LivePictures:
    """Pictures out of a stream, the first of each tick of event time."""

    def __init__(self, stream: Any, taker: PictureTaker) -> None:
        # decoding frames side by side would hold back as many of them as there are threads
        stream.thread_type = "SLICE"
        self._stream, self._taker = stream, taker

    def feed(self, packet: Any, clocked: Clocked) -> Iterator[Piece]:
        for frame in self._stream.decode(packet):
            if frame.pts is not None:
                at_us = clocked(round(frame.pts * frame.time_base * 1_000_000))
                yield from self._taker.feed(frame, at_us)

    def end(self) -> Iterator[Piece]:
        return iter(())


class LiveFilm:
    """Pictures as they are, cut at key frames; a record is placed by its first frame."""

    def __init__(self, cutter: FilmCutter) -> None:
        self._cutter = cutter
        self._clocked: Clocked | None = None

    def feed(self, packet: Any, clocked: Clocked) -> Iterator[Piece]:
        if packet.pts is not None:  # RTSP's first one has none until the sender has said its time
            self._clocked = clocked
            yield from map(self._placed, self._cutter.feed(packet))

    def end(self) -> Iterator[Piece]:
        yield from map(self._placed, self._cutter.end())

    def _placed(self, piece: Piece) -> Piece:
        assert self._clocked is not None
        at_us = self._clocked(piece.at_us)
        end_us = at_us + piece.end_us - piece.at_us
        return piece._replace(at_us=at_us, end_us=end_us, due_us=end_us)
