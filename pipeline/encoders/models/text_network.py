"""Networks over word pieces, and a text's vector from what they give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline.batching.length_buckets import length_buckets
from pipeline.encoders.to_device import to_device

_PADDING_MAX = 1 / 8  # of what the network computes in one call
_BATCH = 64


class TextNetwork(torch.nn.Module):
    """A network and its tokenizer.

    ``length``: numbers of a vector. ``pieces_max``: most word pieces that it reads, where it says
    so. ``pad``: the piece that fills up, masked. ``blocks``: how many layers may be trained.
    """

    pad: int
    length: int
    pieces_max: int | None
    blocks: int

    @abstractmethod
    def pieces(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Ids of word pieces, ``most`` at most, those that begin and end a text among them."""

    @abstractmethod
    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The last layer, shape (n, pieces, length); ``mask`` (n, pieces) is 0 at the padding."""

    @abstractmethod
    def last(self, blocks: int) -> list[torch.nn.Parameter]:
        """The parameters of its last so many blocks."""

    @abstractmethod
    def save(self, folder: Path) -> tuple[str, Path]:
        """Writes the network whole; gives an option of the stage and what it is to name."""


def sentence_vectors(
    network: TextNetwork, pieces: Sequence[list[int]], device: torch.device
) -> torch.Tensor:
    """(n, d), each row of length 1, or zeros where a text has no pieces."""
    vectors = torch.zeros((len(pieces), network.length), device=device)
    there = [place for place, each in enumerate(pieces) if each]
    lengths = [len(pieces[place]) for place in there]
    for length, found in length_buckets(lengths, _PADDING_MAX, _BATCH):
        rows = [there[place] for place in found]
        vectors[rows] = _pooled(network, [pieces[row] for row in rows], length, device)
    return vectors


def _pooled(
    network: TextNetwork, pieces: Sequence[list[int]], length: int, device: torch.device
) -> torch.Tensor:
    """Of texts that are filled up to ``length`` word pieces."""
    both = np.zeros((2, len(pieces), length), np.int64)
    both[0] = network.pad
    for row, each in enumerate(pieces):
        both[0, row, : len(each)] = each
        both[1, row, : len(each)] = 1
    ids, mask = to_device(both, device)
    states = network.states(ids, mask)
    weights = mask.unsqueeze(-1).float()
    mean = (states * weights).sum(dim=1) / weights.sum(dim=1)
    return torch.nn.functional.normalize(mean, dim=1)
