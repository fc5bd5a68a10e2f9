"""The torch twins of the heads in ``pipeline.fusion.heads``: what is trained, and then exported.

Each takes standardised vectors by stage and a mask, and gives logits. ``arrays`` gives the
tensors by which the head computes the same; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]
Vectors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Sizes:
    """``lengths`` by stage of what a network reads; ``hidden`` numbers a stage, or a layer."""

    lengths: Mapping[str, int]
    labels: int
    hidden: int = 64
    queries: int = 4

    @property
    def stages(self) -> list[str]:
        return sorted(self.lengths)


class Network(nn.Module):
    """A head in training. ``layers``: the activations before its last affine maps."""

    layers: tuple[str, ...] = ()

    def __init__(self, sizes: Sizes, widths: Sequence[int]) -> None:
        super().__init__()
        self.sizes = sizes
        self.last = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    def stage_maps(self, width: int, read: Mapping[str, int] | None = None) -> nn.ModuleDict:
        """An affine map of each stage's vector, or of as many numbers as ``read`` says."""
        lengths = {**self.sizes.lengths, **(read or {})}
        return nn.ModuleDict({f"s_{s}": nn.Linear(lengths[s], width) for s in self.sizes.stages})

    def through_layers(self, z: Tensor) -> Tensor:
        for activation, layer in zip(self.layers, self.last, strict=True):
            z = layer(torch.relu(z) if activation == "relu" else z)
        return z

    def arrays(self) -> dict[str, Floats]:
        found = {}
        for number, layer in enumerate(self.last):
            found[f"layer{number}.matrix"] = array(layer.weight.T)
            found[f"layer{number}.offset"] = array(layer.bias)
        return found

    def load(self, arrays: Mapping[str, Floats]) -> None:
        """The inverse of ``arrays``."""
        for number, layer in enumerate(self.last):
            put(layer.weight, arrays[f"layer{number}.matrix"].T)
            put(layer.bias, arrays[f"layer{number}.offset"])

    def outputs(self) -> list[str]:
        """The arrays whose columns are labels."""
        if self.layers:
            return [f"layer{len(self.layers) - 1}.{part}" for part in ("matrix", "offset")]
        stages = [f"{s}.{part}" for s in self.sizes.stages for part in ("matrix", "offset")]
        return ["bias", *stages]

    def stage_arrays(self, maps: nn.ModuleDict) -> dict[str, Floats]:
        found = {}
        for stage in self.sizes.stages:
            found[f"{stage}.matrix"] = array(maps[f"s_{stage}"].weight.T)
            found[f"{stage}.offset"] = array(maps[f"s_{stage}"].bias)
        return found

    def load_stages(self, maps: nn.ModuleDict, arrays: Mapping[str, Floats]) -> None:
        for stage in self.sizes.stages:
            put(maps[f"s_{stage}"].weight, arrays[f"{stage}.matrix"].T)
            put(maps[f"s_{stage}"].bias, arrays[f"{stage}.offset"])


def array(tensor: Tensor | nn.Module) -> Floats:
    assert isinstance(tensor, Tensor)
    found: Floats = tensor.detach().cpu().numpy().astype(np.float64)
    return found


def put(parameter: Tensor | nn.Module, values: Floats) -> None:
    """Sets a parameter; the inverse of ``array``."""
    assert isinstance(parameter, Tensor)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


class BlockNetwork(Network):
    """``concat``: logits, or a hidden layer, are a sum of one affine map a stage."""

    def __init__(self, sizes: Sizes, deep: bool) -> None:
        self.layers = ("relu",) if deep else ()
        super().__init__(sizes, [sizes.hidden, sizes.labels] if deep else [])
        width = sizes.hidden if deep else sizes.labels
        self.maps = self.stage_maps(width)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, vectors: Vectors, masks: Tensor) -> Tensor:
        z = self.bias.expand(len(masks), -1)
        for column, stage in enumerate(self.sizes.stages):
            z = z + masks[:, column : column + 1] * self.maps[f"s_{stage}"](vectors[stage])
        return self.through_layers(z)

    def arrays(self) -> dict[str, Floats]:
        return super().arrays() | self.stage_arrays(self.maps) | {"bias": array(self.bias)}

    def load(self, arrays: Mapping[str, Floats]) -> None:
        super().load(arrays)
        self.load_stages(self.maps, arrays)
        put(self.bias, arrays["bias"])


class WeightedNetwork(Network):
    """``weighted_sum``: F = Σ wᵢ vᵢ of projected vectors, standardised, then linear or a layer.

    ``weights``: as in the file; ``train`` makes them parameters, kept above 0 by a softplus.
    ``centre`` and ``scale`` standardise F.
    """

    def __init__(
        self,
        sizes: Sizes,
        deep: bool,
        weights: Mapping[str, float],
        train: bool,
        centre: Floats,
        scale: Floats,
    ) -> None:
        self.layers = ("relu",) if deep else ()
        super().__init__(sizes, [sizes.hidden, sizes.labels] if deep else [])
        width = sizes.hidden if deep else sizes.labels
        given = torch.tensor([weights[stage] for stage in sizes.stages], dtype=torch.float64)
        raw = (given + torch.log(-torch.expm1(-given))).float()  # the inverse of softplus
        self.raw = nn.Parameter(raw, requires_grad=train)
        self.first = nn.Linear(len(centre), width)
        self.there = nn.Parameter(torch.zeros(len(sizes.stages), width))
        self.centre = nn.Buffer(torch.from_numpy(centre).float())
        self.scale = nn.Buffer(torch.from_numpy(scale).float())

    def weights(self) -> Tensor:
        return nn.functional.softplus(self.raw)

    def forward(self, vectors: Vectors, masks: Tensor) -> Tensor:
        weights = self.weights()
        found = masks * weights
        factor = weights.sum() / found.sum(dim=1, keepdim=True).clamp_min(1e-12)
        factors = found * factor
        fused = torch.zeros_like(self.centre).expand(len(masks), -1)
        for column, stage in enumerate(self.sizes.stages):
            fused = fused + factors[:, column : column + 1] * vectors[stage]
        z = self.first((fused - self.centre) * self.scale) + masks @ self.there
        return self.through_layers(z)

    def trained_weights(self) -> dict[str, float]:
        return dict(zip(self.sizes.stages, array(self.weights()).tolist(), strict=True))

    def arrays(self) -> dict[str, Floats]:
        """``first`` stands for the map of F; ``folded`` in ``fitting`` makes stage maps of it."""
        scaled = array(self.scale)[:, None] * array(self.first.weight.T)
        found = super().arrays()
        found["map"] = scaled
        found["bias"] = array(self.first.bias) - array(self.centre) @ scaled
        for row, stage in enumerate(self.sizes.stages):
            found[f"{stage}.offset"] = array(self.there)[row]
        return found


class GatedNetwork(Network):
    """``GatedHead`` in training."""

    layers = ("identity",)

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes, [sizes.hidden, sizes.labels])
        self.maps = self.stage_maps(sizes.hidden)
        count = len(sizes.stages)
        self.query = nn.Parameter(torch.randn(count, sizes.hidden) / sizes.hidden)
        self.context = nn.Parameter(torch.randn(count, sizes.hidden) / sizes.hidden)
        self.gate = nn.Parameter(torch.zeros(count))

    def forward(self, vectors: Vectors, masks: Tensor) -> Tensor:
        stages = self.sizes.stages
        t = torch.stack([torch.tanh(self.maps[f"s_{s}"](vectors[s])) for s in stages], dim=1)
        there = masks[:, :, None]
        mean = (there * t).sum(dim=1) / there.sum(dim=1).clamp_min(1.0)
        scores = (t * self.query).sum(dim=2) + mean @ self.context.T + self.gate
        gates = masked_softmax(scores, masks)
        return self.through_layers((gates[:, :, None] * t).sum(dim=1))

    def arrays(self) -> dict[str, Floats]:
        found = super().arrays() | self.stage_arrays(self.maps)
        for row, stage in enumerate(self.sizes.stages):
            found[f"{stage}.query"] = array(self.query)[row]
            found[f"{stage}.context"] = array(self.context)[row]
            found[f"{stage}.gate"] = array(self.gate)[row : row + 1]
        return found

    def load(self, arrays: Mapping[str, Floats]) -> None:
        super().load(arrays)
        self.load_stages(self.maps, arrays)
        for part in ("query", "context"):
            put(getattr(self, part), np.stack([arrays[f"{s}.{part}"] for s in self.sizes.stages]))
        put(self.gate, np.concatenate([arrays[f"{s}.gate"] for s in self.sizes.stages]))


class AttentionNetwork(Network):
    """``AttentionHead`` in training."""

    layers = ("identity", "relu")

    def __init__(self, sizes: Sizes) -> None:
        width = -(-sizes.hidden // sizes.queries) * sizes.queries
        super().__init__(sizes, [width, sizes.hidden, sizes.labels])
        self.maps = self.stage_maps(sizes.hidden)
        self.values = nn.Parameter(torch.randn(sizes.hidden, width) / sizes.hidden**0.5)
        self.queries = nn.Parameter(torch.randn(sizes.hidden, sizes.queries) / sizes.hidden**0.5)

    def forward(self, vectors: Vectors, masks: Tensor) -> Tensor:
        stages, queries = self.sizes.stages, self.sizes.queries
        tokens = [torch.tanh(self.maps[f"s_{stage}"](vectors[stage])) for stage in stages]
        token = torch.stack(tokens, dim=1)  # (n, stages, hidden)
        values = (token @ self.values).reshape(*token.shape[:2], queries, -1)
        attention = masked_softmax(token @ self.queries, masks[:, :, None])
        answers = (attention[:, :, :, None] * values).sum(dim=1).flatten(1)
        return self.through_layers(answers)

    def arrays(self) -> dict[str, Floats]:
        own = {"values": array(self.values), "queries": array(self.queries)}
        return super().arrays() | self.stage_arrays(self.maps) | own

    def load(self, arrays: Mapping[str, Floats]) -> None:
        super().load(arrays)
        self.load_stages(self.maps, arrays)
        put(self.values, arrays["values"])
        put(self.queries, arrays["queries"])


def masked_softmax(scores: Tensor, masks: Tensor) -> Tensor:
    """Over dimension 1, of what ``masks`` (1 or 0) have; zeros where they have nothing."""
    shown = masks > 0
    highest = scores.masked_fill(~shown, -torch.inf).amax(dim=1, keepdim=True)
    highest = torch.where(torch.isfinite(highest), highest, torch.zeros_like(highest)).detach()
    powers = torch.exp((scores - highest).masked_fill(~shown, -torch.inf))
    return powers / powers.sum(dim=1, keepdim=True).clamp_min(1e-30)
