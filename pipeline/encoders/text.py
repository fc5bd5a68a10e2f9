"""Text encoders without weights."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.options import whole
from pipeline.spec.sequence import STEPS_MAX, WIDTH_MAX

if TYPE_CHECKING:
    import torch  # seconds, which these encoders need not pay

_WORD = re.compile(r"\w+")


class HashText:
    """A bag of words in ``dim`` numbers; float32, shape (dim,). Without words it is zero.

    Words are runs of letters, digits and underscores, in NFKC form without case. A word's CRC-32
    gives its place (the lower 31 bits modulo ``dim``) and its sign (the upper bit), so that words
    which share a place cancel as often as they add (Weinberger et al., Feature Hashing for Large
    Scale Multitask Learning, 2009). The same in every process and on every machine.
    """

    takes = "text"
    gives = "vector"

    def __init__(self, device: torch.device, *, dim: int = 64) -> None:
        self.length = whole("dim", dim, 1, 1 << 16)

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        return [self._of(clip.text or "") for clip in batch]

    def _of(self, text: str) -> Vector:
        vector = np.zeros(self.length, np.float32)
        for code in _codes(text):
            vector[(code & 0x7FFF_FFFF) % self.length] += -1.0 if code >> 31 else 1.0
        return vector


class TextTokens:
    """The words of a text in their order, as numbers of tokens; float32, shape (steps,).

    Words are those of ``HashText``; one's number is 1 + its CRC-32 modulo ``vocabulary - 1``, so
    that none has to be learned beforehand. The first ``steps`` words are told, and 0 behind the
    last one. Of w words in a vocabulary of v about w² / 2v pairs share a number.
    """

    takes = "text"
    gives = "vector"

    def __init__(self, device: torch.device, *, steps: int = 32, vocabulary: int = 4096) -> None:
        self.length = whole("steps", steps, 1, STEPS_MAX)
        self.tokens = self.length, whole("vocabulary", vocabulary, 2, WIDTH_MAX)

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        return [self._of(clip.text or "") for clip in batch]

    def _of(self, text: str) -> Vector:
        vector = np.zeros(self.length, np.float32)
        for place, code in enumerate(islice(_codes(text), self.length)):
            vector[place] = 1 + code % (self.tokens[1] - 1)
        return vector


def _codes(text: str) -> Iterator[int]:
    """The CRC-32 of each word."""
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        yield zlib.crc32(word.encode("utf-8", "surrogatepass"))
