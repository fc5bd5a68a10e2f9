"""Text encoders without weights."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.options import whole

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
        for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
            code = zlib.crc32(word.encode("utf-8", "surrogatepass"))
            vector[(code & 0x7FFF_FFFF) % self.length] += -1.0 if code >> 31 else 1.0
        return vector
