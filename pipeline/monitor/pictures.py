"""What a browser is given of a window's media: a picture, a spectrogram, sound, or text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UndecodableRecord
from pipeline.media.clips import assemble_audio
from pipeline.media.decode import decode_audio, decode_image, decode_text
from pipeline.media.film import read_film, shown_frames
from pipeline.media.film_decode import decode_film
from pipeline.record import MediaRecord

AS_IT_IS_BYTES_MAX = 512 << 10  # a larger picture is made smaller
WIDTH_MAX = 960
TEXT_CHARS_MAX = 20_000

BANDS = 64
COLUMNS_MAX = 320
FFT_SECONDS = 0.032
DB_RANGE = 70.0
_HERTZ_MIN = 40.0
# dark to bright by steps of equal lightness, so that louder always looks louder
_COLOURS = (
    (8, 10, 26),
    (54, 22, 92),
    (122, 36, 112),
    (196, 62, 92),
    (246, 134, 74),
    (252, 236, 170),
)

_MAGIC = {"jpeg": (b"\xff\xd8\xff", "image/jpeg"), "png": (b"\x89PNG\r\n\x1a\n", "image/png")}


class Picture(NamedTuple):
    """Bytes and their type: ``image/jpeg``, ``image/png``, ``audio/wav`` or ``text/plain``."""

    content: bytes
    content_type: str


def picture_of(records: Sequence[MediaRecord], start_us: int, end_us: int) -> Picture:
    """Of one input's records in log order, at least one. Raises UndecodableRecord."""
    kind = records[0].facts.kind
    if kind == "image":
        return _image(records[0])
    if kind == "video":
        return _frame(records[0], start_us)
    if kind == "audio":
        return spectrogram(*_samples(records, start_us, end_us))
    ordered = sorted(records, key=lambda record: record.ts_us)
    texts = (decode_text(record.facts, record.payload) for record in ordered)
    text = "\n".join(texts)[:TEXT_CHARS_MAX]
    return Picture(text.encode(errors="replace"), "text/plain; charset=utf-8")


def sound_of(records: Sequence[MediaRecord], start_us: int, end_us: int) -> Picture:
    """The sound of a window to the sample, mono, zeros where nothing was sent: a 16-bit WAV.

    Records as ``picture_of`` takes them, all of them audio. Raises UndecodableRecord.
    """
    import soundfile

    samples, rate = _samples(records, start_us, end_us)
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format="WAV", subtype="PCM_16")
    return Picture(sink.getvalue(), "audio/wav")


def _image(record: MediaRecord) -> Picture:
    """The payload itself where a browser may have it: really a JPEG or PNG, and not large."""
    payload = bytes(record.payload)
    magic, content_type = _MAGIC.get(record.facts.format, (b"", ""))
    if content_type and payload.startswith(magic) and len(payload) <= AS_IT_IS_BYTES_MAX:
        return Picture(payload, content_type)
    return _jpeg(decode_image(record.facts, payload))


def _frame(record: MediaRecord, start_us: int) -> Picture:
    """The frame of a film that is shown when the window starts, or the film's first."""
    form = record.facts.format
    film = read_film(form, record.payload, record.end_us - record.ts_us)
    shown = shown_frames(film.samples)
    begun = [n for n in shown if record.ts_us + film.samples[n].at_us <= start_us]
    number = begun[-1] if begun else shown[0]
    found = decode_film(film, record.payload, [number], number, WIDTH_MAX)
    if number not in found.pictures:
        raise UndecodableRecord(f"{form}: the frame of the window's start cannot be decoded")
    return _jpeg(found.pictures[number])


def _jpeg(frame: NDArray[np.uint8]) -> Picture:
    image = Image.fromarray(frame)
    image.thumbnail((WIDTH_MAX, WIDTH_MAX))
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=85)
    return Picture(sink.getvalue(), "image/jpeg")


def _samples(
    records: Sequence[MediaRecord], start_us: int, end_us: int
) -> tuple[NDArray[np.float32], int]:
    decoded = [decode_audio(record.facts, record.payload) for record in records]
    audio = assemble_audio(records, decoded, start_us, end_us, None)
    return audio.samples, audio.rate


def spectrogram(samples: NDArray[np.float32], rate: int) -> Picture:
    """A log-mel spectrogram as PNG, low bands at the bottom; ``samples`` mono at ``rate`` Hz.

    For the eye: dB relative to the loudest, DB_RANGE deep, silence dark.
    """
    size = max(16, 2 * round(FFT_SECONDS * rate / 2))
    hop = max(size // 4, -(-len(samples) // COLUMNS_MAX))
    padded = np.pad(samples, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: max(1, len(samples)) : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    bands = power @ _bank(size, rate)
    decibel = 10 * np.log10(np.maximum(bands, 1e-10))
    top = max(float(decibel.max()), -20.0)  # what is all but silent stays dark
    shade = np.clip((decibel - top) / DB_RANGE + 1, 0, 1)
    anchors = np.linspace(0, 1, len(_COLOURS))
    pixels = np.stack(
        [np.interp(shade.T[::-1], anchors, channel) for channel in zip(*_COLOURS, strict=True)],
        axis=-1,
    )
    sink = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(sink, "PNG")
    return Picture(sink.getvalue(), "image/png")


def _bank(size: int, rate: int) -> NDArray[np.float64]:
    """Triangles equally wide in mel, each with a sum of 1, shape (size // 2 + 1, bands).

    As many as the transform can tell apart, at most BANDS.
    """
    hertz = np.fft.rfftfreq(size, 1 / rate).astype(np.float64)
    edges = np.linspace(_mel(min(_HERTZ_MIN, rate / 8)), _mel(rate / 2), BANDS + 2)
    mels = _mel(hertz)
    # a triangle narrower than a bin would be empty: it is made as wide as one
    width = np.maximum(edges[1] - edges[0], np.gradient(mels))
    bank = np.maximum(0, 1 - np.abs(mels[:, None] - edges[None, 1:-1]) / width[:, None])
    sums = bank.sum(axis=0)
    return np.asarray(bank / np.where(sums > 0, sums, 1))


def _mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(2595 * np.log10(1 + np.asarray(hertz, np.float64) / 700))
