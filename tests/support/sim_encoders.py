"""Encoders as a user writes them, for the simulated pipelines."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from pipeline.encoders.base import Clip

_NAMED = re.compile(r"#\d+")


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
