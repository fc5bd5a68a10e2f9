"""Encoders as a user writes them, for the simulated pipelines."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
import torch

from pipeline.encoders.base import Clip, Vector

_NAMED = re.compile(r"#\d+")


class Fingerprint:
    """Text to vector: other bytes, another vector; float32, shape (4,)."""

    takes = "text"
    gives = "vector"
    length = 4

    def __init__(self, device: torch.device) -> None: ...

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        codes = [zlib.crc32((clip.text or "").encode()) for clip in batch]
        rows = np.array(codes, np.uint32).view(np.uint8).reshape(-1, 4)
        return list(rows.astype(np.float32))


class FailsOnPoison:
    """Text to text; fails on a text that holds the word poison, and with it its whole batch."""

    takes = "text"
    gives = "text"

    def __init__(self, device: torch.device) -> None: ...

    def encode(self, batch: Sequence[Clip]) -> list[str]:
        for clip in batch:
            if "poison" in (clip.text or ""):
                raise ValueError(f"poison in the window of {clip.stream} from {clip.start_us}")
        return [(clip.text or "").upper() for clip in batch]


class NamesRead:
    """Text to text: the names (``#17``) of the records that a window holds, for the checks."""

    takes = "text"
    gives = "text"

    def __init__(self, device: torch.device) -> None: ...

    def encode(self, batch: Sequence[Clip]) -> list[str]:
        return [" ".join(_NAMED.findall(clip.text or "")) for clip in batch]
