"""``motet try``: one encoder on files, without Kafka or Ray."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import JsonOption, duration_us, expanded
from pipeline.cli.terminal import counted, emit, say, warn
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.cli.trying import Trial, Tried


class Device(StrEnum):
    """``auto``: cuda where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def register(app: typer.Typer) -> None:
    app.command(
        "try",
        epilog="Example: motet try log_mel talk.wav --options '{\"n_mels\": 32}' --max 3",
    )(try_encoder)


def try_encoder(
    encoder: Annotated[
        str, typer.Argument(metavar="ENCODER", help="A built-in name, or package.module:Class.")
    ],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Sound, pictures, text or films, or folders."),
    ],
    options: Annotated[
        str, typer.Option(metavar="JSON", help="Its options, as a JSON object.")
    ] = "{}",
    size: Annotated[str, typer.Option(metavar="1s", help="Length of a window.")] = "1s",
    whole: Annotated[bool, typer.Option("--whole", help="One window for each whole file.")] = False,
    number: Annotated[
        int | None, typer.Option("--max", min=1, metavar="N", help="End after N windows.")
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Where it computes; auto: cuda where there is one.")
    ] = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Show what an encoder gives for files: outputs, shapes and time, window by window.

    The clips are those that a pipeline would build after `motet publish`: sound cut to windows
    of --size, one window for each line of a txt file and for each picture. A class of your own is
    found in this folder, as it is beside a pipeline file.
    """
    from pipeline.connectors.files import parts

    size_us = duration_us("--size", size)
    given = _options(options)
    files = expanded(sources)
    # torch comes with it: seconds that a mistake in what was typed need not wait for
    from pipeline.cli.trying import open_trial

    trial = open_trial(encoder, given, _device(device), Path.cwd())
    held = [part for file in files for part in parts(file)]
    taken = trial.demand(held, {Path(source) for source in sources})
    say(f"{encoder}: takes {' or '.join(trial.takes)}, gives {_gives(trial)}, on {trial.device}")
    for line in trial.warnings:
        warn(line)
    if left := len({part.path for part in held} - {part.path for part in taken}):
        say(f"motet: {counted(left, 'file')} of other kinds left out")
    done: list[Tried] = []
    for tried in trial.run(taken, size_us, whole):
        done.append(tried)
        if not as_json:
            emit(_line(tried))
            for line in tried.details():
                emit(f"    {line}")
        if len(done) == number:
            break
    if not done:
        why = "there was nothing in them to encode"
        raise InvalidInput(Problem("SOURCE", sources[0], why, "give files that hold something"))
    summary = _summary(trial, done)
    if as_json:
        emit(json.dumps(_answer(encoder, trial, done, summary), ensure_ascii=False))
    _say_summary(summary)


def _options(text: str) -> dict[str, Any]:
    remedy = "write a JSON object such as '{\"n_mels\": 32}'"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            Problem("--options", text, f"it is not JSON ({error})", remedy)
        ) from None
    if not isinstance(found, dict):
        raise InvalidInput(Problem("--options", text, "it is no JSON object", remedy))
    return found


def _device(wanted: Device) -> str:
    import torch

    there = wanted is not Device.cpu and torch.cuda.is_available()
    if wanted is Device.cuda and not there:
        why = "torch finds no CUDA device here"
        remedy = "leave --device out; `motet doctor` says why there is none"
        raise InvalidInput(Problem("--device", wanted, why, remedy))
    return "cuda" if there else "cpu"


def _gives(trial: Trial) -> str:
    if trial.gives == "vector" and trial.length:
        return f"vectors of {trial.length} numbers"
    return trial.gives


def _line(tried: Tried) -> str:
    begin, end = (
        f"{at / 1e6:.3f}".rstrip("0").rstrip(".") for at in (tried.start_us, tried.end_us)
    )
    return f"{tried.source}  {begin}-{end} s  {tried.shown()}  {tried.encode_us / 1e3:.3g} ms"


def _summary(trial: Trial, done: Sequence[Tried]) -> dict[str, Any]:
    times_us = [tried.encode_us for tried in done]
    later_us = times_us[1:] or times_us
    media_us = sum(tried.media_us for tried in done)
    return {
        "windows": len(done),
        "media_seconds": media_us / 1e6,
        "seconds": sum(times_us) / 1e6,
        "seconds_first": times_us[0] / 1e6,
        "seconds_median": statistics.median(later_us) / 1e6,
        "seconds_per_media_second": sum(times_us) / media_us if media_us else None,
        "peak_memory_bytes": trial.peak_memory_bytes(),
    }


def _say_summary(summary: dict[str, Any]) -> None:
    line = (
        f"{counted(summary['windows'], 'window')} in {summary['seconds'] * 1e3:.3g} ms: "
        f"{summary['seconds_median'] * 1e3:.3g} ms each, the first "
        f"{summary['seconds_first'] * 1e3:.3g} ms"
    )
    each = summary["seconds_per_media_second"]
    if each is not None:
        line += f"; {each * 1e3:.3g} ms for a second of media"
    say(f"{line}; peak memory of this process {summary['peak_memory_bytes'] >> 20} MiB")


def _answer(
    encoder: str, trial: Trial, done: Sequence[Tried], summary: dict[str, Any]
) -> dict[str, Any]:
    return {
        "encoder": encoder,
        "takes": list(trial.takes),
        "gives": trial.gives,
        "length": trial.length,
        "rate": trial.rate,
        "device": trial.device,
        "windows": [tried.as_json() for tried in done],
        "summary": summary,
    }
