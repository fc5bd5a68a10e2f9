"""``motet demo``: real media as live topics through the whole of it, on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.demo_words import How
from pipeline.cli.program import program
from pipeline.cli.terminal import emit, interruptible
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.tasks.host import Host


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet demo --seconds 30")(demo)


def demo(
    context: typer.Context,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=1,
            help="End N seconds after the first result (default: run until Ctrl-C).",
            show_default=False,
        ),
    ] = None,
    no_browser: Annotated[
        bool,
        typer.Option("--no-browser", help="Open no browser on the live page."),
    ] = False,
    kafka: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Use this Kafka instead of starting one."),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="memory", help="`memory`: no Kafka and no Ray, all of it in this process."
        ),
    ] = None,
    no_models: Annotated[
        bool,
        typer.Option("--no-models", help="With the classical encoders alone, which takes less."),
    ] = False,
    eject: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the demo's pipeline file, media and commands, and end."
        ),
    ] = None,
) -> None:
    """Run the whole thing on this machine: live sound, video and text in, fused results out.

    Starts a real Kafka and a local Ray, plays three streams in real time, and shows the fused
    results as they are committed. Kafka is stopped at the end where the demo started it.
    Every run has topics of its own, so it is safe to run again. With motet[models] each result
    has a transcript, labels, faces and a topic; without, it goes on with classical encoders.
    """
    if broker not in (None, "memory"):
        why = "there is one other broker than Kafka"
        raise InvalidInput(Problem("--broker", str(broker), why, "write --broker memory"))
    if broker is not None and kafka is not None:
        why = "it goes without Kafka, and --kafka names one"
        raise InvalidInput(Problem("--broker", str(broker), why, "give one of the two"))
    if eject is not None:
        _eject(eject, models=not no_models)
        return
    how = How(seconds, browser=not no_browser, models=not no_models)
    if broker is not None:
        _in_memory(how)
    else:
        _on_kafka(context.obj.cluster, kafka, how)


def _eject(folder: Path, *, models: bool) -> None:
    from pipeline.cli.demo_run import with_models
    from pipeline.demo.eject import FEED, FILE, eject

    motet = program()
    found = str(Path(motet).absolute()) if "/" in motet else motet
    name = eject(folder, found, models=models and with_models())
    emit(f"{folder}: pipeline '{name}' ({FILE}), its media, {FEED} that feeds it, README.md")
    emit("next, each in a terminal of its own:")
    where = shlex.quote(str(folder))
    for command in (
        f"sh {where}/{FEED}",
        *(f"{motet} {c} {where}/{FILE}" for c in ("run", "tail")),
    ):
        emit(f"  {command}")


def _in_memory(how: How) -> None:
    from pipeline.cli.demo_run import DemoRun, tell_next
    from pipeline.cli.demo_words import IN_MEMORY
    from pipeline.connectors.memory import MemoryConnector
    from pipeline.connectors.memory_broker import MemoryBroker

    with interruptible():
        run = DemoRun(IN_MEMORY, how)
        from pipeline.local import run_local

        played = run.play(MemoryConnector(MemoryBroker(), pending_wait_s=5.0), run_local, None)
        tell_next(played, None, False)


def _on_kafka(cluster: Host | None, bootstrap: str | None, how: How) -> None:
    from pipeline.cli.connect import connect
    from pipeline.cli.demo_run import DemoRun, tell_next
    from pipeline.cli.demo_words import WITH_KAFKA, WITH_OWN
    from pipeline.demo.own_broker import own_broker

    if cluster is None:
        why = "no cluster host is installed here"
        raise InvalidInput(Problem("demo", "", why, "run it in one process: --broker memory"))
    with interruptible():
        if bootstrap is not None:
            run = DemoRun(WITH_OWN, how)
            played = run.play(connect(bootstrap, key="--kafka"), cluster, bootstrap)
            tell_next(played, bootstrap, False)
            return
        run = DemoRun(WITH_KAFKA, how)
        with own_broker(run.step) as broker:
            played = run.play(connect(broker.bootstrap), cluster, broker.bootstrap)
        tell_next(played, broker.bootstrap, True)
