"""Digits seen and heard in noise: each modality alone, and together by several kinds of head.

Handwriting of scikit-learn (1,797 pictures of 8 x 8), and spoken digits: learned from eSpeak's
voices and flite's, told on voices that were never heard, one of them a person. Which picture goes
with which voice is drawn, so it is a synthetic pairing. Windows of one second go through a
pipeline on the in-memory broker; heads are fitted by the project's own training.

    make eval-digits                       # some minutes on one core, most of them the first time
    python tests/bench/eval_digits.py --encoders mfcc
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

import eval_data
from exported_sets import LANES, kept_set
from held_out import fitted_head, measured, of_stages, spread, subset_accuracy
from pipelines import SECOND_US, load
from spoken_digits import FILE, PIXELS, WORDS, Said, png, publish
from spoken_words import Word, espeak_word, flite_word, g722_word, within_a_second

from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.training.feature_set import FeatureSet
from pipeline.training.labels import Label
from pipeline.training.options import TrainOptions

ESPEAK = ("en", "en+m3", "en-us", "en-us+f2", "en+m7", "en+f4", "en-us+m1")
LEARNED = (*ESPEAK, "flite-kal16", "flite-awb")
HELD = ("en-us+f5", "flite-slt", "flite-rms", "Allison")
TRAIN_PICTURES = 1_200
# By condition, speech over noise in dB, and the picture's noise in units of its full scale.
CONDITIONS = {"clean": (np.inf, 0.0), "10 dB .3": (10.0, 0.3), "0 dB .6": (0.0, 0.6),
              "-5 dB .8": (-5.0, 0.8)}  # fmt: skip
EARS = ("mfcc", "audio_embedding")
ALONE = ("logistic", "mlp")
TOGETHER = ("late", "gated", "attention", "linear", "mlp")
Words = dict[tuple[str, int], list[Word]]


def spoken() -> Words:
    """By voice and digit, the ways in which it says it."""
    environ = eval_data.environment(eval_data.FLITE)
    asterisk = eval_data.debian("asterisk-core-sounds-en-g722")
    prompts = asterisk / "usr/share/asterisk/sounds/en_US_f_Allison/digits"
    said: Words = {}
    for digit, word in enumerate(WORDS):
        for voice in (*LEARNED, *HELD):
            if voice == "Allison":
                ways = [g722_word(prompts / f"{digit}.g722")]
            elif voice.startswith("flite-"):
                name = voice.removeprefix("flite-")
                ways = [flite_word(word, name, stretch, environ) for stretch in (0.85, 1.0, 1.2)]
            else:
                ways = [espeak_word(word, voice, rate, pitch)
                        for rate in (140, 175, 210) for pitch in (40, 60)]  # fmt: skip
            said[voice, digit] = ways
    return said


def windows(said: Words, seed: int, pictures: int) -> list[Said]:
    """Pictures to learn from, each with a voice in turn and noises that are drawn; and as many of
    the others, each with a held-out voice in turn, once in every condition.
    """
    from sklearn.datasets import load_digits

    written = load_digits()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(written.target))
    noises = list(CONDITIONS.values())
    found, seconds = [], defaultdict(int)

    def add(stream: str, voice: str, picture: int, decibels: float, grain: float) -> None:
        digit = int(written.target[picture])
        ways = said[voice, digit]
        second = within_a_second(ways[rng.integers(len(ways))], decibels, rng)
        pixels = 16 * written.images[picture] + 255 * grain * rng.standard_normal((8, 8))
        samples = np.clip(second * 32768, -32768, 32767).astype(np.int16)
        found.append(Said(stream, seconds[stream] * SECOND_US, digit, samples, png(pixels)))
        seconds[stream] += 1

    for number, picture in enumerate(order[:TRAIN_PICTURES]):
        voice = LEARNED[number % len(LEARNED)]
        add(voice, voice, picture, noises[rng.integers(4)][0], noises[rng.integers(4)][1])
    for condition, noise in CONDITIONS.items():
        for number, picture in enumerate(order[TRAIN_PICTURES:][:pictures]):
            voice = HELD[number % len(HELD)]
            add(f"{voice}/{condition}", voice, picture, *noise)
    return found


def recorded(seed: int, encoder: str, pictures: int) -> FeatureSet:
    """The windows of a seed through the pipeline; kept on disk."""
    folder = eval_data.cache() / "sets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pixels.py").write_text(PIXELS)
    waits = {"timeout": "1h"}  # all windows are there at once, and the last waits longest
    stages = {
        "heard": {"encoder": encoder, "of": "mic", **waits},
        "seen": {"encoder": "pixels:Pixels", "of": "pen", **waits},
    }

    def publishing(broker: MemoryBroker) -> list[Label]:
        shown = tuple(windows(spoken(), seed, pictures))
        publish(broker, shown, LANES)
        return [Label(s.stream, s.start_us, s.start_us + SECOND_US, WORDS[s.digit], None)
                for s in shown]  # fmt: skip

    told = f"digits {seed} {pictures}"
    return kept_set(load(FILE, {"stages": stages}, folder), publishing, told, folder)


def figures(data: FeatureSet, seed: int) -> dict[str, dict[str, float]]:
    """By who answers (``STAGES: KIND``, and with ``only`` a fused head that lacks the other
    stage), accuracy by condition, and by voice in the clean one.
    """
    voices = np.array([stream.split("/")[0] for stream in data.streams])
    told = np.array([stream.partition("/")[2] for stream in data.streams])
    held_back = np.random.default_rng(seed).choice(LEARNED, 2, replace=False)
    validation = np.flatnonzero(np.isin(voices, held_back))
    train = np.flatnonzero(np.isin(voices, LEARNED) & ~np.isin(voices, held_back))
    heads = [(stage, kind) for stage in ("heard", "seen") for kind in ALONE]
    heads += [("heard seen", kind) for kind in TOGETHER]
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for stages, kind in heads:
        seen = of_stages(data, stages.split())
        head = fitted_head(seen, train, validation, TrainOptions(kind, seed=seed))
        report = partial(measured, head, seen)
        for condition in CONDITIONS:
            by_stages = subset_accuracy(report(np.flatnonzero(told == condition)))
            for there, accuracy in by_stages.items():
                if there:
                    missing = "" if len(there) == len(seen.vectors) else f", {there[0]} only"
                    found[f"{stages}: {kind}{missing}"][condition] = accuracy
        for voice in HELD:
            rows = np.flatnonzero((told == "clean") & (voices == voice))
            found[f"{stages}: {kind}"][voice] = report(rows)["accuracy"]
    return found


def shown(runs: list[Mapping[str, Mapping[str, float]]]) -> None:
    columns = [*CONDITIONS, *HELD]
    print(f"{'':34s}" + "".join(f"{column:>14s}" for column in columns))
    for row in runs[0]:
        cells = [spread([run[row][c] for run in runs]) if c in runs[0][row] else ""
                 for c in columns]  # fmt: skip
        print(f"{row:34s}" + "".join(f"{cell:>14s}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many draws of everything (3)")
    parser.add_argument("--encoders", nargs="+", default=EARS, help="that hear (both)")
    parser.add_argument("--pictures", type=int, default=597, help="to tell, by condition (all 597)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = {}
    for encoder in given.encoders:
        sets = [recorded(seed, encoder, given.pictures) for seed in range(given.seeds)]
        runs = [figures(data, seed) for seed, data in enumerate(sets)]
        print(f"\n{encoder}: {TRAIN_PICTURES} windows to learn from, {given.pictures} to tell by "
              f"condition; accuracy over {given.seeds} draws, ± standard deviation")  # fmt: skip
        shown(runs)
        told[encoder] = runs
    if given.json:
        given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(eval_data.skipping(main))
