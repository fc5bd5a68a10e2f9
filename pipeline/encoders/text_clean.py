"""text_clean: text in one form, without what cannot be seen; text to text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.encoders.base import Clip
from pipeline.encoders.options import one_of

if TYPE_CHECKING:
    import torch  # seconds, which this encoder need not pay

URL_TAG = "<url>"
# Most characters that NFKC makes of one (U+FDFA, an Arabic phrase).
GROWTH_MAX = 18

_LINE_END = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_SPACE = re.compile(r"\s+")
# Categories of characters that are never text: controls, formats (zero-width, direction marks,
# soft hyphens, byte order marks, tags), halves of a pair. Variation selectors only choose a glyph.
_UNSEEN = frozenset({"Cc", "Cf", "Cs"})
_SELECTORS = re.compile("[\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Han, and the Japanese syllables with their marks; half-width ones are full-width after NFKC.
_CJK = (
    "\u3005-\u3007\u3041-\u3096\u309b-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
_MARKS = "\u3099\u309a\u0300-\u036f"  # that go on top of the character before them
_CJK_EDGE = re.compile(
    f"(?:(?<=[{_CJK}])|(?<=[{_CJK}][{_MARKS}]))(?=[^\\s{_MARKS}])|(?<=[^\\s])(?=[{_CJK}])"
)
# Scheme or www., up to a space, a quote, or a script that is written without spaces; the
# punctuation of the sentence around it is not part of it.
_URL = re.compile(
    f"(?:(?:https?|ftp)://|www\\.)[^\\s<>\"'{_CJK}\u3000-\u303f\uff00-\uffef]*"
    f"[^\\s<>\"'{_CJK}\u3000-\u303f\uff00-\uffef.,;:!?()\\[\\]{{}}…]",
    re.IGNORECASE,
)
_URLS = ("keep", "tag", "drop")
_CJKS = ("keep", "split")


class TextClean:
    """A text, line by line, in a form that equal things share.

    Characters that cannot be seen are taken out (controls, zero-width and direction marks, soft
    hyphens, variation selectors, lone surrogates), the rest is brought to Unicode's form NFKC
    (full-width letters, ligatures, superscripts and letters with marks become the plain ones),
    runs of white space become one space, and lines have none at their ends. Every line stays a
    line, and what is made of it depends on nothing else.

    ``urls``: ``keep``, ``tag`` (each becomes ``<url>``) or ``drop``. ``cjk``: ``split`` puts spaces
    around every Han character and Japanese syllable, which have none between words; a word of
    several is then several, since only a dictionary could tell. Cleaning twice changes nothing.
    """

    takes = "text"
    gives = "text"

    def __init__(self, device: torch.device, *, urls: str = "keep", cjk: str = "keep") -> None:
        self._urls = one_of("urls", urls, _URLS)
        self._split = one_of("cjk", cjk, _CJKS) == "split"

    def encode(self, batch: Sequence[Clip]) -> list[str]:
        return [self._of(clip.text or "") for clip in batch]

    def _of(self, text: str) -> str:
        return "\n".join(self._line(line) for line in _LINE_END.split(text))

    def _line(self, line: str) -> str:
        line = unicodedata.normalize("NFKC", _seen(_SPACE.sub(" ", line)))
        if self._urls != "keep":
            line = _URL.sub(f" {URL_TAG} " if self._urls == "tag" else " ", line)
        if self._split:
            line = self._spaced(line)
        return _SPACE.sub(" ", line).strip()

    def _spaced(self, line: str) -> str:
        """Spaces around CJK characters, but not inside of a URL."""
        pieces, at = [], 0
        for url in _URL.finditer(line):
            pieces += [_CJK_EDGE.sub(" ", line[at : url.start()]), url[0]]
            at = url.end()
        return " ".join([*pieces, _CJK_EDGE.sub(" ", line[at:])])


def _seen(line: str) -> str:
    """The line without characters that cannot be seen."""
    if line.isascii() and line.isprintable():
        return line
    line = "".join(c for c in line if unicodedata.category(c) not in _UNSEEN)
    return _SELECTORS.sub("", line)
