"""``motet bench``: what encoders cost (``encode``), and whole pipelines (modules beside this)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import bench_latency, bench_recovery, bench_run
from pipeline.cli.arguments import JsonOption, expanded
from pipeline.cli.bench_asked import BATCH_MAX, SIZE, TARGET, Asked, Wishes, asked_for, parted
from pipeline.cli.terminal import emit, say, warn
from pipeline.errors import InvalidInput, MotetError

if TYPE_CHECKING:
    import torch

    from pipeline.cli.benching import Measured
    from pipeline.connectors.files import SourceFile

app = typer.Typer(
    help="Measure encoders and whole pipelines on this machine.",
    epilog="Example: motet bench encode log_mel image_embedding; motet bench run audio --local",
    rich_markup_mode=None,
)
for module in (bench_run, bench_latency, bench_recovery):
    module.register(app)


class Device(StrEnum):
    """``auto``: cuda where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@app.callback()
def bench() -> None:
    """Measure encoders and whole pipelines on this machine."""


@app.command(epilog="Example: motet bench encode log_mel image_embedding --picture curves.png")
def encode(
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ENCODER|FILE|SOURCE",
            help="Encoders, or a pipeline file (none: all built-in encoders); then sound, "
            "pictures, text or films to measure with (none: those of the demo).",
            show_default=False,
        ),
    ] = None,
    options: Annotated[
        str, typer.Option(metavar="JSON", help="Options of the one encoder, as a JSON object.")
    ] = "{}",
    size: Annotated[
        str | None,
        typer.Option(metavar=SIZE, help=f"Length of a window (default: the file's, or {SIZE})."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar=TARGET,
            help=f"Latency target to choose the batch for (default: the file's, or {TARGET}).",
        ),
    ] = None,
    batch_max: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help=f"The largest batch (default: the file's, or {BATCH_MAX})."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="About so long for each encoder.")
    ] = 10.0,
    device: Annotated[
        Device, typer.Option(help="Where it computes; auto: cuda where there is one.")
    ] = Device.auto,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the curves into this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure encoders by size of batch, beside a plain loop in the same run, and their costs.

    A window is decoded, encoded and checked as a replica does it, on one thread; the plain loop
    does the same one window at a time. The batch is the one at which a replica would settle for
    the latency target. Figures are medians, and machines are noisy: compare within one run.
    """
    first, sources = parted(named or [])
    asked = asked_for(first, Wishes(options, size, target, batch_max))
    files = expanded(sources) if sources else []
    # torch comes with it: seconds that a mistake in what was typed need not wait for
    from pipeline.cli.bench_output import answer, cost_lines, curve_lines, draw
    from pipeline.cli.benching import device_named
    from pipeline.costs.picture import demand_plotting

    where = device_named(device)
    if picture is not None:
        demand_plotting("--picture", picture)
    found = _measured(asked, files, where, round(seconds * 1e6))
    if picture is not None:
        draw(found, where, picture)
    if as_json:
        emit(json.dumps(answer(found, where), ensure_ascii=False))
        return
    for line in [*cost_lines(found), "", *curve_lines(found)]:
        emit(line)


def _measured(
    asked: Sequence[Asked], files: Sequence[SourceFile], device: torch.device, time_us: int
) -> list[Measured]:
    """One after another; of all built-in encoders those that can be built here."""
    from pipeline.cli.benching import measured

    found = []
    for number, each in enumerate(asked, 1):
        say(f"motet: {each.title} ({number} of {len(asked)}) on {device}")
        try:
            done = measured(each, files, device, time_us)
        except InvalidInput as error:
            if each.named:
                raise
            for problem in error.problems:
                warn(f"{each.title} is left out: {problem}")
            continue
        found.append(done)
        if done.windows.distinct < max(done.curve.times_us):
            say(f"motet: {each.title}: {done.windows.distinct} different windows, then these again")
    if not found:
        raise MotetError("none of the encoders could be measured; the warnings say why")
    return found
