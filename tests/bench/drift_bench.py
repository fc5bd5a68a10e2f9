"""Drift of a stage's vectors: how often it is told where there is none, and of what there is.

Recorded sounds of KLettres: letters and syllables by speakers of many languages, each with a room
and a microphone of its own. A head learns from two thirds of the speakers. Live are other sounds of
these, and the speakers that it never heard, all in turn or one alone; as they are, and with noise,
at a lower level, or in the band of a telephone. Each window is a second.

    python tests/bench/drift_bench.py            # a minute on one core; fetches 17 MB once
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

import eval_data
import soundfile
import soxr
from classic_data import CLASSIC_SHA256

from pipeline.features.log_mel import log_mel, mfcc
from pipeline.features.mel import MelConfig
from pipeline.fusion.drift import REMEMBERED, Drift, references_of
from pipeline.spec.models import FusionSpec
from pipeline.tasks.drift_watch import TOLD_EVERY
from pipeline.training.feature_set import FeatureSet, Row, set_of
from pipeline.training.options import TrainOptions
from pipeline.training.train import train

RATE = 16_000
FLOOR = 1e-4
LEARNED = 0.7  # of the sounds of a speaker that a head learns from
WINDOWS = 512  # of a live run, from a second's 128th on told
STAGES = ("log_mel", "mfcc")
Windows = np.ndarray[Any, Any]  # (n, RATE)


def speakers(least: int = 40) -> dict[str, tuple[Windows, list[str]]]:
    """By language its sounds, each at the start of a second, and whether it is a letter."""
    root = eval_data.debian("klettres-data", CLASSIC_SHA256["klettres-data"])
    found, rng = {}, np.random.default_rng(0)
    for folder in sorted((root / "usr/share/klettres").iterdir()):
        files = sorted(folder.glob("alpha/*.ogg")) + sorted(folder.glob("syllab/*.ogg"))
        if len(files) >= least:
            # what a microphone gives where nobody speaks: digital silence is infinitely far away
            sounds = rng.standard_normal((len(files), RATE)).astype(np.float32) * FLOOR
            for row, file in zip(sounds, files, strict=True):
                samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
                line = soxr.resample(samples.mean(axis=1), rate, RATE)[:RATE]
                row[: len(line)] += line
            found[folder.name] = sounds, [file.parent.name for file in files]
    return found


def vectors(sounds: Windows) -> dict[str, np.ndarray[Any, Any]]:
    """As the encoders of these names give them."""
    clips = [torch.from_numpy(each) for each in sounds]
    mel = log_mel(clips, MelConfig(rate=RATE, n_fft=400, hop_length=160, n_mels=64))
    cepstral = mfcc(clips, MelConfig(rate=RATE, n_fft=2048, hop_length=512, n_mels=128))
    return {name: np.stack([one.mean(dim=0).numpy() for one in rows])
            for name, rows in zip(STAGES, (mel, cepstral), strict=True)}  # fmt: skip


def noise(decibels: float) -> Callable[[Windows], Windows]:
    """White, so far under the speaker's sounds."""

    def added(sounds: Windows) -> Windows:
        level = np.sqrt(np.mean(sounds**2)) * 10 ** (-decibels / 20)
        made = np.random.default_rng(0).standard_normal(sounds.shape) * level
        return (sounds + made).astype(np.float32)

    return added


def telephone(sounds: Windows) -> Windows:
    spectra = np.fft.rfft(sounds, axis=1)
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    spectra[:, (hertz < 300) | (hertz > 3400)] = 0
    return np.fft.irfft(spectra, RATE, axis=1).astype(np.float32)


CONDITIONS: dict[str, Callable[[Windows], Windows]] = {
    "as recorded": lambda sounds: sounds,
    "noise 30 dB": noise(30),
    "noise 20 dB": noise(20),
    "noise 10 dB": noise(10),
    "20 dB quieter": lambda sounds: sounds / 10,
    "telephone": telephone,
}
Vectors = dict[str, dict[str, dict[str, np.ndarray[Any, Any]]]]  # condition, speaker, stage


def trained_on(names: list[str], clean: dict[str, Any], kinds: dict[str, list[str]],
               learned: dict[str, set[int]], seed: int) -> dict[str, Any]:  # fmt: skip
    rows = [
        Row(name, at * 1_000_000, (at + 1) * 1_000_000, kind, None,
            {stage: clean[name][stage][at] for stage in STAGES})
        for name in names for at, kind in enumerate(kinds[name])
        if at in learned[name]
    ]  # fmt: skip
    lengths = {stage: clean[names[0]][stage].shape[1] for stage in STAGES}
    data: FeatureSet = set_of(rows, lengths, {})
    fusion = FusionSpec(rule="concat", of=dict.fromkeys(STAGES, 1.0))
    told = train(fusion, data, TrainOptions("logistic", seed=seed)).told
    return {"reference": told["reference"], "head": {"lengths": lengths}}


def run(card: dict[str, Any], live: list[dict[str, Any]], rng: np.random.Generator) -> Any:
    """Scores (times, stages) of a run in which a window of each stream comes in turn."""
    drift, found = Drift(references_of(card), "none"), []
    for at in range(0, WINDOWS, TOLD_EVERY):
        chosen = [live[(at + n) % len(live)] for n in range(TOLD_EVERY)]
        places = [int(rng.integers(len(one[STAGES[0]]))) for one in chosen]
        drift.take([{s: one[s][place] for s in STAGES}
                    for one, place in zip(chosen, places, strict=True)])  # fmt: skip
        scores = drift.scores()
        if scores:
            found.append([scores[stage] for stage in STAGES])
    return np.array(found)


def others(one: dict[str, Any], learned: set[int]) -> dict[str, Any]:
    """The vectors of a speaker that nothing was learned from."""
    return {stage: np.delete(rows, sorted(learned), axis=0) for stage, rows in one.items()}


def cost() -> float:
    """CPU microseconds of a window with vectors of 64 and 768 numbers."""
    rng = np.random.default_rng(0)
    sizes = {"sound": 64, "face": 768}
    told = {s: {"width": n, "level": 1.0, "mean": [0.0] * looked, "spread": [1.0] * looked}
            for s, n in sizes.items() for looked in [min(n, 384)]}  # fmt: skip
    drift = Drift(references_of({"reference": told, "head": {"lengths": sizes}}), "none")
    windows = [
        {s: rng.standard_normal(n).astype(np.float32) for s, n in sizes.items()}
        for _ in range(TOLD_EVERY)
    ]
    took = []
    for _ in range(7):
        began = time.thread_time()
        for _ in range(100):
            drift.take(windows)
            drift.scores()
        took.append((time.thread_time() - began) / (100 * TOLD_EVERY))
    return 1e6 * statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    sounds = speakers()
    kinds = {name: kind for name, (_, kind) in sounds.items()}
    of: Vectors = {condition: {name: vectors(change(rows)) for name, (rows, _) in sounds.items()}
                   for condition, change in CONDITIONS.items()}  # fmt: skip
    names = sorted(sounds)
    held = len(names) // 3
    print(f"{len(names)} speakers, {held} of them live; {seeds} draws; {REMEMBERED} remembered")
    told: dict[tuple[str, str], list[Any]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = [names[at] for at in rng.permutation(len(names))]
        learned = {name: set(rng.permutation(len(kind))[: round(LEARNED * len(kind))].tolist())
                   for name, kind in kinds.items()}  # fmt: skip
        card = trained_on(sorted(order[held:]), of["as recorded"], kinds, learned, seed)
        for condition in CONDITIONS:
            new = [of[condition][name] for name in order[:held]]
            same = [others(of[condition][name], learned[name]) for name in order[held:]]
            for who, live in (("the same speakers", same), ("new speakers", new)):
                told.setdefault((condition, f"{who} together"), []).append(run(card, live, rng))
                for one in live[:4]:
                    told.setdefault((condition, f"{who} alone"), []).append(run(card, [one], rng))
    for (condition, streams), runs in told.items():
        scores = np.concatenate(runs)
        shares = ", ".join(f"{stage} {share:.1%} (median {middle:.2f})" for stage, share, middle in
                           zip(STAGES, (scores >= 1).mean(axis=0), np.median(scores, axis=0),
                               strict=True))  # fmt: skip
        print(f"{condition}, {streams}: told as drift: {shares}")
    print(f"cost: {cost():.1f} us of CPU a window")


if __name__ == "__main__":
    main()
