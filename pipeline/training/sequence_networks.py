"""The torch twins of the heads in ``pipeline.fusion.sequence_heads``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.spec.sequence import SequenceShape
from pipeline.training.networks import Floats, Network, Sizes, Vectors, array, put

_KERNEL = 5  # steps that a filter sees
_ROWS = 0.05  # of the numbers of an embedding before training


class Reader(nn.Module):
    """Of a sequence's vectors (n, length) one summary each, shape (n, hidden)."""

    def __init__(self, shape: SequenceShape, embedding: int, hidden: int) -> None:
        super().__init__()
        self.shape, self.hidden = shape, hidden
        self.width = embedding if shape.tokens else shape.width
        if shape.tokens:
            self.embedding = nn.Embedding(shape.width, embedding, padding_idx=0)
            # a token that is never learned from keeps its row: next to nothing, not noise
            nn.init.uniform_(self.embedding.weight, -_ROWS, _ROWS)

    def steps(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The steps (n, steps, width), zeros behind the last one, and how many there are (n,)."""
        if not self.shape.tokens:
            steps = rows.reshape(len(rows), self.shape.steps, self.width)
            return steps, torch.full((len(rows),), self.shape.steps, device=rows.device)
        tokens = rows.long()
        places = torch.arange(1, self.shape.steps + 1, device=rows.device)
        lengths = ((tokens > 0) * places).amax(dim=1)
        return self.embedding(tokens) * (places <= lengths[:, None])[:, :, None], lengths

    def arrays(self) -> dict[str, Floats]:
        return {"embedding": array(self.embedding.weight)} if self.shape.tokens else {}

    def load(self, arrays: Mapping[str, Floats]) -> None:
        """The inverse of ``arrays``."""
        if self.shape.tokens:
            put(self.embedding.weight, arrays["embedding"])


class LstmReader(Reader):
    def __init__(self, shape: SequenceShape, embedding: int, hidden: int) -> None:
        super().__init__(shape, embedding, hidden)
        self.lstm = nn.LSTM(self.width, hidden, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        steps, lengths = self.steps(rows)
        states, _ = self.lstm(steps)  # what lies behind the last step changes none before it
        at = torch.arange(len(rows), device=rows.device)
        last: Tensor = states[at, (lengths - 1).clamp_min(0)] * (lengths > 0)[:, None]
        return last

    def arrays(self) -> dict[str, Floats]:
        lstm = self.lstm
        return super().arrays() | {
            "inputs.matrix": array(lstm.weight_ih_l0.T),
            "states.matrix": array(lstm.weight_hh_l0.T),
            "states.offset": array(lstm.bias_ih_l0) + array(lstm.bias_hh_l0),
        }

    def load(self, arrays: Mapping[str, Floats]) -> None:
        super().load(arrays)
        put(self.lstm.weight_ih_l0, arrays["inputs.matrix"].T)
        put(self.lstm.weight_hh_l0, arrays["states.matrix"].T)
        put(self.lstm.bias_ih_l0, arrays["states.offset"])
        put(self.lstm.bias_hh_l0, np.zeros_like(arrays["states.offset"]))


class CnnReader(Reader):
    def __init__(self, shape: SequenceShape, embedding: int, hidden: int) -> None:
        super().__init__(shape, embedding, hidden)
        self.filters = nn.ModuleList(
            nn.Conv1d(width, hidden, _KERNEL, padding=_KERNEL // 2)
            for width in (self.width, hidden)
        )

    def forward(self, rows: Tensor) -> Tensor:
        steps, lengths = self.steps(rows)
        there = torch.arange(self.shape.steps, device=rows.device) < lengths[:, None]
        over_time = steps.transpose(1, 2)
        for layer in self.filters:
            over_time = torch.relu(layer(over_time)) * there[:, None, :]
        return over_time.amax(dim=2)

    def arrays(self) -> dict[str, Floats]:
        found = super().arrays()
        for number, layer in enumerate(self.filters):
            assert isinstance(layer, nn.Conv1d)
            weight = array(layer.weight).transpose(2, 1, 0)  # (kernel, width, hidden)
            found[f"filters{number}.matrix"] = weight.reshape(-1, weight.shape[2])
            found[f"filters{number}.offset"] = array(layer.bias)  # type: ignore[arg-type]
        return found

    def load(self, arrays: Mapping[str, Floats]) -> None:
        super().load(arrays)
        for number, layer in enumerate(self.filters):
            assert isinstance(layer, nn.Conv1d)
            matrix = arrays[f"filters{number}.matrix"]
            weight = matrix.reshape(_KERNEL, -1, matrix.shape[1]).transpose(2, 1, 0)
            put(layer.weight, weight)
            put(layer.bias, arrays[f"filters{number}.offset"])  # type: ignore[arg-type]


READERS: dict[str, type[Reader]] = {"lstm": LstmReader, "cnn": CnnReader}


class SequenceNetwork(Network):
    """``concat``: one affine map a stage, of its vector or of what a reader makes of its steps.

    With one stage that map gives the logits, with several a hidden layer. Two labels have one
    output z (a dense layer of one unit with a sigmoid): their logits are -z/2 and z/2, whose
    cross-entropy is the binary one.
    """

    def __init__(
        self, kind: str, sizes: Sizes, shapes: Mapping[str, SequenceShape], embedding: int
    ) -> None:
        outputs = 1 if sizes.labels == 2 else sizes.labels
        deep = len(sizes.stages) > 1
        self.layers = ("relu",) if deep else ()
        super().__init__(sizes, [sizes.hidden, outputs] if deep else [])
        self.readers = nn.ModuleDict(
            {f"s_{s}": READERS[kind](shape, embedding, sizes.hidden) for s, shape in shapes.items()}
        )
        self.maps = self.stage_maps(
            sizes.hidden if deep else outputs, dict.fromkeys(shapes, sizes.hidden)
        )
        self.bias = nn.Parameter(torch.zeros(sizes.hidden if deep else outputs))

    def forward(self, vectors: Vectors, masks: Tensor) -> Tensor:
        z = self.bias.expand(len(masks), -1)
        for column, stage in enumerate(self.sizes.stages):
            name, rows = f"s_{stage}", vectors[stage]
            read = self.readers[name](rows) if name in self.readers else rows
            z = z + masks[:, column : column + 1] * self.maps[name](read)
        logits = self.through_layers(z)
        return torch.cat([-logits, logits], dim=1) / 2 if self.sizes.labels == 2 else logits

    def arrays(self) -> dict[str, Floats]:
        found = super().arrays() | self.stage_arrays(self.maps) | {"bias": array(self.bias)}
        if self.sizes.labels == 2:
            for name in self.outputs():
                found[name] = np.concatenate([-found[name], found[name]], axis=-1) / 2
        for name, reader in self.readers.items():
            assert isinstance(reader, Reader)
            stage = name.removeprefix("s_")
            found |= {f"{stage}.{part}": made for part, made in reader.arrays().items()}
        return found

    def load(self, arrays: Mapping[str, Floats]) -> None:
        if self.sizes.labels == 2:
            one = {name: arrays[name][..., 1:] - arrays[name][..., :1] for name in self.outputs()}
            arrays = {**arrays, **one}
        super().load(arrays)
        self.load_stages(self.maps, arrays)
        put(self.bias, arrays["bias"])
        for name, reader in self.readers.items():
            assert isinstance(reader, Reader)
            stage = f"{name.removeprefix('s_')}."
            own = {n.removeprefix(stage): made for n, made in arrays.items() if n.startswith(stage)}
            reader.load(own)
