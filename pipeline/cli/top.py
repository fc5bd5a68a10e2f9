"""``motet top``: a running pipeline in the terminal."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, load_spec
from pipeline.cli.run_state import UrlOption, run_address, run_state
from pipeline.cli.terminal import emit, on_terminal, stopping
from pipeline.errors import Unreachable

if TYPE_CHECKING:
    import threading

    from pipeline.spec import PipelineSpec

EVERY_S = 1.0


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet top lobby.yaml")(top)


def top(
    file: FileArgument,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show rates, lag, clocks, batches and actors of a run, anew every second; q ends it.

    Where stdout is no terminal, or with --json (/api/state as it is), once.
    """
    from pipeline.cli.top_lines import lines_of

    spec = load_spec(file)
    address = run_address(spec, url)
    state = run_state(spec, address, named=url is not None)
    if as_json:
        emit(json.dumps(state, ensure_ascii=False))
    elif not on_terminal():
        for line in lines_of(state):
            emit(line)
    else:
        with stopping() as stop, _keys() as pressed:
            _watch(spec, address, state, stop, pressed)


def _watch(
    spec: PipelineSpec,
    address: str,
    state: dict[str, Any],
    stop: threading.Event,
    pressed: int | None,
) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        silent = ""
        while not stop.is_set():
            live.update(_picture(state, silent, *console.size), refresh=True)
            if _quits(pressed):
                return
            try:
                state, silent = run_state(spec, address, named=True), ""
            except Unreachable as error:
                silent = str(error)


def _picture(state: dict[str, Any], silent: str, width: int, height: int) -> Any:
    from rich.text import Text

    from pipeline.cli.top_lines import fitted, lines_of

    lines = [*lines_of(state), *([f"no answer: {silent}"] if silent else [])]
    return Text("\n".join([*fitted(lines, width, height - 1), "q ends it"]), no_wrap=True)


@contextmanager
def _keys() -> Iterator[int | None]:
    """The keyboard, key by key; None where there is none."""
    if not sys.stdin.isatty():
        yield None
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _quits(keyboard: int | None) -> bool:
    """Waits for the next turn, or for a key; whether it was the one that ends."""
    ready, _, _ = select.select([] if keyboard is None else [keyboard], [], [], EVERY_S)
    return bool(ready) and os.read(keyboard or 0, 64)[:1] in (b"q", b"Q", b"")
