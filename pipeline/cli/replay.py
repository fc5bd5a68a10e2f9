"""``motet replay``: the same windows again, as the file or a change of it answers them now."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, SetOption, WaitOption, load_spec
from pipeline.cli.committed import committed_results
from pipeline.cli.terminal import counted, emit, printable, say, stopping

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.host import RunSummary
    from pipeline.tasks.result_diff import Changed, Comparison

CHARS_SHOWN = 60
NAME_CHARS = 48  # a name has 63 at most
KEPT_MS = 24 * 3600 * 1000  # what scratch topics keep, should they be forgotten


def register(app: typer.Typer) -> None:
    example = (
        "Example: motet replay lobby.yaml --from 2026-01-31T12:00:00Z --to 2026-01-31T12:10:00Z "
        "--set fusion.of.sound=0.9 --diff"
    )
    app.command(epilog=example)(replay)


def replay(
    file: FileArgument,
    begin: Annotated[
        str,
        typer.Option("--from", metavar="TIME", help="Windows that begin at or after (event time)."),
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Windows that end at or before.")
    ],
    sets: SetOption = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="List the windows whose answer changed.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="With --diff: leave the scratch topics there.")
    ] = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer the same windows again, in this process, into scratch topics; offsets stay.

    The records go through the same lanes and encoders as in the live run. Without --diff the
    scratch topics stay, for a day of their records, and are named. With it the windows are
    listed whose answer differs from the one in the results topic by more than 1e-5.
    """
    from pipeline.cli.connect import connect_for
    from pipeline.cli.run_span import restricted

    given, changed = load_spec(file), load_spec(file, sets or ())
    name = f"{changed.name[:NAME_CHARS]}-replay-{uuid.uuid4().hex[:6]}"
    spec = restricted(changed, begin, end, name, start_given=False)
    connector = connect_for(spec, wait=wait)
    with _scratch(file, connector, spec, kept=keep or not diff):
        summary = _run(spec, connector)
        comparison = _compare(connector, given, spec) if diff else None
    if comparison is None:
        say(f"motet: {counted(summary['windows'], 'window')} answered into {spec.outputs.results}")
        emit(json.dumps({**summary, "results": spec.outputs.results}))
    elif as_json:
        emit(json.dumps(_answer(comparison), ensure_ascii=False))
    else:
        for line in _lines(comparison):
            emit(line)


@contextmanager
def _scratch(file: Path, connector: Connector, spec: PipelineSpec, *, kept: bool) -> Iterator[None]:
    """Topics for what the run writes; they go again where they are not ``kept``, or it fails.

    Raises InvalidInput where an input topic is not there.
    """
    from pipeline.cli.connect import create_remedy, partitions_of
    from pipeline.cli.topic_plan import wanted_topics

    inputs = {entry.topic: f"inputs.{name}.topic" for name, entry in spec.inputs.items()}
    outputs = [topic for topic in wanted_topics(spec) if topic.name in spec.topics_out()]
    with closing(connector.control()) as control:
        partitions = partitions_of(control, inputs, create_remedy(file))
        lanes = 1 + max(at.partition for at in partitions)
        done = False
        try:
            for topic in outputs:
                config = {**topic.config, "retention.ms": str(KEPT_MS)}
                control.create_topic(topic.name, lanes, None, config)
            yield
            done = True
        finally:
            if not (done and kept):
                there = control.topics([topic.name for topic in outputs])
                control.delete_topics([name for name, info in there.items() if info is not None])
            if done:
                control.delete_group(spec.name)


def _run(spec: PipelineSpec, connector: Connector) -> RunSummary:
    """Up to what the topics hold now; Ctrl-C raises KeyboardInterrupt."""
    from pipeline.cli.run import demand_gpus, local_host
    from pipeline.tasks.host import RunControl, summary

    demand_gpus(spec)
    with stopping() as stop:
        totals, seconds = local_host()(
            spec, connector, RunControl(until_end=True, stop=stop, say=say, swap_heads=False)
        )
        if stop.is_set():
            raise KeyboardInterrupt
    return summary(totals, seconds)


def _compare(connector: Connector, given: PipelineSpec, spec: PipelineSpec) -> Comparison:
    """What the live run and the replay say about the windows of the span."""
    from pipeline.tasks.result_diff import Comparison

    comparison = Comparison()
    for value in committed_results(connector, given, spec.span):
        comparison.before(value)
    for value in committed_results(connector, spec, spec.span):
        comparison.after(value)
    return comparison


def _answer(found: Comparison) -> dict[str, Any]:
    return {
        "windows": found.windows,
        "changed": [
            {
                "result_id": one.result_id,
                "fields": {
                    path: {"before": before, "after": after}
                    for path, (before, after) in one.fields.items()
                },
            }
            for one in found.changed()
        ],
        "only_before": found.only_before(),
        "only_after": found.only_after(),
    }


def _lines(found: Comparison) -> Iterator[str]:
    changed = found.changed()
    only_before, only_after = found.only_before(), found.only_after()
    for one in changed:
        yield printable(f"{one.result_id}  {_fields(one)}")
    for result_id in only_before:
        yield printable(f"{result_id}  only before")
    for result_id in only_after:
        yield printable(f"{result_id}  only now")
    windows = counted(found.windows, "window")
    rest = f", {len(only_before)} only before, {len(only_after)} only now"
    yield f"{windows}: {len(changed)} changed{rest if only_before or only_after else ''}"


def _fields(changed: Changed) -> str:
    return "; ".join(
        f"{path}: {_short(before)} -> {_short(after)}"
        for path, (before, after) in changed.fields.items()
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= CHARS_SHOWN else f"{text[:CHARS_SHOWN]}..."
