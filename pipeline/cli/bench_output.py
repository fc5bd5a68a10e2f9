"""How ``motet bench encode`` shows what it measured: tables, JSON, a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.cli.benching import Measured
from pipeline.cli.table import table
from pipeline.cli.terminal import counted
from pipeline.costs.picture import Line, draw_curves
from pipeline.costs.processor import processor_name
from pipeline.costs.words import mebibytes, scaled

COSTS = (
    "encoder", "loop", "batch", "windows/s", "times", "ms a window", "encode alone",
    "parameters", "weights", "FLOPs a window", "FLOP/s", "peak memory",
)  # fmt: skip


def cost_lines(found: Sequence[Measured]) -> Iterator[str]:
    """A row for each encoder, at the batch that was chosen; then what is to be known about them."""
    rows = [_row(each) for each in found]
    yield from _right(COSTS, rows)
    reasons: dict[str, list[str]] = {}
    for each in found:
        for why in each.card.why:
            reasons.setdefault(why, []).append(each.asked.title)
    for why, titles in reasons.items():
        yield f"{', '.join(titles)}: {why}"
    for each in found:
        if not each.curve.complete:
            yield (
                f"{each.asked.title}: batches of more than "
                f"{counted(max(each.curve.times_us), 'window')} were not tried, its time was up; "
                "--seconds gives more"
            )


def _row(each: Measured) -> list[str]:
    card = each.card
    return [
        each.asked.title,
        _short(1e6 / each.curve.loop_us),
        str(each.chosen),
        _short(1e6 / each.curve.item_us(each.chosen)),
        f"{each.curve.speedup(each.chosen):.2f}",
        f"{card.seconds * 1e3:.3g}",
        f"{each.encode_us / 1e3:.3g}",
        scaled(card.parameters) if card.libraries else "-",
        mebibytes(card.parameter_bytes) if card.libraries else "-",
        scaled(card.flops),
        scaled(card.flops_per_second),
        mebibytes(card.memory_bytes),
    ]


def curve_lines(found: Sequence[Measured]) -> list[str]:
    """t(B) in ms: a row for each encoder, a column for each size."""
    sizes = sorted({size for each in found for size in each.curve.times_us})
    rows = [
        [each.asked.title, *(_ms(each.curve.times_us.get(size)) for size in sizes)]
        for each in found
    ]
    return _right(["ms a batch of", *map(str, sizes)], rows)


def _right(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table with all columns but the first to the right: they hold numbers with units."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    placed = [
        [cells[0], *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        for cells in (head, *rows)
    ]
    return table(placed[0], placed[1:])


def _ms(time_us: float | None) -> str:
    return "-" if time_us is None else _short(time_us / 1e3)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def answer(found: Sequence[Measured], device: torch.device) -> dict[str, Any]:
    """What ``--json`` prints (docs/schemas/bench-encode.schema.json)."""
    return {
        "device": str(device),
        "processor": processor_name(device),
        "encoders": [_as_json(each) for each in found],
    }


def _as_json(each: Measured) -> dict[str, Any]:
    curve, asked = each.curve, each.asked
    return {
        "name": asked.title,
        "encoder": asked.encoder,
        "options": dict(asked.options),
        "takes": list(each.takes),
        "gives": each.gives,
        "window_seconds": asked.span.size_us / 1e6,
        "windows_distinct": each.windows.distinct,
        "latency_target_seconds": None if asked.target_us is None else asked.target_us / 1e6,
        "batch": each.chosen,
        "batch_best": curve.best,
        "windows_per_second": 1e6 / curve.item_us(each.chosen),
        "loop_windows_per_second": 1e6 / curve.loop_us,
        "speedup": curve.speedup(each.chosen),
        "encode_seconds": each.encode_us / 1e6,
        "rounds": curve.rounds,
        "complete": curve.complete,
        "curve": [
            {"batch": size, "seconds": time_us / 1e6}
            for size, time_us in sorted(curve.times_us.items())
        ],
        "card": each.card.as_json(),
    }


def draw(found: Sequence[Measured], device: torch.device, path: Path) -> None:
    """The curves of all encoders in one picture, with their target where they share one."""
    lines = [Line(each.asked.title, each.curve, each.chosen) for each in found]
    targets = {each.asked.target_us for each in found}
    title = f"motet bench encode on {processor_name(device)}, one thread"
    draw_curves(lines, title, targets.pop() if len(targets) == 1 else None, path)
