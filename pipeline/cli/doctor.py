"""``motet doctor``: what of this machine, its packages and its broker would stand in the way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import JsonOption
from pipeline.cli.client_option import ClientOption, client_settings
from pipeline.cli.terminal import counted, emit, on_terminal, say

if TYPE_CHECKING:
    from pipeline.cli.doctor_check import Check, State

_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "error": typer.colors.RED}


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet doctor lobby.yaml --bootstrap 127.0.0.1:9092")(doctor)


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A pipeline file: its topics and encoders too."),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The broker (default: the file's, else $KAFKA)."),
    ] = None,
    client: ClientOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check Python, packages, GPU, Ray, Java, ports, broker, disk, memory and clock.

    With FILE also all that `motet validate --connect` checks. Each line is ok, warning or
    error, with the remedy; the exit code is 1 where there is an error, else 0.
    """
    from pipeline.cli import doctor_broker, doctor_machine, doctor_packages

    settings = client_settings(client)
    if bootstrap is not None:
        from pipeline.cli.connect import address

        for part in bootstrap.split(","):
            address(part, "--bootstrap")
    say("motet: looking at this machine; a few seconds")
    checks = [
        *doctor_packages.checks(),
        *doctor_machine.checks(),
        *doctor_broker.checks(file, bootstrap, settings),
    ]
    counts = Counter(check.state for check in checks)
    if as_json:
        answer = {"ok": not counts["error"], "checks": [check._asdict() for check in checks]}
        emit(json.dumps(answer, ensure_ascii=False))
    else:
        for line in _lines(checks):
            emit(line)
    say(
        f"{counts['ok']} ok, {counted(counts['warning'], 'warning')}, "
        f"{counted(counts['error'], 'error')}"
    )
    if counts["error"]:
        raise typer.Exit(1)


def _lines(checks: list[Check]) -> list[str]:
    """A table; what is not ok has its remedy in a line below it."""
    colours = on_terminal()
    width = max(len(check.check) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{_painted(check.state, colours)}  {check.check:{width}}  {check.found}")
        if check.remedy:
            lines.append(f"{'':7}  {'':{width}}  -> {check.remedy}")
    return lines


def _painted(state: State, colours: bool) -> str:
    shown = f"{state:7}"
    return typer.style(shown, fg=_COLOURS[state]) if colours else shown
