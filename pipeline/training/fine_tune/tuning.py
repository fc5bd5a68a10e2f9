"""Blocks and a linear head on them, trained together; measured by what a head makes of both.

The head in training reads each number of a vector by its mean and deviation in the batch. Vectors
of a good encoder differ little beside their size, so a head on fixed units would blow up what all
rows have in common, and the first steps of AdamW move just that: the blocks would be wrecked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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
    from pipeline.training.fine_tune.blocks import Blocks

CARD = "card.json"
_AT_ONCE = 64
_HEAD = TrainOptions("linear", modality_dropout=0.0)


class HeldOut(NamedTuple):
    """Of each held-out row its stream, and whether it is told right (0 or 1), shape (n,)."""

    streams: list[str]
    frozen: NDArray[np.float64]
    tuned: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tuned:
    """Blocks that were trained further; ``told`` is their card."""

    blocks: Blocks
    curve: fitting.Curve
    held_out: HeldOut
    told: dict[str, Any]

    @property
    def gained(self) -> bool:
        """Whether the rows that chose the epoch liked the trained blocks better."""
        frozen, tuned = (self.told["metrics"][n]["validation"] for n in ("frozen", "tuned"))
        return bool(tuned["log_loss"] < frozen["log_loss"])

    def save(self, folder: Path, gain: Mapping[str, Any]) -> tuple[str, Path]:
        """Writes the encoder and its card; gives an option of the stage and what it is to name.

        ``gain``: what the trained blocks are better by on the held-out rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        told = {**self.told, "gain": dict(gain)}
        (folder / CARD).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
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


class _Tuning(Network):
    """The blocks, and a head that begins at zero: the blocks move once it says something."""

    def __init__(self, blocks: Blocks, stage: str, labels: int) -> None:
        super().__init__(Sizes({stage: blocks.length}, labels), [])
        self._stage = stage
        self.blocks = blocks
        self.norm = nn.BatchNorm1d(blocks.length, affine=False)
        self.map = nn.Linear(blocks.length, labels)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(self, vectors: Mapping[str, Tensor], _masks: Tensor) -> Tensor:
        some = torch.split(vectors[self._stage], _AT_ONCE)  # validation rows come all at once
        found = torch.cat([self.blocks(rows) for rows in some])
        self.norm.train(self.training and len(found) > 1)  # one row has no deviation
        logits: Tensor = self.map(self.norm(found))
        return logits

    def steps(self, options: TrainOptions, rows: int) -> fitting.Steps:
        """Rates rise over the first tenth of all steps, then fall to 0 in a line."""
        rates = {self.map: _HEAD.learning_rate, self.blocks: options.learning_rate}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in each.parameters() if p.requires_grad], "lr": rate}
            for each, rate in rates.items()
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=options.weight_decay)
        steps = options.epochs * -(-rows // options.batch)
        rise = max(1, steps // 10)

        def share(step: int) -> float:
            return min((step + 1) / rise, (steps - step) / max(1, steps - rise))

        return fitting.Steps(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share))


def fine_tune(
    stage: str,
    blocks: Blocks,
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
        first = _probed(stage, blocks, before, options, len(labels), generator)
        network = _Tuning(blocks, stage, len(labels)).to(place)
        curve = fitting.train_network(
            network, before["train"], before["validation"], options, generator, progress,
            network.steps(options, len(parts["train"])),
        )  # fmt: skip
        then = _probed(stage, blocks, before, options, len(labels), generator)
    samples = len(parts["train"]) * len(curve.train_loss)
    told = {
        "data": _data(data, parted, labels),
        "metrics": {
            name: {p: scored(parts[p].truth, scores) for p, scores in each.items()}
            for name, each in (("frozen", first), ("tuned", then))
        },
        "training": options.as_json() | {"best_epoch": curve.best},
        "cost": spent.told(samples)
        | {"parameters": sum(p.numel() for p in blocks.parameters() if p.requires_grad)},
        "versions": versions("numpy", "torch"),
        "seed": options.seed,
    }
    right = [(s["test"].argmax(axis=1) == parts["test"].truth).astype(float) for s in (first, then)]
    held_out = HeldOut([data.streams[row] for row in parted.test], right[0], right[1])
    return Tuned(blocks.cpu(), curve, held_out, told)


def _probed(
    stage: str,
    blocks: Blocks,
    before: Mapping[str, fitting.Tensors],
    options: TrainOptions,
    labels: int,
    generator: torch.Generator,
) -> dict[str, NDArray[np.float64]]:
    """By part, the probabilities (n, labels) of a linear head on what the blocks give now."""
    rows = {part: _after(stage, blocks, each) for part, each in before.items()}
    train, held = rows["train"], rows["validation"]
    standard = Standard.of(train.vectors[stage].cpu().double().numpy())
    head = _Head(stage, standard, labels).to(train.truth.device)
    probe = replace(_HEAD, seed=options.seed, balanced=options.balanced)
    fitting.train_network(head, train, held, probe, generator, lambda _share: None)
    return {part: _scores(head, each) for part, each in rows.items()}


def _tensors(
    stage: str, rows: NDArray[np.float64], examples: Examples, device: torch.device
) -> fitting.Tensors:
    return fitting.tensors_of({stage: rows}, examples.mask_matrix(), examples.truth, device)


def _after(stage: str, blocks: Blocks, before: fitting.Tensors) -> fitting.Tensors:
    """The same rows with what the blocks make of them now."""
    blocks.eval()
    with torch.no_grad():
        found = [blocks(rows) for rows in torch.split(before.vectors[stage], _AT_ONCE)]
    return replace(before, vectors={stage: torch.cat(found)})


def _scores(head: _Head, rows: fitting.Tensors) -> NDArray[np.float64]:
    """Probabilities (n, labels)."""
    head.eval()
    with torch.no_grad():
        found: NDArray[np.float64] = (
            head(rows.vectors, rows.masks).double().softmax(1).cpu().numpy()
        )
    return found


def _data(data: FeatureSet, parted: Split, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "rows": len(data),
        "streams": len(set(data.streams)),
        "labels": list(labels),
        "split": {"by": parted.by, **{part: len(getattr(parted, part)) for part in PARTS}},
        "sha256": data.sha256(),
    }
