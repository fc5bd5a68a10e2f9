"""Live sources of ``motet publish``: opened together, read side by side, sent as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline import clock
from pipeline.cli.publish_play import Play, begun, demand_topics
from pipeline.cli.publish_target import To, targets_of
from pipeline.cli.terminal import say
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.connectors.files import FileRecord, Pictures, SourceFile
    from pipeline.connectors.live import LiveSource
    from pipeline.connectors.live_buffer import LiveBuffer
    from pipeline.connectors.live_connection import Connection
    from pipeline.connectors.live_reader import LiveReader
    from pipeline.connectors.live_tracks import Track, Wanted
    from pipeline.connectors.publish import LiveCounts, Published
    from pipeline.slot.ports import Connector

LIVE_TYPE = "video/x-live"  # of a source whose parts are known only once it is open
_LOOK_S = 0.05
_END_S = 2.0  # for what the sources still hold when they are stopped


class Live(NamedTuple):
    """Live sources, and how they are cut; ``stream`` is None for each source's own."""

    sources: Sequence[LiveSource]
    stream: str | None
    chunk_us: int
    pictures: Pictures
    retry_us: int
    buffer_bytes: int


class Aired(NamedTuple):
    """What was sent, and why sources were given up."""

    published: Published
    failures: Sequence[str]


def play_live(
    connector: Connector, live: Live, files: Play, to: To, remedy: str, stop: threading.Event
) -> Aired:
    """Sends what the sources give, and files in real time beside it, until all end or ``stop``.

    Raises InvalidInput where a source cannot be opened or has no target: nothing was sent.
    """
    from pipeline.connectors.live_buffer import LiveBuffer, mixed
    from pipeline.connectors.publish import Published, send

    connections = opened(live.sources, stop)
    if stop.is_set():
        _close(connections)
        return Aired(Published(), ())
    buffer = LiveBuffer(live.buffer_bytes, len(connections), _tell)
    records: Iterator[FileRecord] = iter(())
    shift_us = 0
    try:
        readers = _readers(connections, live, to, buffer, stop)
        targets = [track.wanted.target for reader in readers for track in reader.tracks]
        names = [target.topic for target in [*targets, *(line.target for line in files.lines)]]
        topics = demand_topics(connector, names, remedy)
        if files.lines:
            _, records, shift_us = begun(connector, files, topics)
    except BaseException:
        _close(connections)
        raise
    try:
        with closing(connector.publisher()) as publisher:
            for reader in readers:
                reader.start()
            airing = mixed(buffer, records, shift_us, stop, lambda: _end(readers))
            published = send(publisher, airing, topics, lambda _due_us: False, lambda _record: None)
    finally:
        stop.set()  # where sending failed the readers end too
    published.live = _counts(buffer, readers)
    return Aired(published, [reader.failure for reader in readers if reader.failure is not None])


def _readers(
    connections: Sequence[Connection],
    live: Live,
    to: To,
    buffer: LiveBuffer,
    stop: threading.Event,
) -> list[LiveReader]:
    from pipeline.connectors.live_reader import LiveReader

    return [
        LiveReader(connection, tracks, buffer, stop, _tell, live.retry_us)
        for connection, tracks in zip(connections, tracks_of(connections, live, to), strict=True)
    ]


def _counts(buffer: LiveBuffer, readers: Sequence[LiveReader]) -> LiveCounts:
    from pipeline.connectors.publish import LiveCounts

    return LiveCounts(
        dropped=buffer.dropped,
        repeated=sum(track.repeated for reader in readers for track in reader.tracks),
        damaged=sum(track.damaged for reader in readers for track in reader.tracks),
        reconnects=sum(reader.reconnects for reader in readers),
    )


def opened(sources: Sequence[LiveSource], stop: threading.Event) -> list[Connection]:
    """All sources at once, each open as long as the slowest takes; InvalidInput with all problems.

    Where ``stop`` is set meanwhile, only those that are open by then.
    """
    from pipeline.connectors.live_connection import connect

    found: dict[int, Connection] = {}
    problems: dict[int, Problem | str] = {}

    def open_one(number: int, source: LiveSource) -> None:
        try:
            connection = connect(source)
            connection.kinds()
            found[number] = connection
        except InvalidInput as error:
            problems[number] = error.problems[0]

    threads = [
        threading.Thread(target=open_one, args=each, name="open-source", daemon=True)
        for each in enumerate(sources)
    ]
    for thread in threads:
        thread.start()
    # watched from here, since Ctrl-C would not be seen inside a driver or a socket
    while any(thread.is_alive() for thread in threads) and not stop.wait(_LOOK_S):
        pass
    connections = [found[number] for number in sorted(found)]
    if problems and not stop.is_set():
        _close(connections)
        raise InvalidInput(*(problems[number] for number in sorted(problems)))
    return connections


def tracks_of(connections: Sequence[Connection], live: Live, to: To) -> list[list[Track]]:
    """What goes where, of each source; raises InvalidInput where two would be one stream."""
    from pipeline.connectors.live_tracks import Track

    found: list[list[Track]] = []
    taken: dict[tuple[str, str], str] = {}
    for connection in connections:
        source = connection.source
        tracks = []
        for wanted in _wanted(connection, live, to):
            place = wanted.target.topic, wanted.stream
            if place in taken:
                why = f"{taken[place]} is stream {wanted.stream} of topic {wanted.target.topic} too"
                remedy = "leave --stream out, or write it as '{stem}'; or publish them apart"
                raise InvalidInput(Problem("SOURCE", source.name, why, remedy))
            taken[place] = source.name
            tracks.append(Track(wanted, source.name))
        found.append(tracks)
        shown = ", ".join(f"{t.wanted.kind} to {t.wanted.target.topic}" for t in tracks)
        _tell(f"{source.name}: {shown}, as stream {tracks[0].wanted.stream}; Ctrl-C ends it")
    return found


def _wanted(connection: Connection, live: Live, to: To) -> list[Wanted]:
    from pipeline.connectors.files import SourceFile, stream_id
    from pipeline.connectors.live_tracks import Wanted

    source = connection.source
    file = SourceFile(Path(source.stream), "video", LIVE_TYPE, source.name)
    held: list[SourceFile] = [file._replace(kind=kind) for kind in connection.kinds()]
    stream = stream_id(live.stream, file.path)
    return [
        Wanted(part.kind, target, stream, live.chunk_us, live.pictures)
        for part, target in targets_of(file, held, to)
    ]


def _end(readers: Sequence[LiveReader]) -> None:
    """Waits for readers that were told to stop; one that hangs in a driver is left behind."""
    until_us = clock.monotonic_us() + round(_END_S * 1e6)
    for reader in readers:
        reader.join(max(0, until_us - clock.monotonic_us()) / 1e6)


def _close(connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.close()


def _tell(line: str) -> None:
    say(f"motet: {line}")
