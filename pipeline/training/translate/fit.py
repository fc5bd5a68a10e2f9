"""Training the network of a translation by gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.encoders.models.translation.files import Translation
from pipeline.encoders.models.translation.network import Sizes, TranslationNetwork
from pipeline.encoders.models.translation.pieces import BEGIN, END, PAD, learn_pieces
from pipeline.training.fitting import Curve, repeatable
from pipeline.training.translate.pairs import Pair, Parts

DROPOUT, NORM_MAX = 0.1, 1.0
_SORTED_BATCHES = 16  # batches of like length are made of so many that were drawn together
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class TranslateOptions:
    """``joins``: most subwords of a side that are longer than a character."""

    seed: int = 0
    epochs: int = 30
    patience: int = 5
    batch: int = 64
    learning_rate: float = 3e-3
    width: int = 128
    joins: int = 200
    device: str = "cpu"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Example:
    source: list[int]
    target: list[int]  # from BEGIN to END


def fit(parts: Parts, options: TranslateOptions, progress: Progress) -> tuple[Translation, Curve]:
    """The pieces of both sides are learned from the training pairs, and so is the network.

    The same pairs, options and seed give the same bits on one CPU.
    """
    device = torch.device(options.device)
    source = learn_pieces([pair.source for pair in parts.train], options.joins)
    target = learn_pieces([pair.target for pair in parts.train], options.joins)

    def examples(pairs: Sequence[Pair]) -> list[Example]:
        return [
            Example(source.ids(pair.source), [BEGIN, *target.ids(pair.target), END])
            for pair in pairs
        ]

    with repeatable(options.seed, device) as generator:
        network = TranslationNetwork(Sizes(len(source), len(target), options.width), DROPOUT)
        network.to(device)
        train, held = examples(parts.train), examples(parts.validation)
        curve = _train(network, train, held, options, generator, progress)
    return Translation(network.double().eval(), source, target), curve


def _train(
    network: TranslationNetwork,
    train: list[Example],
    held: list[Example],
    options: TranslateOptions,
    generator: torch.Generator,
    progress: Progress,
) -> Curve:
    """Leaves the weights of the epoch with the least validation loss in the network.

    AdamW under one cycle of the learning rate (Smith and Topin, 2018) on the cross-entropy of each
    piece, the ones before it being told; ends after ``patience`` epochs without a lesser loss.
    """
    steps = len(list(_batches(train, options.batch, generator)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=steps * options.epochs
    )
    curve, best_loss = Curve(), float("inf")
    best = copy.deepcopy(network.state_dict())
    for epoch in range(options.epochs):
        network.train()
        total = pieces = 0.0
        for batch in _batches(train, options.batch, generator):
            loss, _, count = _loss(network, batch)
            optimizer.zero_grad()
            (loss / count).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), NORM_MAX)
            optimizer.step()
            schedule.step()
            total, pieces = total + float(loss.detach()), pieces + count
        curve.train_loss.append(total / pieces)
        held_loss, share = _measured(network.eval(), held, options.batch)
        curve.validation_loss.append(held_loss)
        curve.validation_accuracy.append(share)
        progress((epoch + 1) / options.epochs)
        if held_loss < best_loss:
            best_loss, curve.best = held_loss, epoch
            best = copy.deepcopy(network.state_dict())
        elif epoch - curve.best >= options.patience:
            break
    network.load_state_dict(best)
    return curve


def _batches(
    examples: Sequence[Example], size: int, generator: torch.Generator
) -> Iterator[list[Example]]:
    """All of them in drawn order, those of a batch of like length: less is filled up."""
    order = torch.randperm(len(examples), generator=generator)
    batches: list[list[Example]] = []
    for places in torch.split(order, size * _SORTED_BATCHES):
        drawn = [examples[place] for place in places.tolist()]
        drawn.sort(key=lambda each: len(each.source) + len(each.target))
        batches += [drawn[first : first + size] for first in range(0, len(drawn), size)]
    for place in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[place]


def _measured(
    network: TranslationNetwork, examples: Sequence[Example], size: int
) -> tuple[float, float]:
    """The mean loss of a piece, and the share of pieces that are right."""
    ordered = sorted(examples, key=lambda each: len(each.source) + len(each.target))
    total = right = pieces = 0.0
    with torch.no_grad():
        for first in range(0, len(ordered), size):
            loss, hits, count = _loss(network, ordered[first : first + size])
            total, right, pieces = total + float(loss), right + hits, pieces + count
    return total / pieces, right / pieces


def _loss(network: TranslationNetwork, batch: Sequence[Example]) -> tuple[Tensor, int, int]:
    """The summed cross-entropy, how many pieces are right, and how many there are."""
    device = network.piece.weight.device
    source, target = (
        nn.utils.rnn.pad_sequence(
            [torch.tensor(ids) for ids in side], batch_first=True, padding_value=PAD
        ).to(device)
        for side in ([each.source for each in batch], [each.target for each in batch])
    )
    logits = network(source, target[:, :-1]).flatten(0, 1)
    truth = target[:, 1:].flatten()
    loss = nn.functional.cross_entropy(logits, truth, ignore_index=PAD, reduction="sum")
    right = (logits.argmax(dim=1) == truth) & (truth != PAD)
    return loss, int(right.sum()), int((truth != PAD).sum())
