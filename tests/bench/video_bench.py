"""Decoding of a long GOP in a stage against bare PyAV decoding, both sides in one run.

One H.264 record of ten seconds, 30 frames a second, one GOP: slow pans over pictures of Big Buck
Bunny with the noise of a sensor, at a camera's bit rate. *Bare* feeds packets that are already
cut to a PyAV decoder, one thread, and drops the frames. *Ours* goes from the record's bytes to
the clips of its ten one-second windows in one batch: header, planning, decoding, scaling, RGB.
Both compute in one thread, and the time is what they computed, so what else runs on the machine
counts for little. Sides take turns; ratios are medians over rounds. The exit code is 1 where an
encoder that states what it looks at, as the built-in ones do, is under the target; scaling every
frame is shown too.

    python tests/bench/video_bench.py --rounds 5 --json FILE
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from pipeline.batching.batch import StageJob
from pipeline.demo import __path__ as demo_path
from pipeline.encoders.clips import ClipBuilder, StagePlan
from pipeline.encoders.frames import FrameWish
from pipeline.media.facts import read_facts
from pipeline.media.film import read_film
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type

FPS, SECONDS = 30, 10
# and bit rates, in Mb/s
SIZES = {(640, 360): 1.4, (1280, 720): 5.0, (1920, 1080): 10.0}
NOISE = 4.0  # standard deviation, of 255
TARGET = 0.8  # decode and resize : bare decode
EVERY = "every frame, 224 px"
WISHES = {
    "4 frames a window, 224 px": FrameWish(4, 224),
    EVERY: FrameWish(None, 224),
}


def gop(size: tuple[int, int]) -> bytes:
    """A byte stream of one GOP with B-frames."""
    width, height = size
    paths = sorted((Path(demo_path[0]) / "media" / "frames").glob("*.jpg"))
    sink = io.BytesIO()
    count = FPS * SECONDS
    rng = np.random.default_rng(0)
    noise = rng.normal(0, NOISE, (height + 64, width + 64, 1)).astype(np.float32)
    with av.open(sink, "w", format="h264") as out:
        options = {"preset": "veryfast", "g": str(count), "sc_threshold": "0"}
        stream: Any = out.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = round(SIZES[size] * 1_000_000)
        for number in range(count):
            second, step = divmod(number, FPS)
            if step == 0:
                with Image.open(paths[second]) as picture:
                    large = picture.convert("RGB").resize((width * 5 // 4, height * 5 // 4))
            box = (step * width // 120, step * height // 120)
            clean = np.asarray(large.crop((*box, box[0] + width, box[1] + height)), np.float32)
            y, x = rng.integers(0, 64, 2)
            noisy = np.clip(clean + noise[y : y + height, x : x + width], 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return sink.getvalue()


def bare(payload: bytes) -> Callable[[], int]:
    film = read_film("h264", payload)
    cut = [payload[s.start : s.start + s.size] for s in film.samples]

    def run() -> int:
        context: Any = av.CodecContext.create("h264", "r")
        context.thread_type, context.thread_count = "NONE", 1
        frames = 0
        for each in cut:
            frames += len(context.decode(av.Packet(each)))
        return frames + len(context.decode(None))

    return run


def ours(payload: bytes, wish: FrameWish) -> Callable[[], int]:
    facts = read_facts(parse_media_type("video/H264"), payload, 1 << 26)
    log = LogRecord("cam", 0, 0, 0, b"s", payload, [])
    record = MediaRecord("cam", "s", 0, facts.duration_us, facts, payload, log)
    second = 1_000_000
    jobs = [StageJob("s", n * second, (n + 1) * second, [record]) for n in range(SECONDS)]

    def run() -> int:
        builder = ClipBuilder(StagePlan("colour", ("cam",)), ("video",), None, wish)
        clips = [built.clip for built in builder.build(jobs)]
        shown = sum(len(clip.frames or ()) for clip in clips if clip is not None)
        assert shown == (FPS if wish.frames_max is None else wish.frames_max) * SECONDS
        return facts.frames

    return run


def measured(sides: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Decoded frames per second of a core, of each side in each round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            began = time.process_time()
            frames = run()
            found[name].append(frames / (time.process_time() - began))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report: dict[str, Any] = {"machine": platform.platform(), "rounds": given.rounds, "sizes": {}}
    print(f"{'':12}{'':28}{'frames/s':>10}{'to bare':>10}{'Mb/s':>8}")
    reached = True
    for size in SIZES:
        payload = gop(size)
        sides = {"bare decode": bare(payload)}
        sides |= {name: ours(payload, wish) for name, wish in WISHES.items()}
        found = measured(sides, given.rounds)
        megabits = len(payload) * 8 / SECONDS / 1e6
        rows: dict[str, Any] = {"megabits_per_second": megabits}
        for name, rates in found.items():
            ratios = [a / b for a, b in zip(rates, found["bare decode"], strict=True)]
            ratio = statistics.median(ratios)
            rows[name] = {"frames_per_second": statistics.median(rates), "ratio": ratio}
            label = f"{size[0]}x{size[1]}"
            print(
                f"{label:12}{name:28}{statistics.median(rates):10.0f}{ratio:10.2f}{megabits:8.1f}"
            )
            reached = reached and (ratio >= TARGET or name == EVERY)
        report["sizes"][f"{size[0]}x{size[1]}"] = rows
    print(f"target {TARGET}: {'reached' if reached else 'missed'}")
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
