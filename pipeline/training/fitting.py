"""Training a network by gradients: mini-batches, modality dropout, early stopping."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.training.networks import Network
from pipeline.training.options import TrainOptions

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tensors:
    """What a network reads: ``vectors`` by stage, ``masks`` (n, stages), ``truth`` (n,)."""

    vectors: Mapping[str, Tensor]
    masks: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.truth)

    def taken(self, rows: Tensor) -> Tensors:
        vectors = {stage: tensor[rows] for stage, tensor in self.vectors.items()}
        return Tensors(vectors, self.masks[rows], self.truth[rows])


@dataclass(slots=True)
class Curve:
    """One point an epoch; ``best`` is the epoch whose weights were kept."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    best: int = 0


class Steps(NamedTuple):
    """How weights are moved: an optimizer, and its rates step by step."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler


def tensors_of(
    vectors: Mapping[str, Floats],
    masks: NDArray[np.bool_],
    truth: NDArray[np.intp],
    device: torch.device,
) -> Tensors:
    return Tensors(
        {stage: torch.from_numpy(rows).float().to(device) for stage, rows in vectors.items()},
        torch.from_numpy(masks).float().to(device),
        torch.from_numpy(truth).long().to(device),
    )


@contextmanager
def repeatable(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Everything inside comes out the same on one CPU, whatever ran before: one thread, one seed.

    The state of torch's own generators is put back at the end. On a GPU it is the same within
    rounding: cuBLAS repeats bits only where its environment was set before the process began.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(device.type == "cpu")
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)


def train_network(
    network: Network,
    train: Tensors,
    validation: Tensors,
    options: TrainOptions,
    generator: torch.Generator,
    progress: Callable[[float], None],
    steps: Steps | None = None,
) -> Curve:
    """Leaves the weights of the epoch with the least validation loss in the network.

    Ends after ``patience`` epochs without a lesser one. AdamW (Loshchilov and Hutter, 2019) on
    the cross-entropy, unless ``steps`` says otherwise; ``balanced`` weighs each label by the
    inverse of how often it occurs.
    """
    weights = _label_weights(train.truth, network.sizes.labels) if options.balanced else None
    loss_of = nn.CrossEntropyLoss(weight=weights)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = steps.optimizer if steps else torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )  # fmt: skip
    curve, best_loss = Curve(), float("inf")
    best = copy.deepcopy(network.state_dict())
    for epoch in range(options.epochs):
        network.train()
        total = 0.0
        for rows in torch.split(torch.randperm(len(train), generator=generator), options.batch):
            batch = train.taken(rows.to(train.truth.device))
            masks = dropped(batch.masks, options.modality_dropout, generator)
            loss = loss_of(network(batch.vectors, masks), batch.truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if steps:
                steps.schedule.step()
            total += float(loss.detach()) * len(rows)
        curve.train_loss.append(total / len(train))
        network.eval()
        with torch.no_grad():
            logits = network(validation.vectors, validation.masks)
            held = float(loss_of(logits, validation.truth))
            right = (logits.argmax(dim=1) == validation.truth).double().mean()
        curve.validation_loss.append(held)
        curve.validation_accuracy.append(float(right))
        progress((epoch + 1) / options.epochs)
        if held < best_loss:
            best_loss, curve.best = held, epoch
            best = copy.deepcopy(network.state_dict())
        elif epoch - curve.best >= options.patience:
            break
    network.load_state_dict(best)
    return curve


def dropped(masks: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Hides each stage of a row with this chance, but never all that a row has."""
    if chance <= 0:
        return masks
    kept = torch.rand(masks.shape, generator=generator).to(masks.device) >= chance
    left = masks * kept
    return torch.where(left.any(dim=1, keepdim=True), left, masks)


def _label_weights(truth: Tensor, labels: int) -> Tensor:
    counts = torch.bincount(truth, minlength=labels).float()
    return torch.where(counts > 0, len(truth) / (labels * counts.clamp_min(1)), counts)
