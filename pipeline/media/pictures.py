"""JPEG, PNG and WebP to uint8 RGB, upright, with Pillow.

The plugin of the format is built directly, not through ``Image.open``: no other format is ever
tried, and Pillow's own bomb warning (a global that a library must not set) stays out of it; the
header reader has judged the dimensions against ``limits.pixels`` before, and they must agree.
The plugin of WebP refuses by itself what has over 178,956,970 pixels (Pillow's default).
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from pipeline.errors import UndecodableRecord
from pipeline.media.facts import Payload
from pipeline.media.time_limit import TimeLimit
from pipeline.record import Facts

_PLUGINS: dict[str, type[ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
# A scan of a progressive JPEG may be a few bytes and go over all of the picture, so a decoder is
# given little at once: between two blocks it can be stopped.
_BLOCK_BYTES = 2_048
_ORIENTATION = 0x0112  # EXIF 2.3 tag; values 2 to 8 turn or mirror
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Timed(io.BytesIO):
    """The payload; reading on raises DecodeTimeout once the time is up."""

    def __init__(self, facts: Facts, payload: Payload, limit: TimeLimit) -> None:
        super().__init__(payload)
        self._format = facts.format
        self._limit = limit

    def read(self, size: int | None = -1, /) -> bytes:
        self._limit.check(self._format)
        return super().read(size)


def decode_picture(facts: Facts, payload: Payload, limit: TimeLimit) -> NDArray[np.uint8]:
    """(height, width, 3), as ``pipeline.media.decode.decode_image`` says; raises as Pillow does."""
    with _PLUGINS[facts.format](_Timed(facts, payload, limit)) as picture:
        picture.decodermaxblock = _BLOCK_BYTES
        if picture.size != (facts.width, facts.height):
            raise UndecodableRecord(
                f"{facts.format}: decodes to {picture.width} x {picture.height} pixels, its "
                f"header says {facts.width} x {facts.height}"
            )
        picture.load()
        turn = _TURNS.get(_orientation(picture))
        upright: Image.Image = picture if turn is None else picture.transpose(turn)
        if upright.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
            grey = (np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if upright.mode != "RGB":
            upright = upright.convert("RGB")
        return np.array(upright)


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none; a broken EXIF block spoils no picture."""
    if "exif" not in picture.info and "Raw profile type exif" not in picture.info:
        return 1
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever the parser makes of bytes that are no EXIF
        return 1
