"""The last blocks of an encoder, as training sees them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from pipeline.errors import InvalidInput, Problem


class Blocks(nn.Module):
    """From what the class ``encoder`` gives in the stage's place, (n, d), to the stage's vectors.

    ``options`` are the stage's, and ``blocks`` how many are trained. ``length``: numbers of a
    vector.

    Invariant: of its parameters only those of the blocks ask for gradients, and it computes as
    the encoder does that it becomes: it is never in training mode, so nothing is dropped, and
    statistics of batch normalisation, which few windows would spoil, stay.
    """

    encoder: ClassVar[str]
    length: int

    @abstractmethod
    def __init__(self, options: Mapping[str, Any], blocks: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """(n, length)."""

    @abstractmethod
    def save(self, folder: Path) -> tuple[str, Path]:
        """Writes the network whole; gives an option of the stage and what it is to name."""

    def train(self, mode: bool = True) -> Blocks:
        super().train(False)
        return self


def demand_blocks(asked: int, most: int, network: str) -> None:
    """Raises InvalidInput where the network has no so many that can be trained."""
    if not 1 <= asked <= most:
        why = f"{network} has {most} that can be trained"
        raise InvalidInput(Problem("--blocks", str(asked), why, f"take 1 to {min(most, 4)}"))
