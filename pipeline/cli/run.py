"""``motet run``: the pipeline itself, on a Ray cluster or in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import FileArgument, WaitOption, load_spec
from pipeline.cli.terminal import emit, say, stopping
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.host import Host, RunSummary


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet run lobby.yaml --local --until-end")(run)


def run(
    context: typer.Context,
    file: FileArgument,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Ray.")] = False,
    until_end: Annotated[
        bool,
        typer.Option(
            "--until-end",
            help="Up to what the topics hold now; close every window, print a JSON summary, end.",
        ),
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="W",
            help="Where a pipeline that never ran begins: earliest, latest or an RFC 3339 time.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file (repeatable)."),
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Run a pipeline until it is stopped (Ctrl-C or SIGTERM: a clean drain, exit code 0).

    With --until-end the last line on stdout is
    {records, windows, late, dead_letter, seconds, windows_per_second} as JSON.
    """
    from pipeline.cli.connect import connect_for, demand_topics

    given = tuple(sets or ())
    spec = load_spec(file, given if start is None else (*given, f"start={start}"))
    cluster = None if local else cluster_host(context, file)
    connector = connect_for(spec, wait=wait)
    demand_topics(connector, spec)
    # torch comes with it: seconds that a mistake in the file, a broker that is away and a topic
    # that is missing need not wait for
    from pipeline.encoders.checking import check_pipeline

    host = cluster or local_host()
    check_pipeline(spec)
    summary = run_pipeline(host, spec, connector, until_end=until_end)
    if until_end and summary is not None:
        emit(json.dumps(summary))


def local_host() -> Host:
    from pipeline.local import run_local

    return run_local


def cluster_host(context: typer.Context, file: Path) -> Host:
    host: Host | None = context.obj.cluster
    if host is None:
        why = "no cluster host is installed here"
        raise InvalidInput(Problem("run", str(file), why, "run it in one process with --local"))
    return host


def run_pipeline(
    host: Host, spec: PipelineSpec, connector: Connector, *, until_end: bool
) -> RunSummary | None:
    """The summary, or None where the user stopped it before the end that was asked for."""
    from pipeline.tasks.host import RunControl, summary

    with stopping() as stop:
        control = RunControl(until_end=until_end, stop=stop, say=say)
        totals, seconds = host(spec, connector, control)
    if stop.is_set():
        say("motet: stopped; what was committed stays, and the next run goes on from there")
        return None
    return summary(totals, seconds)
