"""The picture of t(B): how long batches take, and how many items a second that makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.costs.curve import Curve
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
_SIZE_INCHES = (12.0, 5.5)
_DOTS_PER_INCH = 120


class Line(NamedTuple):
    """One encoder's curve; ``chosen`` is the batch for the target."""

    name: str
    curve: Curve
    chosen: int


def demand_plotting(flag: str, path: Path) -> None:
    """InvalidInput unless a picture can be drawn and its file is of a kind that is written."""
    if path.suffix.lower() not in SUFFIXES:
        remedy = f"end it in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise InvalidInput(Problem(flag, str(path), "is no kind of picture that is drawn", remedy))
    if not path.absolute().parent.is_dir():
        why = f"there is no folder {path.parent}"
        raise InvalidInput(Problem(flag, str(path), why, "make it first"))
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        why = "it is drawn by matplotlib, which is not installed"
        raise InvalidInput(Problem(flag, str(path), why, "pip install matplotlib")) from error


def draw_curves(lines: Sequence[Line], title: str, target_us: int | None, path: Path) -> None:
    """Two panels over the size of the batch, both axes logarithmic.

    Left t(B) in ms, right items a second with the plain loop as a dotted line of the same colour.
    A ring marks the batch that is chosen, the dashed grey line half of the latency target, which
    is what a batch may take.
    """
    from matplotlib.figure import Figure  # not pyplot: it would look for a screen

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title)
    times, rates = figure.subplots(1, 2)
    for number, line in enumerate(lines):
        _draw(times, rates, line, f"C{number % 10}", "osv^D"[number // 10 % 5])
    if target_us is not None:
        label = f"half of the target of {target_us / 1e3:g} ms"
        times.axhline(target_us / 2e3, color="grey", linestyle="--", linewidth=1, label=label)
    _finish(times, lines, "milliseconds", "t(B): what a batch takes")
    _finish(rates, lines, "windows a second", "what that makes (dotted: plain loop)")
    figure.legend(*times.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    figure.savefig(path)


def _draw(times: Axes, rates: Axes, line: Line, color: str, marker: str) -> None:
    sizes = sorted(line.curve.times_us)
    look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.5}
    ring: dict[str, Any] = {
        "color": color, "marker": "o", "markersize": 11, "fillstyle": "none", "linestyle": "",
    }  # fmt: skip
    ms = {size: line.curve.times_us[size] / 1e3 for size in sizes}
    per_second = {size: 1e6 / line.curve.item_us(size) for size in sizes}
    for axes, values in ((times, ms), (rates, per_second)):
        axes.plot(sizes, [values[size] for size in sizes], label=line.name, **look)
        axes.plot([line.chosen], [values[line.chosen]], **ring)
    rates.axhline(1e6 / line.curve.loop_us, color=color, linestyle=":", linewidth=1)


def _finish(axes: Axes, lines: Sequence[Line], unit: str, title: str) -> None:
    ticks = sorted({size for line in lines for size in line.curve.times_us})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("windows in a batch (B)")
    axes.set_ylabel(unit)
    axes.set_title(title, fontsize="medium")
    axes.grid(True, alpha=0.3)
