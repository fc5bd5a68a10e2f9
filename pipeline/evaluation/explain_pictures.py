"""Pictures of an explanation: sound, frames and words, coloured by what they were worth.

Red is what the answer would lose without a part, blue what it would gain; the strongest part of a
picture has the full colour.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.encoders.over_time import window_samples
from pipeline.evaluation.explain_graph import Part
from pipeline.evaluation.explain_occlusion import FRAMES_MAX, Tile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RED, BLUE = (0.80, 0.10, 0.10), (0.10, 0.25, 0.80)
_ALPHA = 0.75  # of the strongest part: what is beneath stays visible
_DOTS_PER_INCH = 110
_FFT = 512
_LINE = 64  # characters of a line of text
_FONTS = ("DejaVu Sans Mono", "Noto Sans Mono CJK SC", "WenQuanYi Micro Hei", "Unifont")


def draw(part: Part, told: Mapping[str, Any], title: str, path: Path) -> None:
    """Writes the picture of one part's media as a PNG. ``told``: as ``explain`` has it."""
    from matplotlib.figure import Figure

    kinds = {"audio": _sound, "image": _frames, "text": _words}
    with warnings.catch_warnings():  # a script that no font here has is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = kinds[part.kind](Figure, part, told)
        figure.suptitle(title)
        figure.savefig(path, dpi=_DOTS_PER_INCH)


def colours(losses: Sequence[float]) -> list[tuple[float, float, float, float]]:
    """RGBA of each part; all clear where nothing counts."""
    strongest = max((abs(loss) for loss in losses), default=0.0) or 1.0
    return [(*(RED if loss > 0 else BLUE), _ALPHA * abs(loss) / strongest) for loss in losses]


def _sound(figure_class: type[Figure], part: Part, told: Mapping[str, Any]) -> Figure:
    """A spectrogram with the cells over it; below, what each slice of time is worth."""
    from matplotlib.patches import Rectangle

    figure = figure_class(figsize=(8, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    clip, grid = part.clip, told["grid"]
    assert clip.rate is not None
    samples = window_samples(clip, clip.rate)
    seconds = len(samples) / clip.rate
    _spectrogram(above, samples, clip.rate, seconds)
    slices = np.linspace(0, seconds, len(told["parts"]) + 1)
    edges, losses = grid["edges_hz"], np.array(grid["loss"])
    shades = iter(colours(losses.reshape(-1).tolist()))
    for low_s, high_s in pairwise(slices.tolist()):
        for low_hz, high_hz in pairwise(edges):
            size = high_s - low_s, high_hz - low_hz
            above.add_patch(Rectangle((low_s, low_hz), *size, color=next(shades), linewidth=0))
    by_time = [each["loss"] for each in told["parts"]]
    bars = [RED if loss > 0 else BLUE for loss in by_time]
    below.bar(slices[:-1], by_time, width=np.diff(slices), align="edge", color=bars, alpha=_ALPHA)
    below.axhline(0, color="grey", linewidth=0.8)
    below.set(xlabel="seconds of the window", ylabel="without it")
    return figure


def _spectrogram(axes: Axes, samples: Any, rate: int, seconds: float) -> None:
    """In grey, over 80 dB, on a mel scale."""
    padded = np.pad(samples.astype(np.float64), _FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[:: _FFT // 4]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FFT), axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    times = np.linspace(0, seconds, len(frames) + 1)
    hertz = np.linspace(0, rate / 2, decibels.shape[1] + 1)
    top = decibels.max()
    axes.pcolormesh(times, hertz, decibels.T, cmap="gray_r", vmin=top - 80, vmax=top)
    axes.set_yscale(
        "function",
        functions=(lambda f: 2595 * np.log10(1 + f / 700), lambda m: 700 * (10 ** (m / 2595) - 1)),
    )
    ticks = [f for f in (0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000) if f <= rate / 2]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set(ylabel="Hz", ylim=(0, rate / 2), xlim=(0, seconds))


def _frames(figure_class: type[Figure], part: Part, told: Mapping[str, Any]) -> Figure:
    """The first frames of the window in grey, each with the tiles over it."""
    from matplotlib.patches import Rectangle

    frames = list(part.clip.frames or ())[:FRAMES_MAX]
    times_us = list(part.clip.times_us or [part.clip.start_us] * len(frames))
    height = 1 + 4 * frames[0].shape[0] / frames[0].shape[1]
    size = (4 * len(frames) + 1, min(height, 6.0))
    figure = figure_class(figsize=size, layout="constrained")
    shades = colours([each["loss"] for each in told["parts"]])
    for axes, frame, at_us in zip(
        figure.subplots(1, len(frames), squeeze=False)[0], frames, times_us, strict=False
    ):
        high, wide = frame.shape[:2]
        axes.imshow(frame.mean(axis=2), cmap="gray", vmin=0, vmax=255, extent=(0, wide, high, 0))
        for each, shade in zip(told["parts"], shades, strict=True):
            if each["at_us"] not in (None, at_us):
                continue
            rows, columns = Tile(each["row"], each["column"]).pixels(high, wide)
            size = columns.stop - columns.start, rows.stop - rows.start
            axes.add_patch(Rectangle((columns.start, rows.start), *size, color=shade, linewidth=0))
        axes.set_axis_off()
        axes.set_title(f"{(at_us - part.clip.start_us) / 1e6:+.3f} s", fontsize="small")
    return figure


def _words(figure_class: type[Figure], part: Part, told: Mapping[str, Any]) -> Figure:
    """The text in lines, a coloured ground behind each word."""
    from matplotlib.font_manager import get_font_names
    from matplotlib.patches import Rectangle

    installed = set(get_font_names())
    fonts = [font for font in _FONTS if font in installed]
    lines = _laid_out(part.clip.text or "", told["parts"])
    figure = figure_class(figsize=(8, 0.8 + 0.3 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, _LINE), ylim=(len(lines), 0))
    axes.set_axis_off()
    shades = colours([each["loss"] for each in told["parts"]])
    for row, line in enumerate(lines):
        for column, (sign, number) in enumerate(line):
            if number is not None:
                ground = Rectangle((column, row), 1, 0.9, color=shades[number], linewidth=0)
                axes.add_patch(ground)
            axes.text(
                column + 0.5, row + 0.45, sign, ha="center", va="center", fontfamily=fonts,
                fontsize=14, parse_math=False,
            )  # fmt: skip
    return figure


def _laid_out(text: str, parts: Sequence[Mapping[str, Any]]) -> list[list[tuple[str, int | None]]]:
    """Lines of signs with the number of the word that each is of; broken between words."""
    of_sign: list[int | None] = [None] * len(text)
    for number, part in enumerate(parts):
        of_sign[part["first"] : part["last"]] = [number] * (part["last"] - part["first"])
    lines: list[list[tuple[str, int | None]]] = [[]]
    for place, sign in enumerate(text):
        if sign == "\n":
            lines.append([])
            continue
        if len(lines[-1]) == _LINE:
            line = lines[-1]
            cut = max((n + 1 for n, (each, _) in enumerate(line) if each == " "), default=_LINE)
            lines[-1], rest = line[:cut], line[cut:]
            lines.append(rest)
        lines[-1].append((sign, of_sign[place]))
    return lines
