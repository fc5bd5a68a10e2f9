"""The network of a translation: two recurrent halves, and attention between them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.encoders.models.translation.pieces import PAD


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many pieces each side has, and the width of all layers (even)."""

    source: int
    target: int
    width: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Read(NamedTuple):
    """What was read: ``states`` (n, s, width), ``there`` (n, s), and what writing begins with."""

    states: Tensor
    there: Tensor
    hidden: Tensor  # (1, n, width)

    def repeated(self, times: int) -> Read:
        """Every text so many times, its copies together."""
        return Read(
            self.states.repeat_interleave(times, dim=0),
            self.there.repeat_interleave(times, dim=0),
            self.hidden.repeat_interleave(times, dim=1),
        )


class TranslationNetwork(nn.Module):
    """GRU encoder in both directions, GRU decoder, attention (Cho, 2014; Luong et al., 2015).

    What fills a batch up changes nothing: the encoder stops at each text's own end, and attention
    has weight 0 behind it.
    """

    def __init__(self, sizes: Sizes, dropout: float = 0.0) -> None:
        super().__init__()
        width = sizes.width
        self.sizes = sizes
        self.source = nn.Embedding(sizes.source, width, padding_idx=PAD)
        self.target = nn.Embedding(sizes.target, width)
        self.reader = nn.GRU(width, width // 2, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(width, width)
        self.writer = nn.GRU(width, width, batch_first=True)
        self.query = nn.Linear(width, width, bias=False)
        self.joined = nn.Linear(2 * width, width)
        self.piece = nn.Linear(width, sizes.target)
        self.dropout = nn.Dropout(dropout)

    def read(self, ids: Tensor) -> Read:
        """``ids`` (n, s): each row has one piece or more, then PAD."""
        there = ids != PAD
        lengths = there.sum(dim=1).cpu()  # where torch wants them
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(self.source(ids)), lengths, batch_first=True, enforce_sorted=False
        )
        states, last = self.reader(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=ids.shape[1]
        )
        both = last.transpose(0, 1).flatten(start_dim=1)
        return Read(states, there, torch.tanh(self.bridge(both)).unsqueeze(0))

    def write(self, ids: Tensor, read: Read) -> tuple[Tensor, Read]:
        """Logits (n, t, pieces) of what comes after each of ``ids`` (n, t), and how to go on."""
        states, hidden = self.writer(self.dropout(self.target(ids)), read.hidden)
        scores = self.query(states) @ read.states.transpose(1, 2)
        weights = scores.masked_fill(~read.there.unsqueeze(1), -torch.inf).softmax(dim=-1)
        seen = torch.cat([states, weights @ read.states], dim=-1)
        logits = self.piece(self.dropout(torch.tanh(self.joined(seen))))
        return logits, read._replace(hidden=hidden)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits of a whole target at once, as in training: each piece is told the ones before."""
        logits, _ = self.write(target, self.read(source))
        return logits
