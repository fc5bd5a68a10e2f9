"""``motet tail``: committed results as they come."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import JsonOption, WaitOption, load_spec
from pipeline.cli.terminal import emit, say, stopping
from pipeline.errors import InvalidInput, Problem
from pipeline.slot.ports import TopicPartition

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector, LogRecord, Source

POLL_S = 0.2


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet tail lobby.yaml --from-beginning --json --max 10")(tail)


def tail(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A pipeline file: its results.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="T", help="Another topic than FILE's results.")
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The broker (default: the file's, else $KAFKA)."),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="From the oldest record, not from now.")
    ] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End with the newest record there is now.")
    ] = False,
    number: Annotated[
        int | None, typer.Option("--max", min=1, metavar="N", help="End after N records.")
    ] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print committed results as they come, one line each; Ctrl-C ends it.

    With --json each line is the record's JSON value as it is; a record that is not JSON is
    described by its topic, partition, offset, timestamp_us, key, headers and bytes.
    """
    from pipeline.cli.connect import bootstrap_default, connect, connect_for
    from pipeline.cli.result_line import described, pretty

    if file is not None:
        spec = load_spec(file)
        name = spec.outputs.results if topic is None else topic
        connector = connect_for(spec, bootstrap, wait=wait)
    elif topic is not None:
        name = topic
        connector = connect(bootstrap or bootstrap_default(), wait=wait)
    else:
        why = "neither a file nor a topic is named"
        raise InvalidInput(Problem("FILE", "", why, "give a pipeline FILE or --topic T"))
    colours = sys.stdout.isatty()
    with stopping() as stop:
        records = _records(connector, name, from_beginning, until_end, stop)
        for count, record in enumerate(records, start=1):
            emit(described(record) if as_json else pretty(record, colours))
            if count == number:
                break


def _records(
    connector: Connector, topic: str, from_beginning: bool, until_end: bool, stop: threading.Event
) -> Iterator[LogRecord]:
    """Committed records of every partition, until ``stop`` or the end that was asked for."""
    from pipeline.cli.connect import partitions_of

    with closing(connector.control()) as control:
        partitions = partitions_of(control, [topic])
        ends = control.stable_ends(partitions)
        positions = control.beginnings(partitions) if from_beginning else dict(ends)
    with closing(connector.source()) as source:
        source.assign(positions)
        if not from_beginning and not until_end:
            say(f"motet: waiting for new records of {topic}")
        yield from _polled(source, positions, ends if until_end else None, stop)


def _polled(
    source: Source,
    positions: dict[TopicPartition, int],
    ends: dict[TopicPartition, int] | None,
    stop: threading.Event,
) -> Iterator[LogRecord]:
    reader = _Reader()
    while not stop.is_set() and not reader.gone():
        if ends is not None and all(positions[p] >= end for p, end in ends.items()):
            return
        for fetch in source.poll(POLL_S):
            partition = TopicPartition(fetch.topic, fetch.partition)
            for record in fetch.records:
                if ends is None or record.offset < ends[partition]:
                    yield record
            positions[partition] = fetch.position


class _Reader:
    """Whether whoever reads our stdout is still there, asked without writing to it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._known = True
        try:
            self._poll.register(sys.stdout.fileno(), 0)
        except (OSError, ValueError):
            self._known = False

    def gone(self) -> bool:
        return self._known and any(event & select.POLLERR for _, event in self._poll.poll(0))
