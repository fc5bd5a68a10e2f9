"""Moving pictures that are encoded for a test from the vendored cut of Big Buck Bunny."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
from PIL import Image

from pipeline.demo import __path__ as demo_path
from pipeline.media import h264_headers
from pipeline.media.h264 import units

FRAMES = sorted((Path(demo_path[0]) / "media" / "frames").glob("*.jpg"))
WHOLE = None
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
OLD_FRAGMENTS = "frag_keyframe+empty_moov"
OPTIONS = {
    "libx264": {"g": "12"},
    "libx265": {"x265-params": "log-level=none:keyint=12:open-gop=0"},
    "libsvtav1": {"preset": "12"},
    "libvpx-vp9": {"g": "12", "deadline": "realtime"},
    "mpeg4": {"g": "12", "bf": "2"},
}


@cache
def picture(number: int, size: tuple[int, int]) -> Image.Image:
    with Image.open(FRAMES[number % len(FRAMES)]) as image:
        return image.convert("RGB").resize(size)


@cache
def encoded(
    count: int = 30,
    *,
    form: str = "mp4",
    codec: str = "libx264",
    size: tuple[int, int] = (128, 72),
    fps: Fraction | int = 25,
    times: tuple[int, ...] | None = None,
    movflags: str | None = WHOLE,
    options: tuple[tuple[str, str], ...] = (),
    pix_fmt: str = "yuv420p",
) -> bytes:
    """``times``: of the frames, in 1/fps; one after another where they are not given."""
    sink = io.BytesIO()
    flags = {"movflags": movflags} if movflags else {}
    with av.open(sink, "w", format=form, options=flags) as out:
        stream: Any = out.add_stream(codec, rate=fps, options={**OPTIONS[codec], **dict(options)})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.time_base = 1 / Fraction(fps)
        for number in range(count):
            frame = av.VideoFrame.from_image(picture(number, size))
            frame.pts = number if times is None else times[number]
            frame.time_base = 1 / Fraction(fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    # SVT-AV1, where it runs as root, leaves its caller with a real-time priority: whatever this
    # process starts from then on would starve all others.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return sink.getvalue()


def by_ffmpeg(payload: bytes, form: str) -> tuple[list[int], list[np.ndarray]]:
    """Times in microseconds from the first frame, and RGB, as FFmpeg's own demuxer has it."""
    with av.open(io.BytesIO(payload), format=form) as container:
        frames = list(container.decode(video=0))
    pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    if frames[0].pts is None:
        return [], pictures
    ticks = [(frame.pts - frames[0].pts) * frame.time_base for frame in frames]
    return [round(each * 1_000_000) for each in ticks], pictures


def without_vui(stream: bytes) -> bytes:
    """The same H.264 stream with no VUI in any SPS: no timing, and no word on reordering."""
    parts: list[bytes] = []
    starts = [*units(stream)]
    for place, unit in enumerate(starts):
        end = starts[place + 1].start if place + 1 < len(starts) else len(stream)
        whole = stream[unit.start : end]
        parts.append(b"\0\0\0\1" + _cut_sps(unit.body) if unit.kind == 7 else whole)
    return b"".join(parts)


def _cut_sps(unit: bytes) -> bytes:
    left: list[int] = []
    with patch.object(h264_headers, "_timing", lambda bits: left.append(bits._left) or (0, 0)):
        h264_headers.read_sps(unit)
    plain = unit[1:].replace(b"\0\0\3", b"\0\0")
    bits = int.from_bytes(plain, "big") >> left[0] + 1  # without the flag and what follows it
    kept = 8 * len(plain) - left[0] - 1
    bits = bits << 2 | 0b01  # the flag, and the stop bit
    kept += 2
    bits <<= -kept % 8
    body = bits.to_bytes((kept + 7) // 8, "big")
    for low in (0, 1, 2, 3):
        body = body.replace(bytes((0, 0, low)), bytes((0, 0, 3, low)))
    return unit[:1] + body


def gops(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    """An H.264 stream cut into records of so many GOPs each; they add up to all of them."""
    keys = [unit.start for unit in units(stream) if unit.kind == 7]
    edges = [*keys, len(stream)]
    edges[0] = 0
    assert sum(sizes) == len(keys), (sizes, len(keys))
    cuts = np.cumsum([0, *sizes])
    return [stream[edges[a] : edges[b]] for a, b in itertools.pairwise(cuts)]
