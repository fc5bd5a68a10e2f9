"""``motet top``: a running pipeline in the terminal."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, load_spec
from pipeline.cli.terminal import emit, on_terminal, stopping
from pipeline.errors import InvalidInput, Problem, Unreachable

if TYPE_CHECKING:
    import threading

    from pipeline.spec import PipelineSpec

ANSWER_S = 5.0
EVERY_S = 1.0


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet top lobby.yaml")(top)


def top(
    file: FileArgument,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the run answers (default: the file's metrics)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show rates, lag, clocks, batches and actors of a run, anew every second; q ends it.

    Where stdout is no terminal, or with --json (/api/state as it is), once.
    """
    from pipeline.cli.top_lines import lines_of

    spec = load_spec(file)
    address = url.rstrip("/") if url else _address(spec)
    state = _state(spec, address, url is not None)
    if as_json:
        emit(json.dumps(state, ensure_ascii=False))
    elif not on_terminal():
        for line in lines_of(state):
            emit(line)
    else:
        with stopping() as stop, _keys() as pressed:
            _watch(spec, address, state, stop, pressed)


def _address(spec: PipelineSpec) -> str:
    host = spec.metrics.host
    if spec.metrics.port == 0:
        why = "a free port was taken, and only the run knows which"
        raise InvalidInput(Problem("metrics.port", "0", why, "pass --url with the one it said"))
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{spec.metrics.port}"


def _state(spec: PipelineSpec, address: str, named: bool) -> dict[str, Any]:
    """What the run says of itself; raises Unreachable where none answers."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if not address.startswith(("http://", "https://")):
        why = "it is no http address"
        raise InvalidInput(Problem("--url", address, why, "write http://HOST:PORT"))
    token = spec.metrics.token
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urlopen(Request(f"{address}/api/state", headers=headers), timeout=ANSWER_S) as answer:
            state = json.load(answer)
        name = state["name"]
    except HTTPError as error:
        remedy = "set metrics.token as the run has it" if error.code == 401 else "correct --url"
        said = f"{error.code} {error.reason}"
        raise Unreachable(f"{address}/api/state answers {said}; {remedy}") from None
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        why = str(getattr(error, "reason", error)) or type(error).__name__
        raise Unreachable(
            f"no run answers at {address} ({why}); start it (motet run FILE), or pass --url"
        ) from None
    if not named and name != spec.name:
        raise Unreachable(
            f"at {address} pipeline '{name}' answers, not '{spec.name}': its run took another "
            "port, or none; set metrics.port, or pass --url"
        )
    found: dict[str, Any] = state
    return found


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
                state, silent = _state(spec, address, True), ""
            except Unreachable as error:
                silent = str(error)


def _picture(state: dict[str, Any], silent: str, width: int, height: int) -> Any:
    from rich.text import Text

    from pipeline.cli.top_lines import lines_of

    lines = [*lines_of(state), *([f"no answer: {silent}"] if silent else [])]
    if len(lines) >= height:
        lines[height - 2 :] = [f"... {len(lines) - height + 2} more"]
    return Text("\n".join([*(line[:width] for line in lines), "q ends it"]), no_wrap=True)


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
