"""What is in a file: audio cut to chunks, images and lines of text, in the type that is asked for.

Audio is decoded by libsndfile (films, m4a and aac by FFmpeg), converted in float32 and rounded
once at the end, so 16-bit files that need no conversion come out bit for bit. Resampling is
``soxr`` HQ over all samples without a gap as one stream: chunks show no seam, and ``n`` samples
become ``round(n * to / from)``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.connectors import film_media, film_remux
from pipeline.connectors.files import (
    BY_FFMPEG,
    PICTURES,
    PILLOW_FORMATS,
    Pictures,
    Piece,
    SourceFile,
)
from pipeline.connectors.sound_file import Samples, SoundFile, opened, sound_file, unreadable
from pipeline.errors import InvalidInput, Problem
from pipeline.media.probe.formats import by_magic
from pipeline.spec.media_type import parse_media_type

CONTAINERS = {
    "audio/wav": ("WAV", "PCM_16"),
    "audio/flac": ("FLAC", "PCM_16"),
    "audio/ogg": ("OGG", "VORBIS"),
    "audio/mpeg": ("MP3", "MPEG_LAYER_III"),  # with a tag that states its samples exactly
}
MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MPEG_CHANNELS_MAX = 2
DTYPES = {"S16BE": ">i2", "S16LE": "<i2", "F32LE": "<f4"}
MAGIC_BYTES = 12
WRITABLE = frozenset({*CONTAINERS, *DTYPES.values()})


class AudioForm(NamedTuple):
    """How audio is written into a record: a content type, its rate and channels, and a codec.

    ``codec`` is a numpy dtype for raw samples (``>i2``, ``<i2``, ``<f4``), otherwise the
    media type of a container.
    """

    content_type: str
    codec: str
    rate: int
    channels: int


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


def audio_form(content_type: str | None, rate: int, channels: int) -> AudioForm:
    """The form that a media type asks for; what it leaves open is taken from the file.

    L16 is big-endian (RFC 2586). Raises InvalidInput for a type that cannot be written.
    """
    if content_type is None:
        return AudioForm(f"audio/L16;rate={rate};channels={channels}", ">i2", rate, channels)
    wanted = parse_media_type(content_type)
    codec = DTYPES.get(wanted.format, f"{wanted.kind}/{wanted.subtype}")
    if codec not in WRITABLE:
        remedy = f"give the input one of audio/L16, audio/x-raw, {', '.join(CONTAINERS)}"
        why = "publish cannot write this type"
        if wanted.format == "aac":
            why += ": AAC in ADTS does not say where in its frames the sound begins"
        raise InvalidInput(Problem("type", content_type, why, remedy))
    rate, channels = wanted.rate or rate, wanted.channels or channels
    if codec == "audio/mpeg":
        if rate not in MPEG_RATES:
            why, remedy = f"MPEG audio has no rate of {rate} Hz", "write audio/mpeg;rate=48000"
            raise InvalidInput(Problem("type", content_type, why, remedy))
        channels = channels if channels <= MPEG_CHANNELS_MAX else 1
    return AudioForm(content_type, codec, rate, channels)


def _audio_pieces(file: SourceFile, content_type: str | None, chunk_us: int) -> Iterator[Piece]:
    by_ffmpeg = file.content_type in BY_FFMPEG
    source: AbstractContextManager[film_media.Sound | SoundFile] = (
        film_media.sound_of(file.path) if by_ffmpeg else sound_file(file.path)
    )
    due_us = 0
    with source as sound:
        form = audio_form(content_type, sound.samplerate, sound.channels)
        for run in sound.runs():
            first = 0
            for block in _cut(_converted(run.blocks, sound.samplerate, form), form.rate, chunk_us):
                last = first + len(block)
                # The start of each record is computed from its sample: no drift over hours.
                at_us = run.at_us + first * 1_000_000 // form.rate
                end_us = run.at_us + last * 1_000_000 // form.rate
                due_us = max(due_us, end_us)
                yield Piece(at_us, end_us, due_us, form.content_type, _written(block, form))
                first = last


def _converted(blocks: Iterator[Samples], rate: int, form: AudioForm) -> Iterator[Samples]:
    """Blocks of shape (n, channels) float32 at the form's rate; n varies."""
    resampler: Any = None
    if rate != form.rate:
        import soxr

        resampler = soxr.ResampleStream(
            rate, form.rate, form.channels, dtype="float32", quality="HQ"
        )
    for block in blocks:
        mixed = _mixed(block, form.channels)
        if resampler is not None:
            mixed = resampler.resample_chunk(mixed).reshape(-1, form.channels)
        if len(mixed):
            yield mixed
    if resampler is not None:
        nothing = np.zeros((0, form.channels), np.float32)
        rest = resampler.resample_chunk(nothing, last=True).reshape(-1, form.channels)
        if len(rest):
            yield rest


def _mixed(block: Samples, channels: int) -> Samples:
    """The same sound in another number of channels: the mean of all, in each of them."""
    if block.shape[1] == channels:
        return block
    mono = block.mean(axis=1, dtype=np.float32, keepdims=True)
    return np.ascontiguousarray(np.broadcast_to(mono, (len(block), channels)))


def _cut(blocks: Iterator[Samples], rate: int, chunk_us: int) -> Iterator[Samples]:
    """Cuts at the samples ``floor(k * chunk * rate)``; the last chunk is what is left."""
    held: list[Samples] = []
    have, done, number = 0, 0, 1
    for block in blocks:
        held.append(block)
        have += len(block)
        while done + have >= (edge := number * chunk_us * rate // 1_000_000):
            number += 1
            if edge == done:
                continue  # a chunk shorter than a sample
            joined = np.concatenate(held) if len(held) > 1 else held[0]
            yield joined[: edge - done]
            held = [joined[edge - done :]]
            have -= edge - done
            done = edge
    if have:
        yield np.concatenate(held)


def _written(block: Samples, form: AudioForm) -> bytes:
    if form.codec in CONTAINERS:
        import soundfile

        kind, subtype = CONTAINERS[form.codec]
        out = io.BytesIO()
        soundfile.write(out, block, form.rate, format=kind, subtype=subtype)
        return out.getvalue()
    if form.codec == "<f4":
        return bytes(block.astype("<f4").tobytes())
    rounded = np.clip(np.rint(block * 32768.0), -32768, 32767)
    return bytes(rounded.astype(form.codec).tobytes())


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
