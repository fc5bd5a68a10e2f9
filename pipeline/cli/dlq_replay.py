"""``motet dlq replay``: what was dead-lettered or late, sent to a topic for a repair run."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec
from pipeline.cli.dlq import app, demand_reason
from pipeline.cli.terminal import counted, emit, progress, say, stopping
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    import threading

    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.originals import Originals

MISSING_SHOWN = 5


@app.command(epilog="Example: motet dlq replay lobby.yaml --to lobby.repair --reason undecodable")
def replay(
    file: FileArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="TOPIC", help="The topic that gets the originals.")
    ],
    reason: Annotated[
        str | None,
        typer.Option(metavar="R", help="Only entries with this reason.", show_default=False),
    ] = None,
    of_input: Annotated[
        str | None, typer.Option("--input", metavar="NAME", help="Only records of this input.")
    ] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the original records of dead letters and late ones to a topic, each once.

    Key, value, headers and partition stay as they were, and ce_time is added where there is none.
    For a pipeline of another name that reads TOPIC: in the live topic they would be late. An
    entry of a window stands for all records that the stage had read.
    """
    demand_reason(reason)
    spec = load_spec(file)
    _demand_target(spec, to, of_input)
    from pipeline.cli.connect import connect_for

    connector = connect_for(spec, wait=wait)
    with stopping() as stop:
        originals = _originals(file, spec, connector, stop, reason, of_input)
        copied, missing = _copy(connector, originals, to, stop)
        if stop.is_set():
            raise KeyboardInterrupt
    for place in missing[:MISSING_SHOWN]:
        say(f"motet: {place} is gone: its topic no longer holds it, nor does a letter")
    if as_json:
        emit(json.dumps({"topic": to, "records": copied, "missing": len(missing)}))
    else:
        gone = f"; {counted(len(missing), 'record')} gone" if missing else ""
        emit(f"{counted(copied, 'record')} copied to {to}{gone}")


def _demand_target(spec: PipelineSpec, to: str, of_input: str | None) -> None:
    from pipeline.cli.topic_names import check_names

    check_names("--to", [to])
    outputs = spec.outputs
    if to in {entry.topic for entry in spec.inputs.values()}:
        why = f"pipeline '{spec.name}' reads it: there they would be late"
    elif to in {outputs.results, outputs.late, outputs.dead_letter}:
        why = f"pipeline '{spec.name}' writes it"
    else:
        why = ""
    if why:
        raise InvalidInput(Problem("--to", to, why, "name a topic for a repair run"))
    if of_input is not None and of_input not in spec.inputs:
        remedy = f"name one of {', '.join(spec.inputs)}"
        raise InvalidInput(Problem("--input", of_input, "the file has no such input", remedy))


def _originals(
    file: Path,
    spec: PipelineSpec,
    connector: Connector,
    stop: threading.Event,
    reason: str | None,
    of_input: str | None,
) -> Originals:
    from pipeline.cli.committed import committed_records
    from pipeline.cli.connect import create_remedy
    from pipeline.tasks.originals import Originals

    outputs = spec.outputs
    topics = {outputs.dead_letter: "outputs.dead_letter", outputs.late: "outputs.late"}
    topic = None if of_input is None else spec.inputs[of_input].topic
    originals = Originals(connector, stop.is_set, topic)
    with progress("reading", 1.0) as done:
        for letter in committed_records(connector, topics, create_remedy(file), stop, done):
            if reason is None or ("motet-reason", reason.encode()) in letter.headers:
                originals.add(letter)
    if len(originals.topics) > 1:
        names = sorted(n for n, entry in spec.inputs.items() if entry.topic in originals.topics)
        why = f"the entries are of {' and '.join(names)}, and a topic takes one kind of record"
        raise InvalidInput(Problem("--input", "", why, f"add --input {names[0]}"))
    return originals


def _copy(
    connector: Connector, originals: Originals, to: str, stop: threading.Event
) -> tuple[int, list[str]]:
    """How many were copied, and which are gone."""
    from pipeline.cli.connect import topics_of
    from pipeline.tasks.originals import Missing

    with closing(connector.control()) as control:
        info = topics_of(control, [to])[to]
    if info is None:
        remedy = "make it with as many partitions as the input has: `motet topics create REPAIR`"
        raise InvalidInput(Problem("--to", to, "it is not there", remedy))
    if originals.partitions > info.partitions:
        why = f"it has {info.partitions} partitions, and the records lie in {originals.partitions}"
        raise InvalidInput(Problem("--to", to, why, "make it with as many as the input has"))
    copied, missing = 0, []
    with closing(connector.publisher()) as publisher, progress("copying", 1.0) as done:
        for record in originals.records(to):
            if isinstance(record, Missing):
                topic, partition, offset = record.place
                missing.append(f"{topic}[{partition}]@{offset}")
            else:
                publisher.send(record)
                copied += 1
                done(copied / originals.count)
            if stop.is_set():
                break
        publisher.flush()
    return copied, missing
