"""``motet kafka start | stop | status``: the embedded broker, for development and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.terminal import emit, say

app = typer.Typer(
    help="A real Kafka on this machine, for development, tests and the demo.",
    epilog="Example: motet kafka start",
    rich_markup_mode=None,
)

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Its data directory.", show_default=False),
]


@app.callback()
def kafka() -> None:
    """A real Kafka on this machine, for development, tests and the demo."""


@app.command(epilog="Example: motet kafka start && motet topics create lobby.yaml")
def start(
    port: Annotated[
        int | None,
        typer.Option(
            metavar="P",
            min=1,
            max=65535,
            help="Its port (default: 9092 where that is free, else any that is).",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Start Kafka and return when it answers; prints HOST:PORT.

    Safe to run again: a broker that runs is found. It goes on after this command ends.
    """
    from pipeline.broker import server
    from pipeline.errors import InvalidInput, Problem

    if data is not None and data.exists() and not data.is_dir():
        raise InvalidInput(Problem("--data", str(data), "it is a file, no folder", "name a folder"))
    broker = server.start(port, data, on_progress=say)
    if broker.port != server.USUAL_PORT:
        say(f"port {server.USUAL_PORT} is what pipeline files expect; for this one paste")
        say(f"export KAFKA={broker.bootstrap}")
    emit(broker.bootstrap)


@app.command(epilog="Example: motet kafka stop")
def stop(data: DataOption = None) -> None:
    """Stop Kafka and return when its process is gone; its data stays."""
    from pipeline.broker import server

    say("Kafka is stopped; its data stays" if server.stop(data) else "Kafka was not running")


@app.command(epilog="Example: motet kafka status")
def status(data: DataOption = None) -> None:
    """Print HOST:PORT of the Kafka that answers; exit code 3 where none does."""
    from pipeline.broker import server
    from pipeline.broker.data_dir import DataDir
    from pipeline.errors import Unreachable

    broker = server.status(data)
    if broker is None:
        where = DataDir.of(data).path
        given = "" if data is None else f" --data {data}"
        raise Unreachable(
            f"no Kafka answers for data directory {where}; `motet kafka start{given}` starts it"
        )
    say(f"process {broker.pid}, data in {broker.data_dir}")
    emit(broker.bootstrap)
