"""Sound payloads of every kind, and what a payload decodes to."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import soundfile
from coded import encoded as coded_audio
from coded import tones
from moving_pictures import encoded
from PIL import Image

from pipeline.errors import UndecodableRecord
from pipeline.media.decode import decode_audio, decode_image, decode_text
from pipeline.media.facts import read_facts
from pipeline.media.film import read_film
from pipeline.media.film_decode import decode_film
from pipeline.media.time_limit import NO_LIMIT, TimeLimit
from pipeline.record import Facts
from pipeline.spec.media_type import parse_media_type


def outcome(media: str, payload: bytes) -> str:
    """A digest of what a payload decodes to, or that it does not."""
    try:
        facts = read_facts(parse_media_type(media), payload, 33_000_000)
        data = decoded(facts, payload)
    except UndecodableRecord as error:
        return f"undecodable {error}"
    return hashlib.sha256(data).hexdigest()


def decoded(facts: Facts, payload: bytes, limit: TimeLimit = NO_LIMIT) -> bytes:
    """All that the payload holds, as bytes; raises UndecodableRecord."""
    if facts.kind == "video":
        film = read_film(facts.format, payload)
        count = len(film.samples)
        found = decode_film(film, payload, range(count), count - 1, limit=limit)
        return b"".join(found.pictures[n].tobytes() for n in sorted(found.pictures))
    if facts.kind == "text":
        return decode_text(facts, payload, limit).encode()
    decode = decode_audio if facts.kind == "audio" else decode_image
    return decode(facts, payload, limit).tobytes()


def sound_payloads() -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    for form in ("JPEG", "PNG", "WEBP"):
        file = io.BytesIO()
        picture.save(file, form)
        found.append((f"image/{form.lower()}", file.getvalue()))
    wave = tones(16_000, 1, 48_000)
    for form, media in (("FLAC", "audio/flac"), ("OGG", "audio/ogg"), ("WAV", "audio/wav")):
        file = io.BytesIO()
        soundfile.write(file, wave[0], 48_000, format=form)
        found.append((media, file.getvalue()))
    found.append(("audio/mpeg", coded_audio(wave, 48_000, "libmp3lame", "mp3")))
    found.append(("audio/aac", coded_audio(wave, 48_000, "aac", "adts")))
    found.append(("audio/ogg", coded_audio(wave, 48_000, "libopus", "ogg")))
    found += [("video/mp4", encoded(5)), ("video/H264", encoded(5, form="h264"))]
    found.append(("text/plain", b"no file"))
    return found
