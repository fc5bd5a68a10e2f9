"""What a payload's own header says: pure, bounded work, no decoding (contract section 3).

The record's fate hangs on it: a change of what is decided here, or in ``reading`` and the
readers it calls, raises ``pipeline.spec.derive.HEADER_READERS_VERSION``, which is part of the
hash that guards the continuation of a run.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.errors import UndecodableRecord
from pipeline.media.adts import read_adts
from pipeline.media.film import read_film
from pipeline.media.flac import read_flac
from pipeline.media.images import jpeg_size, png_size, webp_size
from pipeline.media.mpeg_audio import read_mpeg_audio
from pipeline.media.ogg import read_ogg
from pipeline.media.wav import read_wav
from pipeline.record import Facts
from pipeline.spec.media_type import CHANNELS_MAX, RATE_MAX, MediaType

Payload = bytes | memoryview
SAMPLE_BYTES = {"S16LE": 2, "S16BE": 2, "F32LE": 4}


def read_facts(media: MediaType, payload: Payload, pixels_max: int) -> Facts:
    """The facts of a payload of type ``media``; raises UndecodableRecord and nothing else.

    ``pixels_max``: the most that the width times the height of a picture may be.
    """
    if len(payload) == 0:
        raise UndecodableRecord("the payload is empty")
    if media.format in SAMPLE_BYTES:
        return _raw(media, payload)
    facts = _READERS[media.format](payload)
    if facts.kind == "audio":
        return _checked_audio(facts)
    if facts.kind in ("image", "video"):
        return _checked_image(facts, pixels_max)
    return facts


def _raw(media: MediaType, payload: Payload) -> Facts:
    frame_bytes = SAMPLE_BYTES[media.format] * media.channels
    samples, rest = divmod(len(payload), frame_bytes)
    if rest:
        raise UndecodableRecord(
            f"{len(payload)} bytes are not a whole number of {media} frames of {frame_bytes} bytes"
        )
    return Facts("audio", media.format, media.rate, media.channels, samples)


def _checked_audio(facts: Facts) -> Facts:
    if not 1 <= facts.rate <= RATE_MAX:
        raise UndecodableRecord(
            f"{facts.format}: a rate of {facts.rate} Hz is outside 1 Hz to 1 MHz"
        )
    if not 1 <= facts.channels <= CHANNELS_MAX:
        raise UndecodableRecord(
            f"{facts.format}: {facts.channels} channels are outside 1 to {CHANNELS_MAX}"
        )
    if facts.samples < 1:
        raise UndecodableRecord(f"{facts.format}: holds no samples")
    return facts


def _checked_image(facts: Facts, pixels_max: int) -> Facts:
    if facts.width < 1 or facts.height < 1:
        raise UndecodableRecord(f"{facts.format}: {facts.width} x {facts.height} pixels")
    if facts.width * facts.height > pixels_max:
        raise UndecodableRecord(
            f"{facts.format}: {facts.width} x {facts.height} pixels are more than "
            f"limits.pixels = {pixels_max}"
        )
    return facts


def _wav(payload: Payload) -> Facts:
    layout = read_wav(payload)
    return Facts("audio", "wav", layout.rate, layout.channels, layout.frames)


def _flac(payload: Payload) -> Facts:
    return Facts("audio", "flac", *read_flac(payload))


def _ogg(payload: Payload) -> Facts:
    audio = read_ogg(payload)
    return Facts("audio", "ogg", audio.rate, audio.channels, audio.samples)


def _mpeg(payload: Payload) -> Facts:
    audio = read_mpeg_audio(payload)
    return Facts("audio", "mpeg", audio.rate, audio.channels, audio.samples)


def _aac(payload: Payload) -> Facts:
    audio = read_adts(payload)
    return Facts("audio", "aac", audio.form.rate, audio.form.channels, audio.samples)


def _jpeg(payload: Payload) -> Facts:
    width, height = jpeg_size(payload)
    return Facts("image", "jpeg", width=width, height=height)


def _png(payload: Payload) -> Facts:
    width, height = png_size(payload)
    return Facts("image", "png", width=width, height=height)


def _webp(payload: Payload) -> Facts:
    width, height = webp_size(payload)
    return Facts("image", "webp", width=width, height=height)


def _mp4(payload: Payload) -> Facts:
    return _film("mp4", payload)


def _h264(payload: Payload) -> Facts:
    return _film("h264", payload)


def _film(form: str, payload: Payload) -> Facts:
    film = read_film(form, payload)
    frames = sum(sample.shown for sample in film.samples)
    return Facts(
        "video",
        form,
        width=film.width,
        height=film.height,
        frames=frames,
        duration_us=film.duration_us,
    )


def _text(payload: Payload) -> Facts:
    try:
        str(payload, "utf-8")
    except UnicodeDecodeError as error:
        raise UndecodableRecord(f"text: byte {error.start} is not UTF-8") from None
    return Facts("text", "text")


_READERS: dict[str, Callable[[Payload], Facts]] = {
    "wav": _wav,
    "flac": _flac,
    "ogg": _ogg,
    "mpeg": _mpeg,
    "aac": _aac,
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "mp4": _mp4,
    "h264": _h264,
    "text": _text,
}
