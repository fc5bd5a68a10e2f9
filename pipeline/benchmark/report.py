"""What measurements of whole pipelines say: tables for people, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Told = Sequence[Mapping[str, Any]]
_SIZE_INCHES = (12.0, 5.0)
_DOTS_PER_INCH = 120


def rate_lines(summaries: Told) -> list[str]:
    head = ("job", "side", "windows/s", "range", "records/s", "MB/s", "start s",
            "of one core", "of all cores")  # fmt: skip
    return columns(head, [_rate_row(each) for each in summaries])


def _rate_row(each: Mapping[str, Any]) -> list[str]:
    low, high = each["windows_per_second_min"], each["windows_per_second_max"]
    bare = each["efficiency"]
    shares = ["-", "-"]
    if bare is not None:
        shares = [
            f"{bare['of_one_core']:.2f} of {bare['bare_one_core']:,.0f}",
            f"{bare['of_all_cores']:.2f} of {bare['bare_all_cores']:,.0f}",
        ]
    return [
        each["job"],
        each["side"],
        f"{each['windows_per_second']:,.0f}",
        f"{low:,.0f} to {high:,.0f}",
        f"{each['records_per_second']:,.0f}",
        f"{each['bytes_per_second'] / 1e6:.1f}",
        f"{each['start_seconds']:.1f}",
        *shares,
    ]


def cost_lines(summaries: Told) -> list[str]:
    """Of a million windows: CPU seconds of all processes, peak memory, and memory times time."""
    head = ("job", "side", "CPU s a million windows", "of it encoders", "peak memory MiB",
            "GiB s a million windows")  # fmt: skip
    rows = [
        [
            each["job"],
            each["side"],
            f"{each['cpu_seconds_per_million']:,.0f}",
            "-" if each["efficiency"] is None else f"{each['efficiency']['of_cpu']:.0%}",
            f"{each['memory_bytes'] / (1 << 20):,.0f}",
            f"{each['memory_gib_seconds_per_million']:,.0f}",
        ]
        for each in summaries
    ]
    return columns(head, rows)


def latency_lines(measured: Told) -> list[str]:
    """Milliseconds from when a send was due to its committed result at a reader."""
    head = ("job", "side", "windows/s", "load", "windows", "p50 ms", "p90", "p99", "p99.9", "max",
            "sender late ms", "kept up")  # fmt: skip
    rows = []
    for each in measured:
        found, capacity = each["latency"], each["capacity"]
        rows.append(
            [
                each["job"],
                each["side"],
                f"{each['windows_per_second']:,.0f}",
                "-" if capacity is None else f"{each['windows_per_second'] / capacity:.2f}",
                f"{found['windows']:,}",
                *(_ms(found[name]) for name in ("p50", "p90", "p99", "p99_9", "max")),
                _ms(each["sender_late_max"]),
                "yes" if each["kept_up"] else "no",
            ]
        )
    return columns(head, rows)


def recovery_lines(measured: Told) -> list[str]:
    """A row for each kill: seconds to the first window after it, and until all is as before."""
    head = ("job", "side", "windows/s", "killed", "first window after s", "as before after s")
    rows = [
        [
            each["job"],
            each["side"],
            f"{each['windows_per_second']:,.0f}",
            kill["what"],
            _s(kill["recovered"]),
            _s(kill["calm"]),
        ]
        for each in measured
        for kill in each["kills"]
    ]
    return columns(head, rows)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first two columns left, all others right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for cells in (head, *rows):
        placed = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(placed).rstrip())
    return lines


def draw_rates(summaries: Told, path: Path) -> None:
    """Windows a second with their range, beside the encoders alone; CPU time of a window."""
    figure = _figure("motet bench run")
    rates, costs = figure.subplots(1, 2)
    names = [f"{each['job']}\n{each['side']}" for each in summaries]
    places = range(len(names))
    middle = [each["windows_per_second"] for each in summaries]
    below = [each["windows_per_second"] - each["windows_per_second_min"] for each in summaries]
    above = [each["windows_per_second_max"] - each["windows_per_second"] for each in summaries]
    rates.bar(places, middle, yerr=[below, above], capsize=4, color="C0", label="end to end")
    for place, each in enumerate(summaries):
        if each["efficiency"] is not None:
            for key, style in (("bare_one_core", ":"), ("bare_all_cores", "-")):
                label = None if place else f"encoders alone, {key[5:].replace('_', ' ')}"
                ends = ([place - 0.4, place + 0.4], [each["efficiency"][key]] * 2)
                rates.plot(*ends, color="C1", linestyle=style, label=label)
    rates.legend()
    rates.set_ylabel("windows a second")
    costs.bar(places, [each["cpu_seconds_per_million"] / 1e3 for each in summaries], color="C2")
    costs.set_ylabel("CPU milliseconds a window, all processes")
    for axes in (rates, costs):
        axes.set_xticks(list(places), names)
        axes.grid(True, axis="y", alpha=0.3)
    figure.savefig(path)


def draw_latency(measured: Told, path: Path) -> None:
    """Median and greatest latency of each second, by when sends were due."""
    figure = _figure("motet bench latency: from when a send was due to its committed result")
    axes = figure.subplots()
    for number, each in enumerate(measured):
        seconds = [row["second"] for row in each["by_second"]]
        label = f"{each['job']}, {each['side']}, {each['windows_per_second']:,.0f} windows/s"
        for key, style in (("p50", "-"), ("max", ":")):
            values = [row[key] * 1e3 for row in each["by_second"]]
            axes.plot(seconds, values, style, color=f"C{number}", label=f"{label}: {key}")
    axes.set_yscale("log")
    axes.set_xlabel("second")
    axes.set_ylabel("milliseconds")
    axes.grid(True, alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _figure(title: str) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: it would look for a screen

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title)
    return figure


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:,.0f}"


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
