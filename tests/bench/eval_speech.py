"""Word error rates of speech_to_text on real speech, by set, precision and normaliser.

The demo's five LibriVox sentences are in the repository; the others are fetched (see eval_data):
card phrases and commands (pocketsphinx-testdata), places of loudspeakers (alsa-utils), single
words (asterisk-core-sounds-en-g722), and a reading of Dickens (a file in the wheel
moonshine-voice). The encoder is a pipeline's, called on whole clips, at temperature 0.

Small sets that say whether it works, no benchmark. Intervals are over resampled clips.

    make eval-speech                    # a minute or two on one core
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import soundfile
import soxr
import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

import eval_data
from debian_speech import alsa_readings, asterisk_words, pocketsphinx_readings
from readings import RATE, Reading, sentences, whole_clip

from pipeline.encoders.base import Encoder
from pipeline.encoders.loading import load_encoder
from pipeline.evaluation.text import Pair, scored_text

CPU = torch.device("cpu")
PRECISIONS = ("int8", "float32")
NORMALISERS = ("english", "plain")
WHEEL = "moonshine_voice==0.1.5"
WHEEL_SHA256 = "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496"  # Linux, x86-64
# The beginning of A Tale of Two Cities (1859), which the clip reads.
DICKENS = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the "
    "season of Light, it was the season of Darkness, it was the spring of hope, it was the winter "
    "of despair, we had everything before us, we had nothing before us, we were all going direct "
    "to Heaven, we were all going direct the other way; in short, the period was so far like the "
    "present period, that some of its noisiest authorities insisted on its being received, for "
    "good or for evil, in the superlative degree of comparison only."
)


def pocketsphinx() -> dict[str, list[Reading]]:
    return pocketsphinx_readings(eval_data.debian("pocketsphinx-testdata"))


def alsa() -> list[Reading]:
    return alsa_readings(eval_data.debian("alsa-utils"))


def single_words() -> list[Reading]:
    return asterisk_words(eval_data.debian("asterisk-core-sounds-en-g722"))


def dickens() -> list[Reading]:
    file = eval_data.wheel(WHEEL, WHEEL_SHA256) / "moonshine_voice/assets/two_cities.wav"
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return [Reading("two_cities", soxr.resample(samples.mean(axis=1), rate, RATE), DICKENS)]


def debian_clips() -> list[Reading]:
    """The 20 that are more than a word."""
    return [*chain.from_iterable(pocketsphinx().values()), *alsa()]


SETS: dict[str, tuple[Callable[[], Sequence[Reading]], str]] = {
    # what: the clips, the pause that ends an utterance
    "LibriVox, 5 sentences": (sentences, "320ms"),
    "all 20 clips of Debian": (debian_clips, "320ms"),
    "of these 5 card phrases": (lambda: pocketsphinx()["cards"], "320ms"),
    "of these 8 loudspeakers": (alsa, "320ms"),
    "47 single words": (single_words, "320ms"),
    "Dickens, one clip of 44 s": (dickens, "320ms"),
    "the same, pauses of 500 ms": (dickens, "500ms"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    told: list[dict[str, Any]] = []
    columns = [f"{precision}, {named}" for precision in PRECISIONS for named in NORMALISERS]
    print(f"{'word error rate':28s}{'words':>6s}" + "".join(f"{c:>24s}" for c in columns))
    for name, (readings_of, pause) in SETS.items():
        try:
            readings = readings_of()
        except eval_data.Unreachable as reason:
            print(f"{name:28s}skipped: {reason}")
            continue
        rows = [row for p in PRECISIONS for row in scored(encoder(p, pause), readings)]
        cells = "".join(f"{shown(row['wer']):>24s}" for row in rows)
        print(f"{name:28s}{rows[0]['wer']['reference']:6d}{cells}", flush=True)
        told += [{"set": name, "column": c, **row} for c, row in zip(columns, rows, strict=True)]
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


@cache
def encoder(precision: str, pause: str) -> Encoder:
    return load_encoder("speech_to_text", {"compute_type": precision, "pause": pause}, CPU)


def scored(encoder: Encoder, readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """By normaliser; a clip is a stream."""
    said = encoder.encode([whole_clip(reading.samples) for reading in readings])
    pairs = [Pair(r.name, 0, r.text, str(text)) for r, text in zip(readings, said, strict=True)]
    return [scored_text(pairs, named) for named in NORMALISERS]


def shown(figure: dict[str, Any]) -> str:
    rate, interval = figure["rate"], figure["interval"]
    return f"{rate:.3f}" + ("" if interval is None else " [{:.3f}, {:.3f}]".format(*interval))


if __name__ == "__main__":
    sys.exit(eval_data.skipping(main))
