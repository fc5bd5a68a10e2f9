"""TuxStamps-9: which of nine kinds of thing a stamp shows, by picture, spoken and written words.

Tux Paint's stamps (Debian's tuxpaint-stamps-default, GPL-2+, fetched, never vendored): pictures,
what they show read aloud in French by people, and an English caption. The nine folders with at
least 40 stamps are the labels. Each stamp is a stream with one window, through a pipeline on the
in-memory broker; heads are fitted by the project's own training, five folds by stamp.

    make eval-stamps                        # some minutes on one core, most of them the first time
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

import eval_data
from exported_sets import LANES, kept_set
from held_out import Rows, fitted_head, folds, measured, spread, subset_accuracy
from pipelines import SECOND_US, load
from stamps import Stamp, of_large_categories, publish, stamps, svg_reader

from pipeline.training.feature_set import FeatureSet
from pipeline.training.options import TrainOptions

LEAST, FOLDS = 40, 5
SPEECH = "fr"
WINDOW_S = 5  # the longest of 99 captions in 100; of the others the end is cut off
FILE = {
    "name": "stamps",
    "inputs": {
        "voice": {"topic": "in.voice", "type": "audio/ogg"},
        "picture": {"topic": "in.picture", "type": "image/png"},
        "caption": {"topic": "in.caption", "type": "text/plain"},
    },
    "windows": {"size": f"{WINDOW_S}s"},
    "stages": {
        "heard": {"encoder": "audio_embedding", "of": "voice", "options": {"deviation": True},
                  "timeout": "1h"},
        "seen": {"encoder": "image_embedding", "of": "picture", "timeout": "1h"},
        "read": {"encoder": "text_embedding", "of": "caption", "timeout": "1h"},
    },
    "fusion": {"rule": "concat", "of": {"heard": 1, "seen": 1, "read": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
    "slots": 1,
}  # fmt: skip
HEADS = ("late", "gated", "mlp", "logistic", "attention")
WHEEL = "resvg_py==0.5.0"  # draws SVG; MPL-2.0
WHEEL_SHA256 = "84f2378ecc7a8e38b03429efaefc816daec1b1970114909a6f973393b297c91b"  # Linux, x86-64


def shown() -> list[Stamp]:
    root = eval_data.debian("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    return of_large_categories([s for s in stamps(root) if SPEECH in s.spoken], LEAST)


def recorded(found: list[Stamp]) -> FeatureSet:
    """The stamps through the pipeline; kept on disk."""
    svg = svg_reader(eval_data.wheel(WHEEL, WHEEL_SHA256))
    publishing = partial(publish, shown=found, language=SPEECH, size_us=WINDOW_S * SECOND_US,
                         svg=svg, lanes=LANES)  # fmt: skip
    told = f"{eval_data.SHA256['tuxpaint-stamps-default']} {len(found)} {WHEEL}"
    return kept_set(load(FILE), publishing, told, eval_data.cache() / "sets")


def parted(data: FeatureSet, fold: int) -> tuple[Rows, Rows, Rows]:
    """Training, validation and held-out rows: a fold is held out, the next one validates."""
    parts = folds(data.streams, [str(label) for label in data.labels], FOLDS, seed=0)
    others = [part for at, part in enumerate(parts) if at not in (fold, (fold + 1) % FOLDS)]
    return np.sort(np.concatenate(others)), parts[(fold + 1) % FOLDS], parts[fold]


def accuracies(data: FeatureSet, kind: str) -> dict[str, list[float]]:
    """By the stages that are there, of the head of all, accuracy by fold; ``macro F1`` as well."""
    found = defaultdict(list)
    for fold in range(FOLDS):
        train, validation, test = parted(data, fold)
        head = fitted_head(data, train, validation, TrainOptions(kind, seed=fold))
        report = measured(head, data, test)
        for there, accuracy in subset_accuracy(report).items():
            found[" ".join(there)].append(accuracy)
        found["macro F1"].append(report["macro_f1"])
        found["calibration error"].append(report["calibration_error"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--heads", nargs="+", default=HEADS, help="kinds of head")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = shown()
    data = recorded(found)
    counts = Counter(data.labels)
    commonest = max(counts.values()) / len(data)
    print(f"{len(data)} stamps, {FOLDS} folds by stamp; the commonest label {commonest:.3f}")
    print(", ".join(f"{name} {count}" for name, count in counts.most_common()))
    told: dict[str, dict[str, list[float]]] = {}
    for kind in given.heads:
        told[kind] = accuracies(data, kind)
        print(f"\n{kind}; by what is there, accuracy ± standard deviation over folds")
        for there, values in told[kind].items():
            print(f"  {there or 'nothing':28s} {spread(values)}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(eval_data.skipping(main))
