"""Labelled media files in place of recorded topics: the options, and a broker in memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipeline.cli.terminal import counted, progress, say, stopping
from pipeline.errors import InvalidInput, MotetError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.connectors.files import FileRecord, Timeline
    from pipeline.connectors.publish import Published
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.training.labels import LabelIndex

CHUNK_US = 1_000_000  # of a record of sound, as `motet publish` cuts it
MEMORY = "2GiB"

FilesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--files",
        metavar="FILE|DIR",
        help="Media files, in place of recorded topics: times of labels count from their "
        "beginning (repeatable).",
    ),
]
StreamOption = Annotated[
    str | None,
    typer.Option(
        "--stream",
        metavar="S",
        help="With --files: the stream of each, as `motet publish` has it (default: {stem}).",
    ),
]
MemoryOption = Annotated[
    str,
    typer.Option("--files-memory", metavar="SIZE", help="Most that --files may hold in memory."),
]


class Files(NamedTuple):
    """Media files, and the stream of each, as ``motet publish --stream`` has it."""

    sources: Sequence[str]
    stream: str | None
    bytes_max: int


def files_of(sources: list[str] | None, stream: str | None, memory: str = MEMORY) -> Files | None:
    """What the options say, None without ``--files``; raises InvalidInput."""
    if sources is None:
        if stream is not None:
            why = "the streams of topics have their names"
            raise InvalidInput(Problem("--stream", stream, why, "leave it out, or add --files"))
        if memory != MEMORY:
            why = "topics are read, not held in memory"
            raise InvalidInput(
                Problem("--files-memory", memory, why, "leave it out, or add --files")
            )
        return None
    from pipeline.spec.units import Wrong, parse_size

    try:
        return Files(sources, stream, parse_size(memory))
    except Wrong as wrong:
        raise InvalidInput(Problem("--files-memory", memory, wrong.why, wrong.remedy)) from None


def labels_with_files(named: str, spec: PipelineSpec, files: Files) -> tuple[LabelIndex, Connector]:
    """The labels of a file, and a broker in memory that holds the media files as records.

    They are those that ``motet publish --to FILE`` would send; every stream begins at 0, so the
    times of labels count from there. Raises InvalidInput.
    """
    from pipeline.cli.arguments import expanded
    from pipeline.cli.publish_play import allow_open_files
    from pipeline.cli.publish_target import To, pictures, targeted
    from pipeline.connectors.files import timelines
    from pipeline.connectors.memory import MemoryConnector
    from pipeline.connectors.memory_broker import MemoryBroker
    from pipeline.training.labels import LabelIndex, read_labels

    index = LabelIndex(read_labels(Path(named)))
    chosen = targeted(expanded(files.sources), To(spec=spec))
    lines = timelines(chosen, CHUNK_US, files.stream, pictures(None, None, spec))
    allow_open_files(len(lines))
    connector = MemoryConnector(MemoryBroker())
    published = _publish(connector, spec, lines, files.bytes_max)
    streams = counted(len(published.streams), "stream")
    say(f"motet: {counted(published.records, 'record')} of {streams} in memory")
    return index, connector


def _publish(
    connector: Connector, spec: PipelineSpec, lines: Sequence[Timeline], bytes_max: int
) -> Published:
    """Sends the timelines from event time 0; raises MotetError where they are too large."""
    from pipeline.cli.topic_plan import wanted_topics
    from pipeline.cli.topics import PARTITIONS_DEFAULT
    from pipeline.connectors.files import merge
    from pipeline.connectors.publish import send

    wanted = wanted_topics(spec)
    with closing(connector.control()) as control:
        for topic in wanted:
            control.create_topic(topic.name, PARTITIONS_DEFAULT, None, topic.config)
        topics = {n: i for n, i in control.topics([t.name for t in wanted]).items() if i}
    period_us = max(line.duration_us() for line in lines)
    with (
        stopping() as stop,
        closing(connector.publisher()) as publisher,
        progress("reading files", period_us / 1e6) as shown,
    ):
        published = send(
            publisher,
            merge(lines, 0, period_us, 1),
            topics,
            lambda _due_us: stop.is_set(),
            _counting(bytes_max, shown),
        )
        if stop.is_set():
            raise MotetError("stopped before all files were read: nothing is kept")
    return published


def _counting(bytes_max: int, shown: Callable[[float], None]) -> Callable[[FileRecord], None]:
    """Shows how far it is, and raises InvalidInput where memory would be filled."""
    from pipeline.spec.units import format_size

    held = 0

    def sent(record: FileRecord) -> None:
        nonlocal held
        held += len(record.payload)
        if held > bytes_max:
            size = format_size(bytes_max)
            why = f"the files make more than {size} of records, and they are held in memory"
            remedy = "raise --files-memory, or give fewer files at a time"
            raise InvalidInput(Problem("--files", record.source, why, remedy))
        shown(record.end_us / 1e6)

    return sent
