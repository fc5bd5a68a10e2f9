"""What training the last blocks of an image network is worth on handwritten digits.

python tests/bench/fine_tune_bench.py --rows 800 --blocks 2     # about a minute on one core
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.encoders.base import Clip
from pipeline.training.feature_set import Row, set_of
from pipeline.training.fine_tune.pictures import Before, LastBlocks
from pipeline.training.fine_tune.tuning import fine_tune
from pipeline.training.options import TrainOptions

STREAMS, SIDE = 20, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    before = Before(torch.device("cpu"), blocks=given.blocks, max_frames=1)
    rows = []
    chosen = np.random.default_rng(0).permutation(len(digits.images))[: given.rows]
    for place, number in enumerate(chosen):
        pixels = Image.fromarray((digits.images[number] * 15.9).astype(np.uint8))
        frame = np.asarray(pixels.resize((SIDE, SIDE)).convert("RGB"))
        [vector] = before.encode([Clip("s", 0, 1, frames=[frame], times_us=[0])])
        stream, label = f"s{place % STREAMS}", str(digits.target[number])
        rows.append(Row(stream, place, place + 1, label, None, {"look": vector}))
    data = set_of(rows, {"look": before.length}, {"features": {}})
    options = TrainOptions(
        "linear", epochs=20, patience=4, batch=32, learning_rate=given.learning_rate,
        weight_decay=0.01, modality_dropout=0.0,
    )  # fmt: skip
    told = fine_tune("look", LastBlocks({}, given.blocks), data, options).told
    for name, parts in told["metrics"].items():
        shown = {p: (round(m["accuracy"], 3), round(m["log_loss"], 3)) for p, m in parts.items()}
        print(name, shown)
    print(told["cost"])


if __name__ == "__main__":
    main()
