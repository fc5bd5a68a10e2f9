"""Image and audio encoders on a GPU: frames a second, MFU, and where its time goes.

    python tests/bench/gpu_bench.py              # --seconds 10 --batch-max 256 --json FILE

Without a CUDA device it says so in one line and measures nothing.

A window is one picture (the demo's, 320 x 180), or one second of the demo's speech, 16 kHz. Clips
lie decoded in host memory, so a figure holds the copies to the device and back, and no decoding.
Everything runs before it is timed; the device is waited for on both sides. The last row reads
sound by a network for pictures: `spectrogram_image`, then `image_embedding`.

frames/s: pictures, or frames of the spectrum (a window of speech has one every 10, 20 or 32 ms).
MFU: the FLOPs of the networks and transforms by their shapes, over time and over what the device
could do in float32 outside of tensor cores (networks compute in float32 with TF32 off; features
in float64, and are measured against the same). features: the share of the device's busy time
outside of torch networks; not counted where another library computes. busy: busy time over wall.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells of its own beginning

import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

from on_gpu import clips

from pipeline.cli.table import table
from pipeline.costs.card import card_of
from pipeline.costs.curve import measured_curve
from pipeline.costs.device_time import device_time
from pipeline.costs.memory import PeakMemory
from pipeline.costs.processor import float32_peak, processor_name
from pipeline.costs.timing import took_us
from pipeline.costs.words import mebibytes, scaled
from pipeline.encoders.base import Clip
from pipeline.encoders.loading import load_encoder
from pipeline.errors import InvalidInput

# Frames that a window of speech has: by a hop of 10 ms, of 32 ms, and Whisper's of 20 ms.
FRAMES = {
    "log_mel": 101, "spectrogram_image": 101, "mfcc": 32, "chroma": 32, "spectral": 32,
    "audio_embedding": 50,
}  # fmt: skip
AUDIO = ("log_mel", "mfcc", "chroma", "spectral", "spectrogram_image", "audio_embedding")
IMAGE = ("image_embedding", "image_labels")
BOTH = "spectrogram_image + image_embedding"
HEAD = (
    "encoder", "batch", "windows/s", "frames/s", "loop windows/s", "FLOPs a window", "MFU",
    "features", "busy", "memory",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """``run`` encodes a batch of clips; ``holder`` has its networks."""

    name: str
    run: Callable[[Sequence[Clip]], object]
    holder: object
    frames: int


def subjects(device: torch.device) -> list[Subject]:
    """Those that can be built here; of the others one line says why not."""
    found = []
    for name in (*AUDIO, *IMAGE, BOTH):
        try:
            found.append(subject(name, device))
        except InvalidInput as error:
            print(f"{name} is left out: {error}")
    return found


def subject(name: str, device: torch.device) -> Subject:
    if name != BOTH:
        encoder = load_encoder(name, {}, device)
        return Subject(name, encoder.encode, encoder, FRAMES.get(name, 1))
    drawing, seeing = (load_encoder(each, {}, device) for each in BOTH.split(" + "))

    def run(batch: Sequence[Clip]) -> Any:
        pictures = drawing.encode(batch)
        return seeing.encode(
            [replace(c, frames=[p], times_us=[0]) for c, p in zip(batch, pictures, strict=True)]
        )

    return Subject(name, run, (drawing, seeing), FRAMES["spectrogram_image"])


def measure(each: Subject, heard: Sequence[Clip], device: torch.device, time_us: int) -> dict:
    """All figures of one encoder, at the batch with the most windows a second."""
    peak = PeakMemory(device)
    curve = measured_curve(each.run, heard, device, time_us)
    some = heard[: curve.best]
    run = partial(each.run, some)
    seconds = curve.times_us[curve.best] / 1e6
    card = card_of(each.name, each.run, some, each.holder, device, seconds, peak.peak_bytes())
    spent = device_time(run, device)
    able = float32_peak(device)
    speed = card.flops_per_second
    return {
        **card.as_json(),
        "windows_per_second": 1 / card.seconds,
        "frames_per_second": each.frames / card.seconds,
        "loop_windows_per_second": 1e6 / curve.loop_us,
        "mfu": None if able is None or speed is None else speed / able,
        "features_share": None if set(card.libraries) - {"torch"} else spent.features_share,
        "busy_share": spent.total_us / took_us(run, device),
        "curve": curve.times_us,
    }


def row(found: dict) -> list[str]:
    mfu, features = found["mfu"], found["features_share"]
    return [
        found["name"],
        str(found["batch"]),
        f"{found['windows_per_second']:,.0f}",
        f"{found['frames_per_second']:,.0f}",
        f"{found['loop_windows_per_second']:,.0f}",
        scaled(found["flops"]),
        "not counted" if mfu is None else f"{mfu:.2%}",
        "not counted" if features is None else f"{features:.0%}",
        f"{found['busy_share']:.0%}",
        mebibytes(found["memory_bytes"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="for each encoder")
    parser.add_argument("--batch-max", type=int, default=256)
    parser.add_argument("--device", default="cuda", help="cpu: to try this script itself")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("bench-gpu: not measured: torch finds no CUDA device here")
        return
    torch.set_num_threads(1)
    heard = clips(given.batch_max)
    found = [measure(s, heard, device, round(given.seconds * 1e6)) for s in subjects(device)]
    able = float32_peak(device)
    of = "its float32 peak is not known" if able is None else scaled(able, "FLOP/s in float32")
    print(f"{processor_name(device)}, {of}; torch {torch.__version__}, {platform.platform()}")
    for line in table(HEAD, [row(each) for each in found]):
        print(line)
    if given.json:
        given.json.write_text(json.dumps({"device": str(device), "encoders": found}, indent=1))


if __name__ == "__main__":
    main()
