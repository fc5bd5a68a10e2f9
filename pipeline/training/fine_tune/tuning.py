"""First a linear head on the frozen blocks, then blocks and head together (Kumar et al., 2022)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.training import fitting
from pipeline.training.metrics import scored
from pipeline.training.networks import Network, Sizes
from pipeline.training.options import TrainOptions
from pipeline.training.prepared import Examples, Standard, examples_of, usable
from pipeline.training.spent import Spent, versions
from pipeline.training.split import PARTS, Split
from pipeline.training.train import parted_rows

if TYPE_CHECKING:
    from pipeline.training.feature_set import FeatureSet
    from pipeline.training.fine_tune.pictures import LastBlocks

CARD = "card.json"
_AT_ONCE = 64
_HEAD = TrainOptions("linear", modality_dropout=0.0)


@dataclass(frozen=True, eq=False)
class Tuned:
    """Blocks that were trained further; ``told`` is their card."""

    blocks: LastBlocks
    curve: fitting.Curve
    told: dict[str, Any]

    @property
    def gained(self) -> bool:
        """Whether the rows that chose the epoch liked the trained blocks better."""
        frozen, tuned = (self.told["metrics"][n]["validation"] for n in ("frozen", "tuned"))
        return bool(tuned["log_loss"] < frozen["log_loss"])

    def save(self, folder: Path) -> str:
        """Writes the encoder and its card; gives the option of the stage that names it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).write_text(json.dumps(self.told, indent=2, sort_keys=True) + "\n")
        return self.blocks.save(folder)


class _Head(Network):
    """A linear head over the standardised vector of one stage."""

    def __init__(self, stage: str, standard: Standard, labels: int) -> None:
        super().__init__(Sizes({stage: len(standard.centre)}, labels), [])
        self._stage = stage
        self.centre = nn.Buffer(torch.from_numpy(standard.centre).float())
        self.scale = nn.Buffer(torch.from_numpy(standard.scale).float())
        self.map = nn.Linear(len(standard.centre), labels)

    def logits(self, vectors: Tensor) -> Tensor:
        found: Tensor = self.map((vectors - self.centre) * self.scale)
        return found

    def forward(self, vectors: Mapping[str, Tensor], _masks: Tensor) -> Tensor:
        return self.logits(vectors[self._stage])


class _Whole(Network):
    """The blocks, and the head on what they give."""

    def __init__(self, blocks: LastBlocks, head: _Head, stage: str) -> None:
        super().__init__(head.sizes, [])
        self._stage = stage
        self.blocks, self.head = blocks, head

    def forward(self, vectors: Mapping[str, Tensor], _masks: Tensor) -> Tensor:
        return self.head.logits(self.blocks(vectors[self._stage]))


def fine_tune(
    stage: str,
    blocks: LastBlocks,
    data: FeatureSet,
    options: TrainOptions,
    *,
    key: str = "--labels",
    device: str = "cpu",
    progress: Callable[[float], None] = lambda _share: None,
) -> Tuned:
    """Trains the blocks further, in place. ``data`` holds what they read (``Before``).

    Raises InvalidInput, by ``key``, where the set is no good for training. The same set, options
    and seed give the same weights, to the bit, on one CPU.
    """
    data = usable(data, key)
    labels = tuple(sorted({str(label) for label in data.labels}))
    examples = examples_of(data, labels)
    parted = parted_rows(data, examples, options.seed, key)
    parts = {part: examples.taken(getattr(parted, part)) for part in PARTS}
    place, spent = torch.device(device), Spent()
    with fitting.repeatable(options.seed, place) as generator:
        blocks.to(place)
        before = {p: _tensors(stage, each.vectors[stage], each, place) for p, each in parts.items()}
        frozen = {p: _after(stage, blocks, each) for p, each in before.items()}
        standard = Standard.of(frozen["train"].vectors[stage].cpu().double().numpy())
        head = _Head(stage, standard, len(labels)).to(place)
        probe = replace(_HEAD, seed=options.seed, balanced=options.balanced)
        _train(head, frozen, probe, generator)
        first = {p: _scored(head, each) for p, each in frozen.items()}
        whole = _Whole(blocks, head, stage)
        curve = _train(whole, before, options, generator, progress)
        then = {p: _scored(head, _after(stage, blocks, each)) for p, each in before.items()}
    samples = len(parts["train"]) * len(curve.train_loss)
    told = {
        "data": _data(data, parted, labels),
        "metrics": {"frozen": first, "tuned": then},
        "training": options.as_json() | {"best_epoch": curve.best},
        "cost": spent.told(samples)
        | {"parameters": sum(p.numel() for p in blocks.parameters() if p.requires_grad)},
        "versions": versions("numpy", "torch"),
        "seed": options.seed,
    }
    return Tuned(blocks.cpu(), curve, told)


def _train(
    network: Network,
    parts: Mapping[str, fitting.Tensors],
    options: TrainOptions,
    generator: torch.Generator,
    progress: Callable[[float], None] = lambda _share: None,
) -> fitting.Curve:
    train, held = parts["train"], parts["validation"]
    return fitting.train_network(network, train, held, options, generator, progress)


def _tensors(
    stage: str, rows: np.ndarray[Any, Any], examples: Examples, device: torch.device
) -> fitting.Tensors:
    return fitting.tensors_of({stage: rows}, examples.mask_matrix(), examples.truth, device)


def _after(stage: str, blocks: LastBlocks, before: fitting.Tensors) -> fitting.Tensors:
    """The same rows with what the blocks make of them now."""
    blocks.eval()
    with torch.no_grad():
        found = [blocks(rows) for rows in torch.split(before.vectors[stage], _AT_ONCE)]
    return replace(before, vectors={stage: torch.cat(found)})


def _scored(head: _Head, rows: fitting.Tensors) -> dict[str, Any]:
    head.eval()
    with torch.no_grad():
        scores = head(rows.vectors, rows.masks).double().softmax(dim=1).cpu().numpy()
    return scored(rows.truth.cpu().numpy(), scores)


def _data(data: FeatureSet, parted: Split, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "rows": len(data),
        "streams": len(set(data.streams)),
        "labels": list(labels),
        "split": {"by": parted.by, **{part: len(getattr(parted, part)) for part in PARTS}},
        "sha256": data.sha256(),
    }
