"""The classic example on real recordings: audio, text, padded tokens, Embedding, LSTM, Dense.

    make eval-classic

Says a recording a number, or not? Whisper tiny.en writes down what it hears, its words become
tokens padded at the end, and an embedding of 128, an LSTM of 128 and one sigmoid unit tell the two
apart: binary cross-entropy, Adam (0.001), 10 epochs, batches of 32. Seven in ten recordings are of
one speaker, so there are two folds: learned from her and asked about all others, and the other way
round. No speaker is heard in training and asked about. The features are made once (``motet export
--files``) and kept in the cache.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from classic_data import WINDOW_S, prepared
from eval_data import cache, skipping
from numpy.typing import NDArray

from pipeline.fusion.head_rule import HeadRule
from pipeline.spec.models import FusionSpec
from pipeline.training.feature_set import FeatureSet, read_set
from pipeline.training.options import TrainOptions
from pipeline.training.train import train

FILE = f"""version: 1
name: classic
inputs:
  mic: {{topic: classic.mic, type: "audio/L16;rate=16000;channels=1"}}
windows: {{size: {WINDOW_S}s}}
stages:
  heard:  {{encoder: speech_to_text, of: mic, batch_max: 8, timeout: 1h}}
  tokens: {{encoder: text_tokens, of: heard, timeout: 1h, options: {{steps: 16}}}}
  bag:    {{encoder: hash_text, of: heard, timeout: 1h, options: {{dim: 1024}}}}
fusion: {{rule: concat, of: {{tokens: 1, bag: 1}}}}
outputs: {{results: classic.results, late: classic.late, dead_letter: classic.dead-letter}}
"""
CLASSIC = {"hidden": 128, "embedding": 128, "epochs": 10, "patience": 10, "batch": 32,
           "learning_rate": 1e-3, "weight_decay": 0.0, "modality_dropout": 0.0}  # fmt: skip
PARTS = 10  # of what is learned from, some for validation: most speakers say no number
LARGEST = "allison"
# What stands beside it: a convolution on the same tokens, and a regression on a bag of words.
ROWS = {
    "lstm": ("tokens", TrainOptions("lstm", **CLASSIC)),
    "cnn": ("tokens", TrainOptions("cnn", **CLASSIC)),
    "logistic": ("bag", TrainOptions("logistic", modality_dropout=0.0)),
}


class Told(NamedTuple):
    """Of the rows of one speaker: what is true, and what was said, both as numbers of labels."""

    truth: NDArray[np.intp]
    found: NDArray[np.intp]

    @property
    def right(self) -> NDArray[np.bool_]:
        return self.truth == self.found


def features() -> FeatureSet:
    sounds, labels = prepared()
    folder = cache() / "classic"
    file, out = folder / "classic.yaml", folder / "set"
    if not file.is_file() or file.read_text() != FILE or not (out / "set.json").is_file():
        file.write_text(FILE)
        command = ["export", file, "--labels", labels, "--files", sounds, "--stream", "{folder}",
                   "-o", out, "--no-media"]  # fmt: skip
        subprocess.run([Path(sys.executable).with_name("motet"), *command], check=True)
    return read_set(out)


def asked(data: FeatureSet, rows: NDArray[np.bool_], kind: str, seed: int) -> Told:
    """Trained on the other rows, and asked about these."""
    stage, options = ROWS[kind]
    fusion = FusionSpec(rule="concat", of={stage: 1})
    seen = data.taken(np.flatnonzero(~rows))
    parts = np.arange(len(seen)) % PARTS
    named = tuple(f"part {part}" for part in parts)
    seen = replace(seen, streams=named).taken(np.argsort(parts, kind="stable"))
    made = train(fusion, seen, TrainOptions(**options.as_json() | {"seed": seed})).fitted
    held = data.taken(np.flatnonzero(rows))
    logits = HeadRule(made.spec, made.tensors).logits(held.vectors, held.there)
    labels = made.spec.labels
    truth = np.array([labels.index(str(label)) for label in held.labels], np.intp)
    return Told(truth, logits.argmax(axis=1))


def all_asked(data: FeatureSet, kind: str, seed: int) -> Told:
    """Every row, asked of a head that never heard its speaker."""
    of_largest = np.array([stream == LARGEST for stream in data.streams])
    truth, found = np.zeros(len(data), np.intp), np.zeros(len(data), np.intp)
    for rows in (of_largest, ~of_largest):
        told = asked(data, rows, kind, seed)
        truth[rows], found[rows] = told.truth, told.found
    return Told(truth, found)


def mean_recall(told: Told) -> float:
    """Balanced accuracy."""
    return float(np.mean([told.right[told.truth == each].mean() for each in set(told.truth)]))


def table(seeds: int) -> None:
    data = features()
    told = {kind: [all_asked(data, kind, seed) for seed in range(seeds)] for kind in ROWS}
    streams = np.array(data.streams)
    speakers = sorted(set(data.streams), key=lambda name: -data.streams.count(name))
    print(f"{len(data)} recordings of {len(speakers)} speakers; {seeds} seeds, mean ± deviation")
    print(f"{'speaker':16}{'N':>5}{'number':>8}{'majority':>10}", *(f"{k:>16}" for k in ROWS))
    groups = {speaker: streams == speaker for speaker in speakers}
    groups |= {"all others": streams != LARGEST, "all": streams != ""}
    for name, rows in groups.items():
        _line(name, rows, told, lambda each: float(each.right.mean()))
        if rows.sum() > len(data) / 4:
            _line(f"{name}, recall", rows, told, mean_recall)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def _line(
    name: str,
    rows: NDArray[np.bool_],
    told: Mapping[str, Sequence[Told]],
    figure: Callable[[Told], float],
) -> None:
    truth = next(iter(told.values()))[0].truth[rows]
    numbers = int((truth == 0).sum())  # labels are in the order of the alphabet
    majority = max(numbers, len(truth) - numbers) / len(truth)
    cells = [
        _spread([figure(Told(each.truth[rows], each.found[rows])) for each in told[kind]])
        for kind in told
    ]
    print(f"{name:16}{len(truth):5}{numbers:8}{majority:10.3f}", *(f"{c:>16}" for c in cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    return skipping(lambda: table(given.seeds))


if __name__ == "__main__":
    sys.exit(main())
