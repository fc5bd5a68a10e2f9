"""Texts as vectors of what they mean: the built-in encoder ``text_embedding``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Clip

if TYPE_CHECKING:
    import torch


class Embedder(Protocol):
    """Vectors of length 1, whose dot product is high where texts mean alike."""

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Meaning:
    """all-MiniLM-L6-v2 on one device; loaded when it is built.

    Raises InvalidInput where the extra ``motet[models]`` is not installed.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        import torch

        from pipeline.encoders.models.text_embedding import TextEmbedding

        self._encoder = TextEmbedding(torch.device(device))

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32, shape (len(texts), 384)."""
        clips = [Clip("", 0, 0, text=text) for text in texts]
        return np.stack(self._encoder.encode(clips))
