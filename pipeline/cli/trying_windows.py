"""A file as the windows of a pipeline: the records that ``motet publish`` would send, cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.connectors.file_media import pieces
from pipeline.connectors.files import Piece, SourceFile
from pipeline.connectors.sound_file import unreadable
from pipeline.media.clips import RESAMPLE_MARGIN_US
from pipeline.media.reading import Reader, ReadingRules
from pipeline.record import MediaRecord, UnsoundRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type
from pipeline.spec.units import Wrong

INPUT = "SOURCE"
_NO_LIMIT = 1 << 62


class Window(NamedTuple):
    """``[start_us, end_us)`` from the file's beginning, and the records that it needs.

    ``media_us``: how much of the window the file fills.
    """

    source: str
    stream: str
    start_us: int
    end_us: int
    media_us: int
    records: list[MediaRecord]


def windows_of(file: SourceFile, size_us: int, whole: bool) -> Iterator[Window]:
    """The windows of one file in time, empty ones left out; raises InvalidInput.

    Records around a window are in it as far as resampling asks for them.
    """
    records = _records(file, size_us)
    if whole:
        held = list(records)
        if held:
            start_us, end_us = held[0].ts_us, max(record.end_us for record in held)
            yield _window(file, start_us, end_us, held, end_us)
        return
    held = []
    start_us = last_us = 0
    for record in records:
        while record.ts_us >= start_us + size_us + RESAMPLE_MARGIN_US:
            yield from _cut(file, start_us, size_us, held, last_us)
            start_us += size_us
            held = [each for each in held if each.end_us > start_us - RESAMPLE_MARGIN_US]
            if not held:
                start_us = max(start_us, record.ts_us // size_us * size_us)
        held.append(record)
        last_us = max(last_us, record.end_us)
    while start_us < last_us:
        yield from _cut(file, start_us, size_us, held, last_us)
        start_us += size_us


def _cut(
    file: SourceFile, start_us: int, size_us: int, held: list[MediaRecord], last_us: int
) -> Iterator[Window]:
    low_us, high_us = start_us - RESAMPLE_MARGIN_US, start_us + size_us + RESAMPLE_MARGIN_US
    needed = [each for each in held if each.ts_us < high_us and each.end_us > low_us]
    if any(each.ts_us < start_us + size_us and each.end_us > start_us for each in needed):
        yield _window(file, start_us, start_us + size_us, needed, last_us)


def _window(
    file: SourceFile, start_us: int, end_us: int, records: list[MediaRecord], last_us: int
) -> Window:
    media_us = min(end_us, last_us) - start_us
    return Window(str(file.path), file.path.stem, start_us, end_us, media_us, records)


def _records(file: SourceFile, size_us: int) -> Iterator[MediaRecord]:
    reader: Reader | None = None
    wanted = _readable(file)
    for number, piece in enumerate(pieces(file, wanted, size_us)):
        reader = reader or _reader(piece)
        read = reader.read(INPUT, _log_record(file, number, piece))
        if isinstance(read, UnsoundRecord):
            raise unreadable(file.path, read.error)
        yield read


def _readable(file: SourceFile) -> str | None:
    """None where the file's own form is read; pictures that are not are turned into PNG."""
    if file.kind != "image" or file.is_film:
        return None
    try:
        parse_media_type(file.content_type)
    except Wrong:
        return "image/png"
    return None


def _reader(piece: Piece) -> Reader:
    rules = ReadingRules(
        media=parse_media_type(piece.content_type),
        future_max_us=_NO_LIMIT,
        record_bytes=_NO_LIMIT,
        record_span_us=_NO_LIMIT,
        pixels=_NO_LIMIT,
    )
    return Reader({INPUT: rules})


def _log_record(file: SourceFile, number: int, piece: Piece) -> LogRecord:
    headers = [("content-type", piece.content_type.encode())]
    if piece.mediadur_us is not None:
        headers.append(("ce_mediadur", str(piece.mediadur_us).encode()))
    key = file.path.stem.encode(errors="surrogateescape")
    # The key is the stream id, and no file is called nothing.
    return LogRecord(str(file.path), 0, number, piece.at_us, key[:256], piece.payload, headers)
