"""What the three examples share: a scene of one stream, sounds to build it from, and its files.

A scene becomes two folders that `motet publish --stream '{folder}'` reads, media/STREAM
(sound.wav, 000.jpg and so on) and notes/STREAM (notes.txt), and rows of a file of labels. All of it
is drawn from seeded random numbers, so the same call gives the same files.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

RATE = 16_000
# Where a part begins in event time, as --start of its `motet publish` says.
BEGINS = {"learn": "2026-01-31T12:00:00Z", "told": "2026-01-31T13:00:00Z"}
PEAK = 0.98

Samples = NDArray[np.float32]
Rng = np.random.Generator


class Scene(NamedTuple):
    """One stream: windows of ``window_s`` seconds, one label each.

    ``sound``: mono at ``RATE``, as long as the windows; ``pictures``: one a window, or
    none; ``texts``: lines, each valid as long as --chunk of their publish says; ``said``: what
    was spoken in each window, where that is known.
    """

    stream: str
    window_s: int
    labels: Sequence[str]
    sound: Samples
    pictures: Sequence[Image.Image]
    texts: Sequence[str]
    said: Sequence[str] = ()


def write(scenes: Iterable[Scene], part: str, folder: Path) -> int:
    """The media of a part below ``folder``/PART, its labels as PART.csv; gives how many windows.

    What was said goes into PART-said.csv, where a scene knows it.
    """
    rows: list[tuple[str, int, int, str]] = []
    said: list[tuple[str, int, int, str]] = []
    for scene in scenes:
        place, notes = (folder / part / kind / scene.stream for kind in ("media", "notes"))
        place.mkdir(parents=True)
        notes.mkdir(parents=True)
        soundfile.write(place / "sound.wav", scene.sound, RATE, subtype="PCM_16")
        for number, picture in enumerate(scene.pictures):
            picture.save(place / f"{number:03}.jpg", quality=85)
        (notes / "notes.txt").write_text("\n".join(scene.texts) + "\n", encoding="utf-8")
        rows += _rows(scene, part, scene.labels)
        said += _rows(scene, part, scene.said)
    _table(folder / f"{part}.csv", "label", rows)
    if said:
        _table(folder / f"{part}-said.csv", "text", said)
    return len(rows)


def _rows(scene: Scene, part: str, values: Sequence[str]) -> list[tuple[str, int, int, str]]:
    begin_us = round(datetime.fromisoformat(BEGINS[part]).timestamp()) * 1_000_000
    step_us = scene.window_s * 1_000_000
    spans = ((begin_us + n * step_us, value) for n, value in enumerate(values))
    return [(scene.stream, at_us, at_us + step_us, value) for at_us, value in spans]


def _table(path: Path, column: str, rows: Sequence[tuple[str, int, int, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("stream", "start_us", "end_us", column))
        table.writerows(rows)


# -- sounds: float, at RATE -----------------------------------------------------------------------


def noise(rng: Rng, seconds: float, level: float, softness: int = 1) -> Samples:
    """``level`` is its RMS; ``softness`` samples are averaged, which takes the high tones away."""
    raw = rng.standard_normal(round(seconds * RATE) + softness - 1)
    soft = np.convolve(raw, np.full(softness, softness**-0.5), "valid")
    return (level * soft).astype(np.float32)


def tone(pitch_hz: float, seconds: float, level: float, partials: int = 5) -> Samples:
    """A tone with overtones that fall off as 1/n, and 10 ms of rise and fall."""
    count = round(seconds * RATE)
    time = np.arange(count) / RATE
    wave = sum(np.sin(2 * np.pi * pitch_hz * n * time) / n for n in range(1, partials + 1))
    edge = np.clip(np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.01 * RATE), 0, 1)
    return (level * edge * wave).astype(np.float32)


def burst(rng: Rng, seconds: float, level: float, softness: int = 1) -> Samples:
    """Noise that dies away: a step, a cough, a door."""
    raw = noise(rng, seconds, level, softness)
    fading: Samples = raw * np.exp(-4 * np.linspace(0, 1, len(raw), dtype=np.float32))
    return fading


def lay(onto: Samples, sound: Samples, at_s: float) -> None:
    """Adds a sound from ``at_s`` on; what reaches beyond the end is cut off."""
    first = round(at_s * RATE)
    room = onto[first : first + len(sound)]
    room += sound[: len(room)]


def limited(sound: Samples) -> Samples:
    """Within what 16 bits hold."""
    return np.clip(sound, -PEAK, PEAK)


def taken(rng: Rng, sound: Samples, seconds: float) -> Samples:
    """A piece of a longer sound, from a drawn place."""
    count = round(seconds * RATE)
    first = int(rng.integers(0, max(1, len(sound) - count)))
    return sound[first : first + count]


# -- pictures -------------------------------------------------------------------------------------


def shade(rng: Rng, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def filmed(rng: Rng, picture: Image.Image, light: float, grain: float) -> Image.Image:
    """As a camera gives it: ``light`` 1 is day; ``grain`` is the spread of its noise, of 255."""
    values = np.asarray(picture, np.float32) * light
    values += grain * rng.standard_normal(values.shape, dtype=np.float32)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
