"""What the records of the jobs hold, made from a seed."""

from __future__ import annotations

import io

import numpy as np

from pipeline.benchmark.jobs import RATE, VARIANTS, Payloads

WORDS = ("door", "opens", "bell", "rings", "parcel", "leaves", "seven", "nine", "lift", "rain")
PICTURE_PIXELS = (320, 240)


def make_payloads() -> Payloads:
    """Noise of a second, JPEG files of 320 x 240 pixels, lines of eight words; 64 of each."""
    rng = np.random.default_rng(0)
    sounds = [rng.integers(-9000, 9000, RATE).astype(">i2").tobytes() for _ in range(VARIANTS)]
    pictures = [_picture(rng) for _ in range(VARIANTS)]
    texts = [" ".join(rng.choice(WORDS, 8)).encode() for _ in range(VARIANTS)]
    return Payloads(sounds, pictures, texts)


def _picture(rng: np.random.Generator) -> bytes:
    """Coarse fields of colour with some grain: about as many bytes as a photograph has."""
    from PIL import Image

    width, height = PICTURE_PIXELS
    fields = rng.integers(0, 256, (height // 40, width // 40, 3)).repeat(40, 0).repeat(40, 1)
    grain = rng.integers(-12, 13, fields.shape)
    pixels = np.clip(fields + grain, 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=80)
    return sink.getvalue()
