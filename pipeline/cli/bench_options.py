"""What the commands of ``motet bench`` that run whole pipelines have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.terminal import emit, say
from pipeline.errors import InvalidInput, MotetError, Problem

if TYPE_CHECKING:
    from pipeline.benchmark.ground import Ground
    from pipeline.tasks.host import Host

JOBS = "audio, fused, small, model"

KafkaOption = Annotated[
    str | None,
    typer.Option(
        "--kafka", metavar="HOST:PORT", help="Use this Kafka instead of starting one of its own."
    ),
]
BrokerOption = Annotated[
    str | None,
    typer.Option("--broker", metavar="memory", help="`memory`: without Kafka, in one process."),
]
LocalOption = Annotated[
    bool | None,
    typer.Option(
        "--local/--ray", help="In one process, or on a local Ray (default: both, in turn)."
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the figures as JSON (-: to stdout)."),
]
PictureOption = Annotated[
    Path | None, typer.Option("--picture", metavar="PNG", help="Draw the figures into this file.")
]


def sides(context: typer.Context, local: bool | None, broker: str | None) -> list[bool]:
    """Whether to run without Ray, once a side; InvalidInput for what cannot be."""
    cluster: Host | None = context.obj.cluster
    if broker == "memory":
        if local is False:
            why = "the broker in memory is in the process of the run"
            raise InvalidInput(Problem("--ray", "", why, "leave --broker out for a real Kafka"))
        return [True]
    if local is False and cluster is None:
        why = "no cluster host is installed here"
        raise InvalidInput(Problem("--ray", "", why, "measure one process with --local"))
    if local is None:
        return [True] if cluster is None else [True, False]
    return [local]


def check_broker(kafka: str | None, broker: str | None) -> None:
    if broker not in (None, "memory"):
        why = "there is one other broker than Kafka"
        raise InvalidInput(Problem("--broker", broker, why, "write --broker memory"))
    if broker is not None and kafka is not None:
        why = "it goes without Kafka, and --kafka names one"
        raise InvalidInput(Problem("--broker", broker, why, "give one of the two"))


@contextmanager
def ground_of(context: typer.Context, kafka: str | None, broker: str | None) -> Iterator[Ground]:
    """The broker that was asked for; one that is started here has a folder of its own, and ends."""
    from pipeline.benchmark.ground import Ground
    from pipeline.benchmark.part import own_program
    from pipeline.cli.connect import connect

    program = own_program(context.obj.cluster)
    if broker == "memory":
        yield Ground(program, None, None, None, say)
        return
    if kafka is not None:
        yield Ground(program, kafka, connect(kafka, key="--kafka"), None, say)
        return
    from pipeline.broker import server

    with TemporaryDirectory(prefix="motet-bench-") as place:
        data_dir = Path(place) / "kafka"
        say("motet: starting a Kafka for the measurement")
        try:
            started = server.start(port=0, data_dir=data_dir)
            yield Ground(program, started.bootstrap, connect(started.bootstrap), started.pid, say)
        finally:
            server.stop(data_dir)


def demand_file(flag: str, path: Path | None) -> None:
    """InvalidInput where its folder is not there: said before, not after, the measurement."""
    if path is not None and str(path) != "-" and not path.absolute().parent.is_dir():
        why = f"there is no folder {path.parent}"
        raise InvalidInput(Problem(flag, str(path), why, "make it first"))


def write_json(path: Path | None, answer: dict[str, Any]) -> None:
    if path is None:
        return
    text = json.dumps(answer, ensure_ascii=False)
    if str(path) == "-":
        emit(text)
        return
    try:
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise MotetError(f"--json = {path}: it cannot be written ({error.strerror})") from error
