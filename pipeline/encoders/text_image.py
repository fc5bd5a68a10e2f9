"""text_image: text drawn as a picture that image encoders read; text to image."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Clip
from pipeline.encoders.options import whole, wrong_option

if TYPE_CHECKING:
    import torch  # seconds, which this encoder need not pay

SIDE_MAX = 4096


class TextImage:
    """A text in black on white, uint8 (height, width, 3), wrapped, from the top left.

    The font is the one inside Pillow (Aileron), at ``font_size`` pixels. It has ASCII and a few
    signs (quotation marks, ellipsis, degree); any other character is drawn as an empty box.
    ``font`` is the path of another font file, which must be on every machine. Letters stand one
    by one in the order of the text: no ligatures, no joined scripts, none from right to left.
    Lines break at spaces, within a word only where it is wider than the picture; what does not
    fit below is left out.

    The same text gives the same bytes, whatever else is in its batch.
    """

    takes = "text"
    gives = "image"

    def __init__(
        self,
        device: torch.device,
        *,
        height: int = 224,
        width: int = 224,
        font_size: int = 24,
        margin: int = 8,
        font: str | None = None,
    ) -> None:
        self._height = whole("height", height, 1, SIDE_MAX, "pixels")
        self._width = whole("width", width, 1, SIDE_MAX, "pixels")
        self._margin = whole("margin", margin, 0, SIDE_MAX, "pixels")
        size = whole("font_size", font_size, 4, SIDE_MAX, "pixels")
        self._font = _font(font, size)
        ascent, descent = self._font.getmetrics()
        self._line = ascent + descent
        room = self._height - 2 * self._margin
        if room < self._line or self._width - 2 * self._margin < size:
            why = f"a line of {self._line} pixels does not fit between the margins"
            raise wrong_option("font_size", font_size, why, "write less, or a larger picture")
        self._lines_max = room // self._line

    def encode(self, batch: Sequence[Clip]) -> list[NDArray[np.uint8]]:
        return [self._drawn(clip.text or "") for clip in batch]

    def _drawn(self, text: str) -> NDArray[np.uint8]:
        from PIL import Image, ImageDraw

        picture = Image.new("L", (self._width, self._height), 255)
        pen = ImageDraw.Draw(picture)
        for number, line in enumerate(self._wrapped(text)):
            if number == self._lines_max:
                break
            place = (self._margin, self._margin + number * self._line)
            pen.text(place, line, fill=0, font=self._font)
        return np.repeat(np.asarray(picture)[:, :, None], 3, axis=2)

    def _wrapped(self, text: str) -> Iterator[str]:
        """Lines that fit, as they are wanted: a long text is not laid out to its end."""
        for start in _lines(text):
            words = [_plain(word) for word in start.split()]
            line = ""
            for word in words:
                longer = f"{line} {word}" if line else word
                if self._fits(longer):
                    line = longer
                    continue
                if line:
                    yield line
                while not self._fits(word):
                    kept = self._longest(word)
                    yield word[:kept]
                    word = word[kept:]
                line = word
            yield line

    def _fits(self, line: str) -> bool:
        # no glyph is narrower than a twentieth of its height: spares measuring what cannot fit
        if len(line) > 20 * math.ceil(self._width / self._line) + 20:
            return False
        return bool(self._font.getlength(line) <= self._width - 2 * self._margin)

    def _longest(self, word: str) -> int:
        """How many characters of a word fit, one at least."""
        low, high = 1, len(word)
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(word[:middle]):
                low = middle
            else:
                high = middle - 1
        return low


def _font(path: Any, size: int) -> Any:
    """The font of a file, or Pillow's own, ``size`` pixels high.

    Laid out by Pillow itself: Raqm, where it is there, would join letters that elsewhere stand
    apart.
    """
    from PIL import ImageFont

    basic = ImageFont.Layout.BASIC
    if path is None:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            why = "Pillow was built without FreeType, so it has no font that scales"
            raise wrong_option("font_size", size, why, "install Pillow from its wheel")
        return font.font_variant(layout_engine=basic)
    remedy = "write the path of a .ttf or .otf file"
    if not isinstance(path, str):
        raise wrong_option("font", path, "is no path", remedy)
    try:
        return ImageFont.truetype(path, size, layout_engine=basic)
    except OSError as error:
        why = f"is no font that can be read ({error})"
        raise wrong_option("font", path, why, remedy) from error


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, one by one."""
    at = 0
    while True:
        end = text.find("\n", at)
        if end < 0:
            yield text[at:]
            return
        yield text[at:end]
        at = end + 1


def _plain(word: str) -> str:
    """The word without controls and halves of pairs, which no font draws."""
    if word.isprintable():
        return word
    return "".join(c for c in word if unicodedata.category(c) not in ("Cc", "Cs"))
