"""What is taken out of a clip to see what it was worth: cells of sound, tiles of frames, words.

Occlusion (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014) asks no
more of an encoder than that it runs, so it is the same for a histogram, a network and a class of
the user's. Each ``Cut`` changes a clip in place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Clip
from pipeline.encoders.over_time import samples_start_us
from pipeline.media.clips import nearest_sample

SLICES = 10  # of a window's time
BANDS = 8  # of equal width on the mel scale, from 0 Hz to half the rate
TILES = (6, 8)  # rows and columns of a frame
FRAMES_MAX = 4  # whose tiles are taken out frame by frame
WORDS_MAX = 64  # groups of neighbouring words: more are joined
_EAST_ASIAN = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: a sign is a word
_WORD = re.compile(rf"[{_EAST_ASIAN}]|[^\W{_EAST_ASIAN}]+")

Cut = Callable[[Clip], None]
Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cell:
    """``[start_us, end_us)`` of event time, and ``[low_hz, high_hz)`` of the spectrum."""

    start_us: int
    end_us: int
    low_hz: float = 0.0
    high_hz: float = float("inf")

    def __call__(self, clip: Clip) -> None:
        """Subtracts what the cell holds; what all cells of a grid hold adds up to the sound."""
        assert clip.samples is not None
        first, last = self._samples_of(clip)
        samples = clip.samples.copy()
        samples[first:last] -= self.content(clip)
        clip.samples = samples

    def content(self, clip: Clip) -> Sound:
        """Of the clip's samples in the cell's time, those frequencies, shape (n,)."""
        assert clip.samples is not None
        assert clip.rate is not None
        first, last = self._samples_of(clip)
        part = clip.samples[first:last]
        if not len(part) or (self.low_hz <= 0 and self.high_hz == float("inf")):
            return part.copy()
        spectrum = np.fft.rfft(part.astype(np.float64))
        hertz = np.fft.rfftfreq(len(part), 1 / clip.rate)
        spectrum[(hertz < self.low_hz) | (hertz >= self.high_hz)] = 0.0
        return np.fft.irfft(spectrum, len(part)).astype(np.float32)

    def _samples_of(self, clip: Clip) -> tuple[int, int]:
        assert clip.samples is not None
        assert clip.rate is not None
        begin_us = samples_start_us(clip)
        first = nearest_sample(max(0, self.start_us - begin_us), clip.rate)
        last = nearest_sample(max(0, self.end_us - begin_us), clip.rate)
        return min(first, len(clip.samples)), min(last, len(clip.samples))


@dataclass(frozen=True, slots=True)
class Tile:
    """One of ``TILES``, painted with the frame's mean colour: in the frame that is shown from
    ``at_us``, or in all."""

    row: int
    column: int
    at_us: int | None = None

    def __call__(self, clip: Clip) -> None:
        painted = []
        frames = clip.frames or ()
        for frame, at_us in zip(frames, clip.times_us or [0] * len(frames), strict=True):
            if self.at_us not in (None, at_us):
                painted.append(frame)
                continue
            rows, columns = self.pixels(frame.shape[0], frame.shape[1])
            own = frame.copy()
            if frame.size:
                own[rows, columns] = np.rint(frame.mean(axis=(0, 1))).astype(np.uint8)
            painted.append(own)
        clip.frames = painted

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Its rows and columns in a frame; those of all tiles cover each pixel once."""
        rows, columns = TILES
        return (
            slice(self.row * height // rows, (self.row + 1) * height // rows),
            slice(self.column * width // columns, (self.column + 1) * width // columns),
        )


@dataclass(frozen=True, slots=True)
class Words:
    """Characters ``[first, last)`` of a text, which are left out of it."""

    first: int
    last: int

    def __call__(self, clip: Clip) -> None:
        text = clip.text or ""
        clip.text = text[: self.first] + text[self.last :]


def time_cells(start_us: int, end_us: int) -> list[Cell]:
    """The window in ``SLICES`` parts, all frequencies."""
    edges = [start_us + (end_us - start_us) * n // SLICES for n in range(SLICES + 1)]
    return [Cell(low, high) for low, high in pairwise(edges)]


def band_edges_hz(rate: int) -> list[float]:
    """``BANDS + 1`` edges; the last is infinite, so that no frequency is left out.

    mel = 2595 log10(1 + f / 700) (O'Shaughnessy, 1987).
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    mels = np.linspace(0.0, top, BANDS + 1)[:-1]
    return [*(700 * (10 ** (mels / 2595) - 1)).tolist(), float("inf")]


def grid_cells(start_us: int, end_us: int, rate: int) -> list[Cell]:
    """Slice by slice, its bands from the lowest up."""
    edges = band_edges_hz(rate)
    return [
        Cell(cell.start_us, cell.end_us, low, high)
        for cell in time_cells(start_us, end_us)
        for low, high in pairwise(edges)
    ]


def tiles(clip: Clip) -> list[Tile]:
    """Row by row: frame by frame where a clip has few, else each in all of them at once."""
    times_us: list[int | None] = list(dict.fromkeys(clip.times_us or ()))
    if len(times_us) > FRAMES_MAX:
        times_us = [None]
    rows, columns = map(range, TILES)
    return [Tile(row, column, at_us) for at_us in times_us for row in rows for column in columns]


def words(text: str) -> list[Words]:
    """The words of a text in their order, in at most ``WORDS_MAX`` groups of neighbours."""
    found = [match.span() for match in _WORD.finditer(text)]
    each = -(-len(found) // WORDS_MAX) or 1
    groups: list[Sequence[tuple[int, int]]] = [
        found[first : first + each] for first in range(0, len(found), each)
    ]
    return [Words(group[0][0], group[-1][1]) for group in groups]
