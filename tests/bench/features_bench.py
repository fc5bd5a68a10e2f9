"""Features on one core against librosa, both sides in turn in one run.

    python tests/bench/features_bench.py            # --rounds 9 --clips 8 --json FILE

One thread. A clip is one second of 16 kHz mono; librosa takes clips one by one, as a loop over
records would, ours in a batch. Every round times each side once, and the figures are medians of
the rounds: ms a clip, and ratios of the two medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import librosa
import numpy as np
import soundfile
import torch

import pipeline.demo
from pipeline.features.bundle import NAMES, FeatureConfig, bundle

RATE = 16_000
NINE = tuple(name for name in NAMES if "delta" not in name)
DEFAULT = FeatureConfig(RATE, 400, 160, 64)  # of the encoder log_mel
FACTS = FeatureConfig(RATE, 512, 160, 80)
LONG = FeatureConfig(RATE, 2048, 512, 128)  # librosa's own numbers


def speech(count: int) -> list[bytes]:
    """Seconds of the demo's speech as S16LE."""
    files = sorted((Path(pipeline.demo.__file__).parent / "media" / "speech").glob("*.flac"))
    parts = [soundfile.read(file, dtype="int16") for file in files]
    assert {rate for _, rate in parts} == {RATE}
    line = np.concatenate([samples for samples, _ in parts])
    starts = np.linspace(0, len(line) - RATE, count).astype(int)
    return [line[start : start + RATE].astype("<i2").tobytes() for start in starts]


def floats(payload: bytes) -> np.ndarray:
    return np.frombuffer(payload, "<i2").astype(np.float32) / np.float32(32_768)


def batch_of(payloads: list[bytes]) -> list[np.ndarray]:
    """As ``pipeline.media.raw_rows`` does: all payloads of a batch in one pass."""
    rows = np.frombuffer(b"".join(payloads), "<i2").astype(np.float32)
    rows *= np.float32(1 / 32_768)
    return list(rows.reshape(len(payloads), -1))


def librosa_db(y: np.ndarray, config: FeatureConfig) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=y, sr=RATE, n_fft=config.n_fft, hop_length=config.hop_length, n_mels=config.n_mels
    )
    return librosa.power_to_db(mel, top_db=None)


def librosa_nine(y: np.ndarray) -> dict[str, np.ndarray]:
    feature = librosa.feature
    return {
        "log_mel": librosa_db(y, LONG),
        "mfcc": feature.mfcc(y=y, sr=RATE),
        "chroma": feature.chroma_stft(y=y, sr=RATE, tuning=0.0),
        "centroid": feature.spectral_centroid(y=y, sr=RATE),
        "bandwidth": feature.spectral_bandwidth(y=y, sr=RATE),
        "rolloff": feature.spectral_rolloff(y=y, sr=RATE),
        "flatness": feature.spectral_flatness(y=y),
        "zero_crossing_rate": feature.zero_crossing_rate(y),
        "rms": feature.rms(y=y),
    }


def product(config: FeatureConfig, clips: int) -> Callable[[], object]:
    """The floor: a float32 product of as many flops as log-mel takes by its definition.

    A real transform of 2.5 n log2 n a frame, the power and the dense bank (facts of the field).
    """
    n = config.n_fft
    frame_flops = 2.5 * n * np.log2(n) + 3 * config.bins + 2 * config.bins * config.n_mels
    flops = frame_flops * config.frames(RATE) * clips
    side = round((flops / 2) ** (1 / 3))
    left, right = torch.rand(side, side), torch.rand(side, side)
    repeats = max(1, round(flops / (2 * side**3)))
    return lambda: [torch.mm(left, right) for _ in range(repeats)]


def medians(sides: dict[str, Callable[[], object]], rounds: int, clips: int) -> dict[str, float]:
    """ms a clip of each side, all in turn in every round."""
    for run in sides.values():
        for _ in range(3):  # TorchScript and numba compile in the first calls
            run()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            run()  # what the side before has left in the caches is not this one's
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(times) / clips for name, times in taken.items()}


def speed(payloads: list[bytes], rounds: int) -> dict[str, float]:
    clips, singles = batch_of(payloads), [floats(payload) for payload in payloads]
    sides: dict[str, Callable[[], object]] = {}
    for tag, config in (("400/160/64", DEFAULT), ("512/160/80", FACTS), ("2048/512/128", LONG)):
        sides[f"log-mel {tag}, librosa"] = lambda c=config: [
            librosa_db(floats(p), c) for p in payloads
        ]
        sides[f"log-mel {tag}, ours"] = lambda c=config: bundle(batch_of(payloads), ("log_mel",), c)
        sides[f"log-mel {tag}, floats to dB"] = lambda c=config: bundle(clips, ("log_mel",), c)
        sides[f"log-mel {tag}, floor"] = product(config, len(payloads))
    sides["nine, librosa"] = lambda: [librosa_nine(y) for y in singles]
    sides["nine, ours"] = lambda: bundle(clips, NINE, LONG)
    return medians(sides, rounds, len(payloads))


def differing(payloads: list[bytes]) -> tuple[int, int]:
    """Frames that differ by a bit from the clip's own alone, over batches and orders; of how many.

    A window's samples are the same bits however records cut the stream
    (tests/core/test_features_records.py), so this is all that could make them differ.
    """
    clips = batch_of(payloads)
    different = frames = 0
    rng = np.random.default_rng(0)
    for config, names in ((DEFAULT, NAMES), (LONG, NAMES)):
        alone = [bundle([clip], names, config)[0] for clip in clips]
        for size in (2, 3, 8, len(clips)):
            order = rng.permutation(len(clips))
            for first in range(0, len(clips), size):
                places = order[first : first + size]
                together = bundle([clips[place] for place in places], names, config)
                for place, rows in zip(places, together, strict=True):
                    same = (rows.view(torch.int32) == alone[place].view(torch.int32)).all(dim=1)
                    different += int((~same).sum())
                    frames += len(rows)
    return different, frames


def agreement(payloads: list[bytes]) -> dict[str, float]:
    """The largest difference from librosa, in each feature's own unit; dB within 80 of the peak."""
    worst = dict.fromkeys(NINE, 0.0)
    clips = batch_of(payloads)
    for y, rows in zip(clips, bundle(clips, NINE, LONG), strict=True):
        at = 0
        for name, theirs in librosa_nine(y).items():
            ours = rows[:, at : at + LONG.width(name)].numpy().T
            at += LONG.width(name)
            off = np.abs(ours - theirs)
            if name == "log_mel":
                off = off[theirs >= theirs.max() - 80]
            worst[name] = max(worst[name], float(off.max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    payloads = speech(given.clips)
    times = speed(payloads, given.rounds)
    ratios = {"nine": times["nine, librosa"] / times["nine, ours"]}
    for tag in ("400/160/64", "512/160/80", "2048/512/128"):
        ours, floor = times[f"log-mel {tag}, floats to dB"], times[f"log-mel {tag}, floor"]
        ratio = times[f"log-mel {tag}, librosa"] / times[f"log-mel {tag}, ours"]
        ratios[f"log-mel {tag}, bytes to dB"] = ratio
        ratios[f"log-mel {tag}, times its floor"] = ours / floor
    different, frames = differing(speech(24))
    worst = agreement(payloads)
    print(f"{platform.platform()}, one thread, {given.clips} clips, {given.rounds} rounds")
    for name, value in times.items():
        print(f"{name:<40}{value:>8.3f} ms a clip")
    for name, value in ratios.items():
        print(f"{name:<40}{value:>8.2f}")
    print(f"frames that differ by a bit: {different} of {frames}")
    for name, value in worst.items():
        print(f"{name:<40}{value:>10.2g} off librosa")
    if given.json:
        figures = {"ms": times, "ratios": ratios, "differ": [different, frames], "off": worst}
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
