"""The typer app: which commands there are, and what the cluster host is.

``pipeline`` knows no Ray: whoever has one hands ``main`` a callable that runs a spec on it.
Command modules import what they need when they run, so that ``--help`` stays instant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import __version__, logs
from pipeline.cli import (
    apply,
    bench,
    clip,
    completion,
    demo,
    dlq,
    dlq_replay,  # noqa: F401 (a command of ``dlq``)
    doctor,
    evaluate,
    explain,
    export,
    find,
    heads,
    init,
    kafka,
    lag,
    log_options,
    plan,
    publish,
    replay,
    reset,
    run,
    scale,
    schema,
    tail,
    top,
    topics,
    train,
    try_,
    validate,
)
from pipeline.cli.arguments import demand_utf8
from pipeline.cli.errors import guarded, interrupted
from pipeline.cli.terminal import emit, interruptible

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.host import Host
    from pipeline.tasks.planning import Resources


@dataclass(frozen=True, slots=True)
class Given:
    """What the commands are given from outside; None: no cluster host is installed.

    ``resources`` says what the cluster of a pipeline file has.
    """

    cluster: Host | None = None
    resources: Callable[[PipelineSpec], Resources] | None = None


app = typer.Typer(
    name="motet",
    help="Live audio, video and text topics in, fused results out, exactly once.",
    epilog="Example: motet validate lobby.yaml && motet run lobby.yaml --until-end",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
demo.register(app)
init.register(app)
validate.register(app)
schema.register(app)
app.add_typer(topics.app, name="topics")
run.register(app)
publish.register(app)
export.register(app)
train.register(app)
evaluate.register(app)
explain.register(app)
try_.register(app)
tail.register(app)
top.register(app)
find.register(app)
clip.register(app)
replay.register(app)
doctor.register(app)
completion.register(app)
plan.register(app)
scale.register(app)
apply.register(app)
lag.register(app)
log_options.register(app)
reset.register(app)
app.add_typer(bench.app, name="bench")
app.add_typer(dlq.app, name="dlq")
app.add_typer(heads.app, name="heads")
app.add_typer(kafka.app, name="kafka")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Live audio, video and text topics in, fused results out, exactly once."""
    if version:
        emit(f"motet {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@cache
def command_line() -> Any:
    """The command line with all its commands: a tenth of a second to make."""
    return typer.main.get_command(app)


def main(
    arguments: Sequence[str] | None = None,
    cluster: Host | None = None,
    resources: Callable[[PipelineSpec], Resources] | None = None,
) -> int:
    """Runs one command line (default: the process's own) and gives its exit code."""
    import sys

    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with interruptible():
            command = command_line()

            def invoke() -> None:
                demand_utf8(given)
                logs.begin()
                with command.make_context("motet", given, obj=Given(cluster, resources)) as context:
                    command.invoke(context)

            return guarded(invoke, command, given)
    except KeyboardInterrupt:
        return interrupted("it began")
