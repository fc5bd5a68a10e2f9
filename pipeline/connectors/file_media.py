"""What is in a file: audio cut to chunks, images and lines of text, in the type that is asked for.

Audio is decoded by libsndfile, that of films, m4a and aac by FFmpeg.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline.connectors import film_media, film_remux
from pipeline.connectors.files import (
    BY_FFMPEG,
    PICTURES,
    PILLOW_FORMATS,
    Pictures,
    Piece,
    SourceFile,
)
from pipeline.connectors.sound_cutter import SoundCutter, audio_form
from pipeline.connectors.sound_file import SoundFile, opened, sound_file, unreadable
from pipeline.media.probe.formats import by_magic

MAGIC_BYTES = 12


def duration_us(file: SourceFile, chunk_us: int) -> int:
    """How long a file plays, from its header; checks that it can be read. Raises InvalidInput."""
    if file.content_type in BY_FFMPEG:
        return film_media.length_us(file.path)
    if file.kind == "audio":
        with opened(file.path) as sound:
            if sound.frames <= 0:
                raise unreadable(file.path, "it holds no samples")
            frames, rate = int(sound.frames), int(sound.samplerate)
            return -(-frames * 1_000_000 // rate)
    if file.kind == "image":
        if by_magic(_read(file.path, MAGIC_BYTES)) != file.content_type:
            raise unreadable(file.path, f"it is no {file.content_type}")
        return chunk_us
    return len(_lines(file.path)) * chunk_us


def pieces(
    file: SourceFile, content_type: str | None, chunk_us: int, pictures: Pictures = PICTURES
) -> Iterator[Piece]:
    """The records of a file, in time; ``content_type`` None keeps the file's own form.

    A film gives its sound or its pictures, by ``kind``.
    """
    if file.kind == "audio":
        yield from _audio_pieces(file, content_type, chunk_us)
    elif file.is_film:
        wanted = content_type or pictures.content_type
        if wanted.startswith("video/"):
            yield from film_remux.film_pieces(file.path, wanted, chunk_us)
        else:
            yield from film_media.picture_pieces(file.path, wanted, pictures)
    elif file.kind == "image":
        wanted = content_type or file.content_type
        payload = _image(file, wanted)
        yield Piece(0, chunk_us, 0, wanted, payload, mediadur_us=chunk_us)
    else:
        for number, line in enumerate(_lines(file.path)):
            at_us = number * chunk_us
            wanted = content_type or file.content_type
            yield Piece(at_us, at_us + chunk_us, at_us, wanted, line.encode(), chunk_us)


def _audio_pieces(file: SourceFile, content_type: str | None, chunk_us: int) -> Iterator[Piece]:
    by_ffmpeg = file.content_type in BY_FFMPEG
    source: AbstractContextManager[film_media.Sound | SoundFile] = (
        film_media.sound_of(file.path) if by_ffmpeg else sound_file(file.path)
    )
    with source as sound:
        form = audio_form(content_type, sound.samplerate, sound.channels)
        cutter = SoundCutter(sound.samplerate, form, chunk_us)
        for run in sound.runs():
            cutter.begin(run.at_us)
            for block in run.blocks:
                yield from cutter.feed(block)
            yield from cutter.end()


def _image(file: SourceFile, wanted: str) -> bytes:
    payload = _read(file.path)
    if wanted == file.content_type:
        return payload
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(payload)) as image:
            out = io.BytesIO()
            mode = (
                "RGB" if wanted == "image/jpeg" or image.mode not in ("L", "RGBA") else image.mode
            )
            image.convert(mode).save(out, PILLOW_FORMATS[wanted], quality=film_media.JPEG_QUALITY)
            return out.getvalue()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise unreadable(file.path, str(error)) from None


def _lines(path: Path) -> list[str]:
    """The lines of a text file that hold more than blanks, without their line ends."""
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unreadable(path, f"byte {error.start} is not UTF-8") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise unreadable(path, "it holds no text")
    return lines


def _read(path: Path, size: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from None
