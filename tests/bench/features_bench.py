"""Features on one core against librosa, both sides in turn in one run.

    python tests/bench/features_bench.py            # --rounds 9 --clips 8 --json FILE

One thread. A clip is one second of 16 kHz mono; librosa takes clips one by one, as a loop over
records would, ours in a batch; beside them librosa over the whole batch as one array. Every round
times each side once, and the figures are medians of the rounds: ms of this process's CPU time a
clip, so what else the machine does counts little, and ratios of the two medians.
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
from unittest import mock

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import librosa
import numpy as np
import soundfile
import torch

import pipeline.demo
from pipeline.batching.batch import StageJob
from pipeline.encoders.audio import LogMel
from pipeline.encoders.plan import StagePlan
from pipeline.encoders.running import EncodeTask
from pipeline.features import bundle as bundle_module
from pipeline.features.bundle import NAMES, FeatureConfig, bundle
from pipeline.features.framing import Layout
from pipeline.features.lanes import LANES
from pipeline.features.mel import mel_bands
from pipeline.features.spectra import spectra, tables
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord

RATE = 16_000
NINE = tuple(name for name in NAMES if "delta" not in name)
DEFAULT = FeatureConfig(RATE, 400, 160, 64)  # of the encoder log_mel
FACTS = FeatureConfig(RATE, 512, 160, 80)
LONG = FeatureConfig(RATE, 2048, 512, 128)  # librosa's own numbers
CONFIGS = {"400/160/64": DEFAULT, "512/160/80": FACTS, "2048/512/128": LONG}


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
    """All payloads of a batch in one pass."""
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
    """What is called the floor: a float32 product of as many flops as log-mel's definition has.

    A real transform of 2.5 n log2 n a frame, the power and the dense bank (facts of the field). It
    is a yardstick and no bound: a product is the fastest thing that a core does, but it is float32
    where the transform has to be float64, and ours leaves out the bank's zeros.
    """
    n = config.n_fft
    frame_flops = 2.5 * n * np.log2(n) + 3 * config.bins + 2 * config.bins * config.n_mels
    flops = frame_flops * config.frames(RATE) * clips
    side = round((flops / 2) ** (1 / 3))
    left, right = torch.rand(side, side), torch.rand(side, side)
    repeats = max(1, round(flops / (2 * side**3)))
    return lambda: [torch.mm(left, right) for _ in range(repeats)]


def parts(clips: list[np.ndarray], config: FeatureConfig) -> dict[str, Callable[[], object]]:
    """Of log-mel from floats to dB: what takes nearly all of its time."""
    made, bands = tables(config, torch.device("cpu")), mel_bands(config)
    assert made is not None
    line = Layout(clips, config, LANES)
    powers = np.empty((0, config.bins), np.float32)
    levels = np.empty((line.total, config.n_mels), np.float32)
    return {
        "clips into one line": lambda: Layout(clips, config, LANES),
        "spectra to dB": lambda: spectra(
            line.signal, config.hop_length, made, bands, powers, levels
        ),
    }


def by_torch(clips: list[np.ndarray], config: FeatureConfig) -> Callable[[], object]:
    """Log-mel as a GPU runs it, from floats to dB."""

    def run() -> object:
        with mock.patch.object(bundle_module, "tables", return_value=None):
            return bundle(clips, ("log_mel",), config)

    return run


def stage(payloads: list[bytes]) -> Callable[[], object]:
    """The encoder in its stage, from records to vectors that were checked."""
    task = EncodeTask(LogMel(torch.device("cpu")), StagePlan("sound", ("mic",), length=64))
    facts = Facts("audio", "S16LE", RATE, 1, RATE)
    log = LogRecord("t", 0, 0, 0, b"k", b"", [])
    jobs = [
        StageJob("k", 0, 1_000_000, [MediaRecord("mic", "k", 0, 1_000_000, facts, payload, log)])
        for payload in payloads
    ]
    results = task.run(jobs)
    assert all(result.failure is None for result in results)
    return lambda: task.run(jobs)


def medians(sides: dict[str, Callable[[], object]], rounds: int, clips: int) -> dict[str, float]:
    """ms a clip of each side, all in turn in every round."""
    for run in sides.values():
        for _ in range(3):  # TorchScript and numba compile in the first calls
            run()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            run()  # what the side before has left in the caches is not this one's
            began = time.process_time()
            run()
            taken[name].append(time.process_time() - began)
    return {name: 1e3 * statistics.median(times) / clips for name, times in taken.items()}


def speed(payloads: list[bytes], rounds: int) -> dict[str, float]:
    clips, singles = batch_of(payloads), [floats(payload) for payload in payloads]
    array = np.stack(singles)
    sides: dict[str, Callable[[], object]] = {"bytes to floats": lambda: batch_of(payloads)}
    for tag, config in CONFIGS.items():
        sides |= {
            f"log-mel {tag}, librosa": lambda c=config: [
                librosa_db(floats(payload), c) for payload in payloads
            ],
            f"log-mel {tag}, librosa, one array": lambda c=config: librosa_db(array, c),
            f"log-mel {tag}, ours": lambda c=config: bundle(batch_of(payloads), ("log_mel",), c),
            f"log-mel {tag}, floats to dB": lambda c=config: bundle(clips, ("log_mel",), c),
            f"log-mel {tag}, torch's operations": by_torch(clips, config),
            f"log-mel {tag}, floor": product(config, len(payloads)),
        }
        sides |= {f"log-mel {tag}, {part}": run for part, run in parts(clips, config).items()}
    sides["mean of log-mel 400/160/64, librosa"] = lambda: [
        librosa_db(floats(payload), DEFAULT).mean(axis=1) for payload in payloads
    ]
    sides["mean of log-mel 400/160/64, our stage"] = stage(payloads)
    sides["nine, librosa"] = lambda: [librosa_nine(y) for y in singles]
    sides["nine, ours"] = lambda: bundle(clips, NINE, LONG)
    return medians(sides, rounds, len(payloads))


def ratios_of(times: dict[str, float]) -> dict[str, float]:
    """Above 1: ours is faster; but times of the floor the other way round, as the goal has it."""
    mean = "mean of log-mel 400/160/64, "
    ratios = {
        "nine": times["nine, librosa"] / times["nine, ours"],
        "mean of log-mel 400/160/64": times[mean + "librosa"] / times[mean + "our stage"],
    }
    for tag in CONFIGS:
        ours, exact = times[f"log-mel {tag}, ours"], times[f"log-mel {tag}, floats to dB"]
        array = times[f"log-mel {tag}, librosa, one array"]
        ratios[f"log-mel {tag}, bytes to dB"] = times[f"log-mel {tag}, librosa"] / ours
        ratios[f"log-mel {tag}, librosa on one array"] = array / exact
        floor, other = times[f"log-mel {tag}, floor"], times[f"log-mel {tag}, torch's operations"]
        ratios[f"log-mel {tag}, times its floor"] = exact / floor
        ratios[f"log-mel {tag}, torch's, times its floor"] = other / floor
    return ratios


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
    ratios = ratios_of(times)
    different, frames = differing(speech(24))
    worst = agreement(payloads)
    print(f"{platform.platform()}, one thread, {given.clips} clips, {given.rounds} rounds")
    for name, value in times.items():
        print(f"{name:<45}{value:>8.3f} ms a clip")
    for name, value in ratios.items():
        print(f"{name:<45}{value:>8.2f}")
    print(f"frames that differ by a bit: {different} of {frames}")
    for name, value in worst.items():
        print(f"{name:<45}{value:>10.2g} off librosa")
    if given.json:
        figures = {"ms": times, "ratios": ratios, "differ": [different, frames], "off": worst}
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
