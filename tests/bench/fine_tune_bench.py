"""What training the last blocks of an encoder is worth, on streams that were held out.

- *pictures*: handwritten digits of scikit-learn, for ``image_embedding``.
- *texts*: numbers and dates in the words of twenty languages that are written in Latin letters
  (num2words and babel make them), for ``text_embedding``, which was trained on English. Which
  language is it?

    python tests/bench/fine_tune_bench.py pictures     # minutes on one core
    python tests/bench/fine_tune_bench.py texts --rows 2000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import torch
from babel.dates import format_date
from num2words import num2words
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.cli import train_blocks as default
from pipeline.encoders.base import Clip
from pipeline.evaluation.bootstrap import ratio_interval
from pipeline.training.feature_set import Row, set_of
from pipeline.training.fine_tune.blocks import Blocks
from pipeline.training.fine_tune.pictures import Before, LastBlocks
from pipeline.training.fine_tune.texts import LastLayers, Pieces
from pipeline.training.fine_tune.tuning import fine_tune
from pipeline.training.options import TrainOptions

STREAMS, SIDE = 40, 96
LANGUAGES = ("cs", "da", "de", "en", "es", "fi", "fr", "hu", "id", "it",
             "lt", "lv", "nl", "no", "pl", "pt", "ro", "sl", "sv", "tr")  # fmt: skip
FIRST_DAY, DAYS = date(1950, 1, 1), 36_525
PIECES_MAX = 32
Case = tuple[Clip, str]


def pictures(rng: np.random.Generator) -> Iterator[Case]:
    digits = load_digits()
    for number in rng.permutation(len(digits.images)):
        pixels = Image.fromarray((digits.images[number] * 15.9).astype(np.uint8))
        frame = np.asarray(pixels.resize((SIDE, SIDE)).convert("RGB"))
        yield Clip("s", 0, 1, frames=[frame], times_us=[0]), str(digits.target[number])


def texts(rng: np.random.Generator) -> Iterator[Case]:
    """By turns a number of one to six digits, each length alike, and a date."""
    while True:
        language = LANGUAGES[rng.integers(len(LANGUAGES))]
        number = int(rng.integers(10 ** int(rng.integers(1, 7))))
        day = FIRST_DAY + timedelta(days=int(rng.integers(DAYS)))
        for text in (num2words(number, lang=language), format_date(day, "full", locale=language)):
            yield Clip("s", 0, 1, text=text), language


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("of", choices=("pictures", "texts"))
    parser.add_argument("--rows", type=int, default=800, help="windows, over 40 streams (800)")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=default.LEARNING_RATE)
    parser.add_argument("--epochs", type=int, default=default.EPOCHS)
    parser.add_argument("--seed", type=int, default=0, help="of rows, split and training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cases = {"pictures": pictures, "texts": texts}[given.of](np.random.default_rng(given.seed))
    cpu, blocks = torch.device("cpu"), given.blocks
    before: Before | Pieces
    trained: Blocks
    if given.of == "pictures":
        before = Before(cpu, blocks=blocks, max_frames=1)
        trained = LastBlocks({}, blocks)
    else:
        before = Pieces(cpu, blocks=blocks, max_pieces=PIECES_MAX)
        trained = LastLayers({"max_pieces": PIECES_MAX}, blocks)
    rows = []
    for place, (clip, label) in zip(range(given.rows), cases, strict=False):
        [vector] = before.encode([clip])
        stream = f"s{place // 2 % STREAMS}"  # the two of a pair stay together
        rows.append(Row(stream, place, place + 1, label, None, {"it": vector}))
    data = set_of(rows, {"it": before.length}, {"features": {}})
    options = TrainOptions(
        "linear", seed=given.seed, epochs=given.epochs, patience=default.PATIENCE,
        batch=default.BATCH, learning_rate=given.learning_rate,
        weight_decay=default.WEIGHT_DECAY, modality_dropout=0.0,
    )  # fmt: skip
    tuned = fine_tune("it", trained, data, options)
    for name, parts in tuned.told["metrics"].items():
        shown = {p: (m["rows"], round(m["accuracy"], 3), round(m["log_loss"], 3))
                 for p, m in parts.items()}  # fmt: skip
        print(name, shown)
    streams, frozen, then = tuned.held_out
    interval = ratio_interval((then - frozen).tolist(), [1.0] * len(then), streams)
    print(f"gained on {len(then)} held-out windows of {len(set(streams))} streams: "
          f"{(then - frozen).mean():+.3f} {interval}")  # fmt: skip
    print("best epoch", tuned.curve.best + 1, "of", len(tuned.curve.train_loss), tuned.told["cost"])


if __name__ == "__main__":
    main()
