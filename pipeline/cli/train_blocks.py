"""``motet train --fine-tune STAGE``: the last blocks of a stage's encoder, trained further."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.cli.table import table
from pipeline.cli.terminal import emit, progress, say, warn
from pipeline.cli.train_data import Source, rows_of
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.training.fine_tune.tuning import Tuned

LEARNING_RATE, WEIGHT_DECAY, EPOCHS, PATIENCE, BATCH = 1e-4, 0.01, 8, 4, 32


class Asked(NamedTuple):
    """What the command line says; None is the default for blocks, which is not that for heads."""

    stage: str
    blocks: int
    seed: int
    device: str
    balanced: bool
    learning_rate: float | None
    weight_decay: float | None
    epochs: int | None
    patience: int | None


def train_blocks(
    file: Path,
    spec: PipelineSpec,
    source: Source,
    out: Path | None,
    asked: Asked,
    tensorboard: Path | None,
    as_json: bool,
) -> None:
    """Trains, measures on held-out streams, writes the encoder and says all of it."""
    from pipeline.training.fine_tune.stage import parted
    from pipeline.training.fine_tune.tuning import fine_tune
    from pipeline.training.options import TrainOptions

    if source.features is not None:
        why, remedy = "a set holds what comes after the blocks", "give --labels in its place"
        raise InvalidInput(Problem("--features", str(source.features), why, remedy))
    if out is None:
        remedy = f"name a folder such as models/{asked.stage}"
        raise InvalidInput(Problem("--out", "", "it is not given", remedy))
    before, blocks = parted(spec, asked.stage, asked.blocks)
    data, key, _ = rows_of(file, before, source)
    options = TrainOptions(
        "linear",
        seed=asked.seed,
        epochs=asked.epochs or EPOCHS,
        patience=asked.patience or PATIENCE,
        batch=BATCH,
        learning_rate=asked.learning_rate or LEARNING_RATE,
        weight_decay=WEIGHT_DECAY if asked.weight_decay is None else asked.weight_decay,
        modality_dropout=0.0,
        balanced=asked.balanced,
    )
    with progress(f"training the last {asked.blocks} blocks", 1.0) as shown:
        tuned = fine_tune(
            asked.stage, blocks, data, options, key=key, device=asked.device, progress=shown
        )
    gain = _gain(tuned)
    option, named = tuned.save(out, gain)
    _curves(tuned, out, tensorboard)
    _say(tuned, gain, asked.stage, f"{option}: {os.path.relpath(named, spec.folder)}")
    if as_json:
        told = {"out": str(out), "stage": asked.stage, "gained": tuned.gained, "gain": gain}
        emit(json.dumps({**told, **tuned.told}))


def _gain(tuned: Tuned) -> dict[str, Any]:
    """Accuracy on the held-out rows after training less that before, and its 95 % interval."""
    from pipeline.evaluation.bootstrap import ratio_interval

    streams, frozen, then = tuned.held_out
    gained = then - frozen
    interval = ratio_interval(gained.tolist(), [1.0] * len(gained), streams)
    return {"accuracy": float(gained.mean()), "interval": interval and list(interval)}


def _curves(tuned: Tuned, folder: Path, tensorboard: Path | None) -> None:
    from pipeline.training.curves import INSTALL, PICTURE, draw, write_events

    if not draw(tuned.curve, folder / PICTURE, f"blocks, {folder.name}", "training loss"):
        say(f"motet: no learning curves: {INSTALL} draws them")
    if tensorboard is not None:
        write_events(tuned.curve, tensorboard)


def _say(tuned: Tuned, gain: dict[str, Any], stage: str, option: str) -> None:
    told = tuned.told
    parts, cost = told["data"]["split"], told["cost"]
    streams = len(set(tuned.held_out.streams))
    say(
        f"motet: {parts['train']} windows trained on, {parts['validation']} for validation, "
        f"{parts['test']} held out (by {parts['by']}); {len(tuned.curve.train_loss)} epochs, "
        f"the best {tuned.curve.best + 1}"
    )
    head = ["a linear head on", "training", "validation", "held out", "log loss held out"]
    rows = [_row(told["metrics"][name], f"{name} blocks") for name in ("frozen", "tuned")]
    for line in table(head, rows):
        say(line)
    within = "one stream, so no interval"
    if gain["interval"] is not None:
        low, high = gain["interval"]
        within = f"{low:+.3f} to {high:+.3f} in 95 of 100 draws of {streams} streams"
    say(f"motet: gained on what is held out: {gain['accuracy']:+.3f} ({within})")
    say(
        f"motet: {cost['parameters']} parameters trained; {cost['wall_s']:.1f} s, "
        f"{cost['cpu_s']:.1f} s of CPU, peak memory {cost['peak_memory_bytes'] >> 20} MiB"
    )
    if not tuned.gained:
        warn(
            "the validation rows liked the frozen blocks better: keep the encoder as it is, label "
            "more streams, or train fewer blocks more slowly (--learning-rate)"
        )
    say(f"motet: in the file: stages: {{{stage}: {{options: {{{option}}}}}}}; then train a head")


def _row(parts: dict[str, Any], called: str) -> list[object]:
    accuracies = [f"{parts[part]['accuracy']:.3f}" for part in ("train", "validation", "test")]
    return [called, *accuracies, f"{parts['test']['log_loss']:.3f}"]
