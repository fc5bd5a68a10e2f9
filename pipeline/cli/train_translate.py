"""``motet train --task translate``: a model for ``text_to_text`` from sentence pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.cli.arguments import load_spec
from pipeline.cli.labels_option import demand
from pipeline.cli.table import table
from pipeline.cli.terminal import counted, emit, progress, say, warn
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.training.translate.fit import TranslateOptions
    from pipeline.training.translate.pairs import Pair
    from pipeline.training.translate.train import TrainedTranslation

TASK, BEAM = "translate", 4
_FIGURES = {"greedy": "greedy", "beam": "beam", "dictionary": "word for word", "train": "training"}


class PairsFrom(NamedTuple):
    """``file`` is the pipeline file, whose broker has the topic; a file of pairs needs none."""

    pairs: str | None
    file: Path | None
    sets: Sequence[str]
    wait: bool


class Asked(NamedTuple):
    """What the command line says of training; None is the task's own default."""

    seed: int
    device: str
    learning_rate: float
    epochs: int | None
    patience: int | None
    width: int | None


def demand_translate(task: str) -> None:
    """Raises InvalidInput for another task."""
    if task != TASK:
        why, remedy = "it is no task", f"take {TASK}, or leave it out for a head"
        raise InvalidInput(Problem("--task", task, why, remedy))


def train_translate(
    given: PairsFrom, out: Path | None, asked: Asked, tensorboard: Path | None, as_json: bool
) -> None:
    """Trains, measures on held-out pairs, writes the folder and says all of it."""
    from pipeline.evaluation.text import scorers
    from pipeline.evaluation.translation import measured, warnings_of
    from pipeline.training.translate.pairs import part
    from pipeline.training.translate.train import train_translation

    if out is None:
        remedy = "name a folder such as models/english-german"
        raise InvalidInput(Problem("--out", "", "it is not given", remedy))
    options = _options(asked)
    scorers()  # or all would be for nothing
    parts = part(_pairs(given), options.seed)
    with progress("training translate", 1.0) as shown:
        trained = train_translation(parts, options, shown)
    found = measured(trained.model, parts, BEAM)
    sha256 = trained.save(out, found)
    _curves(trained, out, tensorboard)
    warnings = warnings_of(found)
    _say(trained, found, warnings, out, sha256)
    if as_json:
        told = {"out": str(out), "sha256": sha256, "kind": TASK, "warnings": warnings}
        emit(json.dumps({**told, "metrics": found, **trained.told}))


def _options(asked: Asked) -> TranslateOptions:
    from pipeline.training.translate.fit import TranslateOptions

    if asked.width is not None and asked.width % 2:
        why, remedy = "it is odd", "take an even number: each direction of reading gets half"
        raise InvalidInput(Problem("--hidden", str(asked.width), why, remedy))
    return TranslateOptions(**{k: v for k, v in asked._asdict().items() if v is not None})


def _pairs(given: PairsFrom) -> list[Pair]:
    """A file before a topic; raises InvalidInput."""
    from pipeline.training.translate.pairs import KEY, REMEDY, read_pairs, topic_pairs

    named = demand(given.pairs, KEY, f"name a file or a topic: {REMEDY}")
    if given.sets and given.file is None:
        why, remedy = "there is no pipeline file to set it in", "leave it out, or name the file"
        raise InvalidInput(Problem("--set", given.sets[0], why, remedy))
    if Path(named).exists():
        pairs = read_pairs(Path(named))
    elif given.file is None:
        why = "no such file"
        remedy = "name a file, or for a topic also a pipeline file, whose broker has it"
        raise InvalidInput(Problem(KEY, named, why, remedy))
    else:
        from pipeline.cli.connect import connect_for

        spec = load_spec(given.file, given.sets)
        pairs = topic_pairs(connect_for(spec, wait=given.wait), named)
    say(f"motet: {counted(len(pairs), 'pair')}, {len(set(pairs))} of them different")
    return pairs


def _curves(trained: TrainedTranslation, folder: Path, tensorboard: Path | None) -> None:
    from pipeline.training.curves import INSTALL, PICTURE, draw, write_events

    title = f"{TASK}, {folder.name}"
    if not draw(trained.curve, folder / PICTURE, title, "training loss"):
        say(f"motet: no learning curves: {INSTALL} draws them")
    if tensorboard is not None:
        write_events(trained.curve, tensorboard)


def _say(
    trained: TrainedTranslation,
    found: dict[str, Any],
    warnings: list[str],
    folder: Path,
    sha256: str,
) -> None:
    data, training, cost = (trained.told[part] for part in ("data", "training", "cost"))
    parts = data["split"]
    say(
        f"motet: {parts['train']} pairs trained on, {parts['validation']} for validation, "
        f"{parts['test']} held out; {training['epochs_run']} epochs, the best "
        f"{training['best_epoch'] + 1}"
    )
    head = ["held out", "pairs", "exact", "95 %", "BLEU", "chrF", "ms a text"]
    for line in table(head, [_row(found[way], called) for way, called in _FIGURES.items()]):
        say(line)
    say(f"motet: beam of {found['beam_size']}; {found['greedy']['bleu_signature']}")
    say(
        f"motet: gap between training and held out {found['gap']:+.3f} exact; "
        f"{cost['parameters']} parameters; {cost['wall_s']:.1f} s, {cost['cpu_s']:.1f} s of CPU, "
        f"{cost['samples_per_s']:.0f} pairs/s, peak memory {cost['peak_memory_bytes'] >> 20} MiB"
    )
    for line in warnings:
        warn(line)
    lines = f"{{encoder: text_to_text, of: TEXT, options: {{model: {folder}}}}}"
    say(f"motet: {folder} holds model {sha256[:12]}; in the file: stages: {{STAGE: {lines}}}")


def _row(figures: dict[str, Any], called: str) -> list[object]:
    interval = figures["exact_interval"]
    return [
        called,
        figures["rows"],
        f"{figures['exact']:.3f}",
        "" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}",
        f"{figures['bleu']:.1f}",
        f"{figures['chrf']:.1f}",
        f"{figures['cpu_ms_per_text']:.2f}",
    ]
