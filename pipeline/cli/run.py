"""``motet run``: the pipeline itself, on a Ray cluster or in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import FileArgument, SetOption, WaitOption, load_spec
from pipeline.cli.log_options import LogFormatOption, LogLevelOption, log_as
from pipeline.cli.run_progress import bar_until_end
from pipeline.cli.teaching import begin_teaching, train_command
from pipeline.cli.terminal import emit, say, stopping
from pipeline.errors import InvalidInput, Problem
from pipeline.logs import belongs

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.host import Host, RunSummary
    from pipeline.teaching import Teaching

EXAMPLES = (
    "Example: motet run lobby.yaml --local --until-end. A backfill beside the live run: "
    "motet run lobby.yaml --name fix --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z "
    "--until-end"
)


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLES)(run)


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
    begin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Only windows that begin at or after (event time)."
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Only windows that end at or before."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Run beside it under this name, into the output topics with .NAME appended.",
        ),
    ] = None,
    sets: SetOption = None,
    page: Annotated[
        bool,
        typer.Option(
            "--page/--no-page", help="Serve the live page and results, or figures and health only."
        ),
    ] = True,
    wait: WaitOption = False,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Run a pipeline until it is stopped (Ctrl-C or SIGTERM: a clean drain, exit code 0).

    With --until-end the last line on stdout is
    {records, windows, late, dead_letter, seconds, windows_per_second} as JSON.
    """
    with until_begun():
        from pipeline.cli.connect import connect_for, demand_topics
        from pipeline.cli.run_span import restricted, tell

        log_as(log_format, log_level)
        belongs({"role": "local" if local else "driver"})
        given = tuple(sets or ())
        file_spec = load_spec(file, given if start is None else (*given, f"start={start}"))
        chosen = start is not None or any(one.partition("=")[0].strip() == "start" for one in given)
        spec = restricted(file_spec, begin, end, name, start_given=chosen)
        tell(spec, file_spec)
        spec = with_changes(spec)
        cluster = None if local else cluster_host(context, file)
        connector = connect_for(spec, wait=wait)
        demand_topics(connector, spec, create_command(file, spec, file_spec))
        if local:
            demand_gpus(spec)
        # torch comes with it: seconds that a mistake in the file, a broker that is away and a topic
        # that is missing need not wait for
        from pipeline.encoders.checking import check_encoders
        from pipeline.fusion.rules import Fuser

        host = cluster or local_host()
        lengths, sequences = check_encoders(spec)
        Fuser.of(spec, lengths)  # a head that does not fit is told before anything starts
        teaching = None
        if page and not until_end:
            command = train_command(str(file), given)
            spec, teaching = begin_teaching(
                spec, connector, lengths, command, sequences=bool(sequences)
            )
    summary, stopped = run_pipeline(
        host, spec, connector, until_end=until_end, page=page, teaching=teaching
    )
    if summary["dead_letter"]:
        _say_letters(summary["dead_letter"], file, spec, file_spec)
    if stopped:
        say("motet: stopped; what was committed stays, and the next run goes on from there")
    elif until_end:
        emit(json.dumps(summary))


@contextmanager
def until_begun() -> Iterator[None]:
    """Who is stopped before anything was read has nothing to drain: that is no error."""
    try:
        yield
    except KeyboardInterrupt:
        say("motet: stopped before it began; nothing was read")
        raise typer.Exit from None


def with_changes(spec: PipelineSpec) -> PipelineSpec:
    """What ``motet scale`` changed since the file was written; it is said."""
    from pipeline.spec.change_store import ChangeStore
    from pipeline.tasks.changing import at_start

    changed, values = at_start(spec, ChangeStore.of(spec))
    for key, value in values.items():
        say(f"motet: {key} = {value} by `motet scale`, until the file says another value")
    return changed


def create_command(file: Path, spec: PipelineSpec, file_spec: PipelineSpec) -> str:
    """What makes the topics that are missing, to be copied."""
    beside = "" if spec.name == file_spec.name else f" --name {spec.name}"
    return f"motet topics create {file}{beside}"


def demand_gpus(spec: PipelineSpec) -> None:
    """The GPUs that the file demands are on this machine; raises InvalidInput."""
    from pipeline.tasks import machine

    machine.demand_gpus(spec)


def _say_letters(count: int, file: Path, spec: PipelineSpec, file_spec: PipelineSpec) -> None:
    """Points to what was dead-lettered: a stage that fails on every window ends no run."""
    topic = spec.outputs.dead_letter
    command = f"motet dlq list {file}"
    if topic != file_spec.outputs.dead_letter:
        command = f"motet tail {file} --topic {topic} --from-beginning"
    entries = "1 entry" if count == 1 else f"{count} entries"
    say(f"motet: {entries} went to {topic}; `{command}` says why")


def local_host() -> Host:
    from pipeline.local import run_local

    return run_local


def cluster_host(context: typer.Context, file: Path) -> Host:
    host: Host | None = context.obj.cluster
    if host is None:
        why = "no cluster host is installed here"
        raise InvalidInput(Problem("run", str(file), why, "run it in one process with --local"))
    return host


def _say_page(url: str) -> None:
    say(f"motet: live page at {url}")


def run_pipeline(
    host: Host,
    spec: PipelineSpec,
    connector: Connector,
    *,
    until_end: bool,
    page: bool,
    teaching: Teaching | None = None,
) -> tuple[RunSummary, bool]:
    """The summary, and whether the user stopped it before the end that was asked for."""
    with stopping() as stop:
        from pipeline.evaluation.live import live_evaluation
        from pipeline.monitor import serve
        from pipeline.tasks.host import RunControl, summary

        shown = page and not until_end
        # a run that takes over from one on this machine has the port once the other has ended
        live = live_evaluation(spec, connector, say)
        bound = _say_page if shown else None
        monitor = serve(
            spec, connector, page=page, say=say, bound=bound, live=live, teaching=teaching
        )
        try:
            with bar_until_end(monitor.show, until_end) as show:
                control = RunControl(until_end=until_end, stop=stop, say=say, show=show)
                totals, seconds = host(spec, connector, control)
        finally:
            monitor.close()
    return summary(totals, seconds), stop.is_set()
