"""``motet tail``: committed results as they come."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pipeline.cli.arguments import JsonOption, WaitOption, load_spec
from pipeline.cli.client_option import ClientOption, client_settings, connect_without_file
from pipeline.cli.terminal import emit, on_terminal, say, stopping
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
    client: ClientOption = None,
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
    from pipeline.cli.result_line import described, pretty

    connector, wanted = _wanted(file, topic, bootstrap, client_settings(client), wait)
    colours = on_terminal()
    with stopping() as stop:
        records = _records(connector, wanted, from_beginning, until_end, stop)
        for count, record in enumerate(records, start=1):
            emit(described(record) if as_json else pretty(record, colours))
            if count == number:
                break


class _Wanted(NamedTuple):
    """The topic, what names it, and what to do where it is not there."""

    topic: str
    key: str
    remedy: Callable[[str], str]


def _wanted(
    file: Path | None, topic: str | None, bootstrap: str | None, client: dict[str, Any], wait: bool
) -> tuple[Connector, _Wanted]:
    """Where it is read from, and what; raises InvalidInput where nothing is named."""
    from pipeline.cli.connect import connect_for, create_remedy
    from pipeline.cli.topic_names import check_names, known_topics, meant

    if topic is None and file is None:
        why = "neither a file nor a topic is named"
        raise InvalidInput(Problem("FILE", "", why, "give a pipeline FILE or --topic T"))
    if topic is not None:
        check_names("--topic", [topic])
    if file is None:
        connector = connect_without_file(bootstrap, client, wait=wait)
    else:
        spec = load_spec(file)
        connector = connect_for(spec, bootstrap, client, wait=wait)
        if topic is None:
            return connector, _Wanted(spec.outputs.results, "outputs.results", create_remedy(file))
    return connector, _Wanted(
        topic or "", "--topic", lambda missing: meant(missing, known_topics(connector))
    )


def _records(
    connector: Connector,
    wanted: _Wanted,
    from_beginning: bool,
    until_end: bool,
    stop: threading.Event,
) -> Iterator[LogRecord]:
    """Committed records of every partition, until ``stop`` or the end that was asked for."""
    from pipeline.cli.connect import partitions_of

    with closing(connector.control()) as control:
        partitions = partitions_of(control, {wanted.topic: wanted.key}, wanted.remedy)
        ends = control.stable_ends(partitions)
        positions = control.beginnings(partitions) if from_beginning else dict(ends)
    with closing(connector.source()) as source:
        source.assign(positions)
        if not from_beginning and not until_end:
            say(f"motet: waiting for new records of {wanted.topic}")
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
            if sys.stdout is None:  # closed before we began
                raise ValueError
            self._poll.register(sys.stdout.fileno(), 0)
        except (OSError, ValueError):
            self._known = False

    def gone(self) -> bool:
        return self._known and any(event & select.POLLERR for _, event in self._poll.poll(0))
