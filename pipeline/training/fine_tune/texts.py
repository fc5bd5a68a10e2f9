"""``text_embedding``, parted before its last blocks: its word pieces, and what is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.models.text_embedding import TextEmbedding
from pipeline.encoders.models.text_network import sentence_vectors
from pipeline.training.fine_tune.blocks import Blocks, demand_blocks


class Pieces:
    """The ids of a text's word pieces, and how many; float32, shape (max_pieces + 1,).

    Stands in the stage's place while a set is made. What the frozen blocks make of them would be
    384 numbers a piece, 400 kB of a long text: they are computed again and again instead. So
    ``blocks`` changes nothing here.
    """

    takes = "text"
    gives = "vector"

    def __init__(self, device: torch.device, *, blocks: int, **options: Any) -> None:
        self._encoder = TextEmbedding(device, **options)
        self.length = self._encoder.pieces_max + 1

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        vectors = []
        for pieces in self._encoder.pieces(batch):
            vector = np.zeros(self.length, np.float32)  # exact up to ids of 2 ** 24
            vector[: len(pieces)] = pieces
            vector[-1] = len(pieces)
            vectors.append(vector)
        return vectors


class LastLayers(Blocks):
    """A text network whose last layers are trained."""

    encoder = "pipeline.training.fine_tune.texts:Pieces"

    def __init__(self, options: Mapping[str, Any], blocks: int) -> None:
        super().__init__(options, blocks)
        self._network = TextEmbedding(torch.device("cpu"), **options).network
        demand_blocks(blocks, self._network.blocks, "its network")
        self.length = self._network.length
        for parameter in self._network.parameters():
            parameter.requires_grad_(False)
        for parameter in self._network.last(blocks):
            parameter.requires_grad_(True)

    def forward(self, rows: Tensor) -> Tensor:
        numbers = rows.long().tolist()
        pieces = [each[: each[-1]] for each in numbers]
        return sentence_vectors(self._network, pieces, rows.device)

    def save(self, folder: Path) -> tuple[str, Path]:
        return self._network.save(folder)
