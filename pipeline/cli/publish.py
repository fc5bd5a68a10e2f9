"""``motet publish``: files to topics, merged by time."""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pipeline import clock
from pipeline.cli.arguments import (
    JsonOption,
    WaitOption,
    duration_us,
    expanded,
    load_spec,
    time_us,
)
from pipeline.cli.client_option import ClientOption, client_settings, connect_without_file
from pipeline.cli.terminal import counted, emit, progress, stopping
from pipeline.errors import InvalidInput, MotetError, Problem, Transient

if TYPE_CHECKING:
    from pipeline.connectors.files import Timeline
    from pipeline.connectors.publish import Published
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec


class Kind(StrEnum):
    """What a film holds."""

    audio = "audio"
    image = "image"


STREAM_BYTES_MAX = 256  # of a stream id
CREATE_ANY = "create it first: `motet topics create FILE` makes what a pipeline file names"


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet publish --to lobby.yaml --stream cam-7 film.mp4 notes.txt")(
        publish
    )


def publish(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="mp4, mov, mkv, webm, wav, flac, ogg, mp3, m4a, jpg, png, txt, or folders.",
        ),
    ],
    topic: Annotated[
        str | None, typer.Option(metavar="T", help="Send everything to this topic.")
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(metavar="S", help="The stream id (with --to, default: each file's stem)."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Send each kind to the input of this pipeline file."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME", help="With --to: only to these inputs."),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The broker (default: the file's, else $KAFKA)."),
    ] = None,
    client: ClientOption = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="At the pace of the media, not at once.")
    ] = False,
    loop: Annotated[
        int, typer.Option(min=0, metavar="N", help="Play all N times; 0 with --realtime: no end.")
    ] = 1,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Event time of the first sample, RFC 3339 (default: so that all ends now).",
        ),
    ] = None,
    chunk: Annotated[
        str, typer.Option(metavar="1s", help="Length of a record; spacing of images and lines.")
    ] = "1s",
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Pictures a second of a film, such as 5 or 1/2 (default: 2, or one each hop).",
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            min=16, metavar="PIXELS", help="Scale a film's pictures to at most this width."
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Of a film only its sound, or only its pictures.")
    ] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send files to topics as media records, all streams and kinds merged by time.

    Audio is cut to records of --chunk; an image, and a line of a txt file, is one record.
    Files of one kind and stream play one after another; all streams and kinds begin together
    at --start. By default the longest of them ends now; with --realtime they begin now.

    A film gives its sound and its pictures, at the film's own times.
    With --to the media is converted to the type, rate and channels of the input.
    A topic that is missing is an error; none is ever created.
    """
    from pipeline.cli.publish_target import pictures, targeted
    from pipeline.cli.topic_names import check_names
    from pipeline.connectors.files import timelines

    _check_flags(topic, stream, to, only, realtime, loop)
    if topic is not None:
        check_names("--topic", [topic])
    settings = client_settings(client)
    chunk_us = duration_us("--chunk", chunk)
    start_us = None if start is None else time_us("--start", start)
    spec = None if to is None else load_spec(to)
    chosen = targeted(expanded(sources), topic, spec, only or (), kind and kind.value)
    lines = timelines(chosen, chunk_us, stream, pictures(fps, scale, spec))
    _allow_open_files(len(lines))
    lengths_us = [line.duration_us() for line in lines]
    play = Play(lines, max(lengths_us), loop or None, start_us, realtime)
    remedy = CREATE_ANY if to is None else f"`motet topics create {to}` makes it"
    connector = _connector(spec, bootstrap, settings, wait)
    try:
        with stopping() as stop:
            published = play_to(connector, play, remedy, stop)
    except Transient as away:
        # the client has tried for a minute: a broker that is gone, or whose disk is full
        check = "motet doctor" if to is None else f"motet doctor {to}"
        remedy = f"see with `{check}` whether it runs and has room on its disk, and publish again"
        raise MotetError(f"{away}; {remedy}") from away
    _summarize(published, as_json)


def _check_flags(
    topic: str | None,
    stream: str | None,
    to: Path | None,
    only: Sequence[str] | None,
    realtime: bool,
    loop: int,
) -> None:
    problems = []
    if (topic is None) == (to is None):
        why = "give one of the two" if topic is None else "only one of the two can be given"
        problems.append(Problem("--topic, --to", "", why, "--topic T --stream S, or --to FILE"))
    elif topic is not None and stream is None:
        why = "--topic needs the stream id of the records"
        problems.append(Problem("--stream", "", why, "add --stream NAME"))
    if stream is not None and not 1 <= len(os.fsencode(stream)) <= STREAM_BYTES_MAX:
        why = f"a stream id has 1 to {STREAM_BYTES_MAX} bytes"
        problems.append(Problem("--stream", stream, why, "give another"))
    if only and to is None:
        problems.append(Problem("--input", only[0], "it belongs to --to FILE", "leave it out"))
    if loop == 0 and not realtime:
        why = "an endless loop at full speed would fill the broker"
        problems.append(Problem("--loop", "0", why, "add --realtime, or give a number"))
    if problems:
        raise InvalidInput(*problems)


def _connector(
    spec: PipelineSpec | None, bootstrap: str | None, client: Mapping[str, Any], wait: bool
) -> Connector:
    from pipeline.cli.connect import connect_for

    if spec is None:
        return connect_without_file(bootstrap, client, wait=wait)
    return connect_for(spec, bootstrap, client, wait=wait)


class Play(NamedTuple):
    """Timelines, and when they play; ``loops`` None is without end, ``start_us`` None is now."""

    lines: Sequence[Timeline]
    period_us: int
    loops: int | None
    start_us: int | None
    realtime: bool


def play_to(connector: Connector, play: Play, remedy: str, stop: threading.Event) -> Published:
    """Sends the timelines to their topics until they end or ``stop`` is set."""
    from pipeline.cli.connect import topics_of
    from pipeline.connectors.files import merge
    from pipeline.connectors.publish import default_start_us, send, usable

    control = connector.control()
    try:
        names = sorted({line.target.topic for line in play.lines})
        topics = usable(topics_of(control, names), remedy)
    finally:
        control.close()
    now_us = clock.wall_us()
    total_us = 0 if play.loops is None else play.period_us * play.loops
    if play.start_us is None:
        start_us = default_start_us(now_us, 0 if play.realtime else total_us)
        until_due = _pacer(stop, play.realtime, 0)
    else:
        start_us = play.start_us
        until_due = _pacer(stop, play.realtime, now_us - start_us)
    publisher = connector.publisher()
    try:
        with progress("publishing", total_us / 1e6 or None) as done:
            return send(
                publisher,
                merge(play.lines, start_us, play.period_us, play.loops),
                topics,
                until_due,
                lambda record: done((record.end_us - start_us) / 1e6),
            )
    finally:
        publisher.close()


def _pacer(stop: threading.Event, realtime: bool, shift_us: int) -> Callable[[int], bool]:
    """Waits until a record is due; in real time the media plays ``shift_us`` after its time."""

    def at_once(_due_us: int) -> bool:
        return stop.is_set()

    def in_time(due_us: int) -> bool:
        return stop.wait(max(0, due_us + shift_us - clock.wall_us()) / 1e6)

    return in_time if realtime else at_once


def _allow_open_files(count: int) -> None:
    """All streams play at once, so each has its file open: a folder may hold thousands."""
    needed = count + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            why = f"that many streams need {needed} open files, and the limit is {hard}"
            remedy = "raise it with ulimit -n, or give fewer sources at a time"
            raise InvalidInput(Problem("SOURCE", f"{count} streams", why, remedy))
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _summarize(published: Published, as_json: bool) -> None:
    answer = published.as_json()
    if as_json:
        emit(json.dumps(answer))
    elif published.records == 0:
        emit("0 records")
    else:
        topics = ", ".join(sorted(published.topics))
        emit(
            f"{counted(published.records, 'record')}, {published.value_bytes} bytes, "
            f"{counted(len(published.streams), 'stream')} to {topics}, "
            f"{answer['first']} to {answer['last']}"
        )
