"""Files as sources of ``motet publish``: which files, what kind each is, and when each plays.

A *timeline* is one stream on one topic: its files lie one after another in event time, and
every timeline begins at the same moment, so a film's sound and its pictures stay together.
``merge`` gives the records of all timelines in the order in which live producers would have
sent them: audio when its last sample is there, an image or a text when it is taken.

Nothing here knows Kafka or the wall clock; ``pipeline.connectors.publish`` sends.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.connectors.live import is_live
from pipeline.errors import InvalidInput, Problem, not_utf8

SourceKind = Literal["audio", "image", "text", "video"]

AUDIO_TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
}
IMAGE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
TEXT_TYPES = {".txt": "text/plain"}
FILM_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}
PILLOW_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
# What libsndfile does not read, or not to the sample.
BY_FFMPEG = frozenset({"audio/mp4", "audio/aac", *FILM_TYPES.values()})
TAKEN = (
    "mp4, mov, mkv, webm, wav, flac, ogg, opus, mp3, m4a, aac, jpg, png, webp and txt files, "
    "and folders of them"
)
STREAM_FIELDS = ("{stem}", "{name}", "{folder}")


class SourceFile(NamedTuple):
    """A file that can be published; ``content_type`` is what its bytes are.

    A film is two of them, its sound and its pictures: its ``kind`` is ``video`` until
    ``parts`` has looked what it holds. A live source is like a film; ``label`` is its name.
    """

    path: Path
    kind: SourceKind
    content_type: str
    label: str = ""

    @property
    def shown(self) -> str:
        """What errors call it."""
        return self.label or str(self.path)

    @property
    def is_film(self) -> bool:
        return self.content_type.startswith("video/")


class Pictures(NamedTuple):
    """How a film's pictures are taken: one in each tick, scaled down where they are wider."""

    fps: Fraction = Fraction(2)
    width_max: int | None = None
    content_type: str = "image/jpeg"  # where the target does not say


PICTURES = Pictures()


class Target(NamedTuple):
    """Where a file's records go, and as what.

    ``content_type`` is the media type that they are converted to; None keeps what the file
    has (audio as L16 in the file's own rate and channels). ``stream_header`` is the header
    that carries the stream id for inputs with ``stream: header:NAME``.
    """

    topic: str
    content_type: str | None = None
    stream_header: str | None = None


class Piece(NamedTuple):
    """What one record of a file holds; times are relative to the file's beginning.

    ``due_us`` is when a live producer would have it: for audio the end of its last sample.
    ``mediadur_us`` is stated where the payload itself does not say how long it lasts.
    """

    at_us: int
    end_us: int
    due_us: int
    content_type: str
    payload: bytes
    mediadur_us: int | None = None


class FileRecord(NamedTuple):
    """One record to publish, with its event time in microseconds since the epoch."""

    due_us: int
    ts_us: int
    end_us: int
    target: Target
    stream: str
    sequence: int  # of its stream on its topic, from 0
    content_type: str
    payload: bytes
    mediadur_us: int | None
    source: str  # the file's name


def expand(sources: Sequence[str]) -> tuple[list[SourceFile], list[Path]]:
    """The files that the sources name, folders walked in sorted order, and what was skipped.

    Files of other kinds inside a folder are skipped (hidden ones silently); named directly
    they are an error. Raises InvalidInput with every source that cannot be taken.
    """
    found: list[SourceFile] = []
    skipped: list[Path] = []
    problems: list[Problem] = []
    for source in sources:
        path = Path(source)
        if is_live(source):
            why = "URLs and devices are for `motet publish`"
            problems.append(_refused(source, why))
        elif path.is_dir():
            inside = list(_walk(path))
            # names go into records, whose text is UTF-8
            problems += filter(None, (not_utf8("SOURCE", str(one), "rename it") for one in inside))
            files = [file for file in map(_classify, inside) if file is not None]
            skipped.extend(entry for entry in inside if _classify(entry) is None)
            found.extend(files)
            if not files:
                problems.append(_refused(source, "the folder holds no file that can be published"))
        elif not path.is_file():
            problems.append(Problem("SOURCE", source, "there is no such file", "correct the path"))
        elif (file := _classify(path)) is not None:
            found.append(file)
        else:
            problems.append(_refused(source, f"'{path.suffix or path.name}' is no kind it knows"))
    if problems:
        raise InvalidInput(*problems)
    return found, skipped


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry)
        elif entry.is_file():
            yield entry


def _classify(path: Path) -> SourceFile | None:
    suffix = path.suffix.lower()
    if suffix in AUDIO_TYPES:
        return SourceFile(path, "audio", AUDIO_TYPES[suffix])
    if suffix in IMAGE_TYPES:
        return SourceFile(path, "image", IMAGE_TYPES[suffix])
    if suffix in TEXT_TYPES:
        return SourceFile(path, "text", TEXT_TYPES[suffix])
    if suffix in FILM_TYPES:
        return SourceFile(path, "video", FILM_TYPES[suffix])
    return None


def parts(file: SourceFile) -> list[SourceFile]:
    """The sound and the pictures that a film holds; any other file is its only part."""
    if file.kind != "video":
        return [file]
    from pipeline.connectors.film_media import kinds_of

    return [file._replace(kind=kind) for kind in kinds_of(file.path)]


def _refused(source: str, why: str) -> Problem:
    return Problem("SOURCE", source, why, f"give {TAKEN}")


@dataclass(frozen=True, slots=True)
class Timeline:
    """The files of one stream on one topic, in the order in which they play."""

    target: Target
    stream: str
    files: tuple[SourceFile, ...]
    chunk_us: int
    pictures: Pictures = PICTURES

    def duration_us(self) -> int:
        """How long one pass lasts, from the files' own headers; raises InvalidInput."""
        from pipeline.connectors.file_media import duration_us

        return sum(duration_us(file, self.chunk_us) for file in self.files)

    def records(self, start_us: int, period_us: int, loops: int | None) -> Iterator[FileRecord]:
        """The records of ``loops`` passes (None: without end), a period apart."""
        from pipeline.connectors.file_media import duration_us, pieces

        at_us, sequence, turn = start_us, 0, 0
        while loops is None or turn < loops:
            # A pass never begins before the one before it has ended.
            at_us = max(at_us, start_us + turn * period_us)
            for file in self.files:
                end_us = at_us
                wanted = self.target.content_type
                for piece in pieces(file, wanted, self.chunk_us, self.pictures):
                    yield self._record(file, piece, at_us, sequence)
                    sequence += 1
                    end_us = at_us + piece.end_us
                if file.is_film:  # its sound and its pictures end together, so the next begin so
                    end_us = max(end_us, at_us + duration_us(file, self.chunk_us))
                at_us = end_us
            turn += 1

    def _record(self, file: SourceFile, piece: Piece, at_us: int, sequence: int) -> FileRecord:
        return FileRecord(
            due_us=at_us + piece.due_us,
            ts_us=at_us + piece.at_us,
            end_us=at_us + piece.end_us,
            target=self.target,
            stream=self.stream,
            sequence=sequence,
            content_type=piece.content_type,
            payload=piece.payload,
            mediadur_us=piece.mediadur_us,
            source=file.path.name,
        )


def timelines(
    files: Iterable[tuple[SourceFile, Target]],
    chunk_us: int,
    stream: str | None,
    pictures: Pictures = PICTURES,
) -> list[Timeline]:
    """Groups files into timelines: by topic, kind and stream (see ``stream_id``).

    Raises InvalidInput for a stream id that the contract does not take.
    """
    groups: dict[tuple[Target, SourceKind, str], list[SourceFile]] = {}
    problems: list[Problem] = []
    for file, target in files:
        name = stream_id(stream, file.path)
        if not 1 <= len(name.encode(errors="surrogateescape")) <= 256:
            why = "a stream id has 1 to 256 bytes"
            problems.append(Problem("--stream", name[:40], why, "give a shorter one with --stream"))
        groups.setdefault((target, file.kind, name), []).append(file)
    if problems:
        raise InvalidInput(*dict.fromkeys(problems))
    return [
        Timeline(target, name, tuple(group), chunk_us, pictures)
        for (target, _, name), group in groups.items()
    ]


def stream_id(template: str | None, path: Path) -> str:
    """The stream of a file: its stem, or what is given, with STREAM_FIELDS filled in."""
    if template is None:
        return path.stem
    for field, value in zip(STREAM_FIELDS, (path.stem, path.name, path.parent.name), strict=True):
        template = template.replace(field, value)
    return template


def merge(
    lines: Sequence[Timeline], start_us: int, period_us: int, loops: int | None
) -> Iterator[FileRecord]:
    """The records of all timelines by the time at which they are due; ties by timeline."""
    return heapq.merge(
        *(line.records(start_us, period_us, loops) for line in lines),
        key=lambda record: record.due_us,
    )
