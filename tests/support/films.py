"""Films that are made for a test: every picture has its own grey, and the sound is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.connectors.files import SourceFile, expand

RATE = 48_000
FPS = 25
SOUND_CODECS = {"mp4": "aac", "mov": "pcm_s16le", "mkv": "pcm_s16le", "webm": "libopus"}
PICTURE_CODECS = {"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "webm": "libvpx"}


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    """int16, shape (n,)."""
    t = np.arange(round(RATE * seconds)) / RATE
    return (np.sin(2 * np.pi * hertz * t) * 12_000).astype(np.int16)


def grey(number: int) -> int:
    """The level of picture ``number``: another one each tenth of a second at least."""
    return 16 + number * 7 % 220


def film(
    path: Path,
    seconds: float = 3.0,
    sound: np.ndarray | None = None,
    size: tuple[int, int] = (64, 48),
    pictures: bool = True,
    gap_at: int | None = None,
) -> SourceFile:
    """A film whose every picture has its own grey; ``gap_at``: a second that has no sound."""
    suffix = path.suffix[1:]
    with av.open(str(path), "w") as out:
        video = audio = None
        if pictures:
            video = out.add_stream(PICTURE_CODECS[suffix], rate=FPS)
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
        if sound is not None:
            audio = out.add_stream(SOUND_CODECS[suffix], rate=RATE, layout="mono")
        for number in range(round(seconds * FPS) if video is not None else 0):
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), grey(number), np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
            if audio is not None and number % FPS == 0 and number // FPS != gap_at:
                mux_second(out, audio, sound, number // FPS)
        if audio is not None:
            if video is None:
                for second in range(-(-len(sound) // RATE)):
                    mux_second(out, audio, sound, second)
            out.mux(audio.encode(None))
        if video is not None:
            out.mux(video.encode(None))
    [found], _ = expand([str(path)])
    return found


def mux_second(out: Any, audio: Any, sound: np.ndarray, second: int) -> None:
    block = sound[second * RATE : (second + 1) * RATE]
    frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
    frame.rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
    out.mux(audio.encode(frame))
